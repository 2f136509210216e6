"""How long the simulated providers take: within bounds, by seed, on top of faults, and not at all unless asked."""

from __future__ import annotations

import math

import pytest

from streamer.errors import ConfigError
from streamer.simulator.providers.fake import Fake
from streamer.simulator.providers.latency import Latency
from tests.unit.simulator.providers.asking import NOW_S, ORIGIN

NAMES = Fake().names


def delays(fake: Fake, provider: str, n: int) -> list[float]:
    """Let requests arrive at a provider; return how long each answer takes."""
    visits = [fake.arrived(f"/{provider}/path", {}, {}, ORIGIN, "10.0.0.1", NOW_S) for _ in range(n)]
    return [visit.delay_s for visit in visits if visit is not None]


@pytest.mark.parametrize("mean_ms", [1, 80, 2500.5])
def test_draws_are_even_around_the_mean(mean_ms: float) -> None:
    """None is further away than a quarter of it, and a quarter of them is in each quarter of the way."""
    latency = Latency(mean_ms, "any")
    drawn = sorted(latency.draw_s() * 1000 / mean_ms for _ in range(4000))
    assert 0.75 <= drawn[0] < 0.76 and 1.24 < drawn[-1] <= 1.25
    assert [round(drawn[1000 * n], 2) for n in (1, 2, 3)] == pytest.approx([0.875, 1, 1.125], abs=0.02)


@pytest.mark.parametrize("provider", NAMES)
def test_the_law_is_the_same_for_all(provider: str) -> None:
    """A request of each provider takes as long as any other's would, and a cut connection is no sooner cut."""
    fake = Fake(latency_ms=80)
    drawn = delays(fake, provider, 400)
    assert len(drawn) == 400
    assert 0.06 <= min(drawn) < 0.065 and 0.095 < max(drawn) <= 0.1
    fake.command({"fault": "down"}, NOW_S)
    assert min(delays(fake, provider, 10)) >= 0.06


def test_a_seed_draws_the_same_again() -> None:
    """Of each provider, however often the others are asked; another seed and another provider draw others."""
    alone = {name: delays(Fake(7, latency_ms=80), name, 20) for name in NAMES}
    fake = Fake(7, latency_ms=80)
    mixed = [{name: delays(fake, name, 1)[0] for name in NAMES} for _ in range(20)]
    assert {name: [each[name] for each in mixed] for name in NAMES} == alone
    assert len({tuple(drawn) for drawn in alone.values()}) == len(NAMES)
    assert delays(Fake(8, latency_ms=80), "binance", 20) != alone["binance"]


def test_a_fault_comes_on_top() -> None:
    """What is slow takes so much longer than it would anyway."""
    usual, slow = Fake(latency_ms=80), Fake(latency_ms=80)
    slow.command({"fault": "slow", "provider": "binance", "delay_s": 2}, NOW_S)
    more = [
        late - early for late, early in zip(delays(slow, "binance", 9), delays(usual, "binance", 9), strict=True)
    ]
    assert more == pytest.approx([2] * 9)


def test_nobody_waits_unless_asked() -> None:
    """Without a latency, and with one of 0."""
    assert {
        delay for fake in (Fake(), Fake(latency_ms=0)) for name in NAMES for delay in delays(fake, name, 3)
    } == {0}


@pytest.mark.parametrize("mean_ms", [-1, -0.001, math.nan, math.inf])
def test_what_is_no_latency_is_refused(mean_ms: float) -> None:
    """By name and rule."""
    with pytest.raises(ConfigError, match=r"latency_ms.*0 or more"):
        Fake(latency_ms=mean_ms)
