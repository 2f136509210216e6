"""Metrics of stream and fleet: what facts become, by the conventions of Prometheus, and no more than is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from streamer.coinbase.feed import FeedState
from streamer.health.metrics import BREAKER_STATES, FEED_STATES, LEVELS, Facts, families
from streamer.ingest.histogram import Flushes
from streamer.model import Priority
from streamer.web.metrics import Traffic
from streamer.web.provider_metrics import provider_families
from tests.unit.health.test_verdict import NOW, feed, status
from tests.unit.web.test_provider_metrics import FULL

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
GATEWAY: dict[str, Any] = {
    "budgets": {
        "market": {
            "windows": [{"used": 4, "limit": 5, "length_s": 60.0}, {"used": 0, "limit": 10, "length_s": 1.0}],
            "rate_factor": 0.5,
            "blocked_s": 1.5,
            "queued": 3,
        },
        "private": {
            "windows": [{"used": 1, "limit": 30, "length_s": 1.0}],
            "rate_factor": 1.0,
            "blocked_s": 0.0,
            "queued": 0,
        },
    },
    "breaker": {"state": "half-open", "retry_s": 2.5, "failures_in_a_row": 7},
    "processes": 4,
}
TOTALS = {
    "call:products:MARKET_DATA:ok": 12,
    "call:candles:BACKGROUND:limited": 2,
    "429": 2,
    "hit:ticker:realtime": 100,
    "hit:ticker:cache": 5,
    "miss:ticker:none": 1,
    "wait:TRADING:0.5": 2,
    "wait:TRADING:+Inf": 1,
    "waited_ms:TRADING": 70_500,
    "something:of:another:version": 9,
}


def report() -> dict[str, Any]:
    """A report with everything in it."""
    flushes = Flushes()
    flushes.note(3, took_s=0.002, waited_s=0.004, behind_s=0.02)
    flushes.note(1, took_s=0.0004, waited_s=0.2, behind_s=None)
    told = status(feeds=[feed(channel="ticker", gaps=2), feed("candles-0", channel="candles", alive_ms=None)])
    told["sink"] |= {
        "conflated": 5,
        "jumps": 2,
        "flushes": {"ticker": flushes.as_json(), "balance": Flushes().as_json()},
    }
    told["portfolio"] = {"currencies": 3, "derived": 1, "suspect": 2, "differences": 4, "answered_ms": NOW - 9000}
    told["candles"] = {"products": 2, "refused": 1, "backfilling": 1}
    told["process"] = {"cpu_s": 1.5, "rss_bytes": 60_000_000}
    return told | {"clock_skew_s": -1.5, "stale_after_ms": 5000}


def full() -> Facts:
    """All that there can be."""
    return Facts(
        "0.1.0",
        now_ms=NOW,
        level="degraded",
        codes=["feed_silent", "feed_silent", "clock_skew"],
        status=report(),
        gateway=GATEWAY,
        totals=TOTALS,
    )


class Told:
    """A collector of what there is."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        """Return it."""
        return self._metrics


def text_of(facts: Facts) -> str:
    """What Prometheus is sent of stream and fleet."""
    return generate_latest(Told(families(facts))).decode()


def samples(facts: Facts) -> dict[str, float]:
    """Values by name and labels, as Prometheus would write them."""
    told = {}
    for family in text_string_to_metric_families(text_of(facts)):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            told[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return told


# -- what facts become --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "value"),
    [
        ("streamer_build_info{version=0.1.0}", 1),
        ("streamer_redis_up", 1),
        ("streamer_ingester_up", 1),
        ("streamer_ingester_report_age_seconds", 0.4),
        ("streamer_ingester_start_time_seconds", NOW / 1000 - 60),
        ("streamer_ingester_info{role=owner,source=coinbase,version=0.1.0}", 1),
        ("streamer_health{level=degraded}", 1),
        ("streamer_health{level=healthy}", 0),
        ("streamer_health_reason{code=feed_silent}", 1),
        ("streamer_frames_received_total", 9),
        ("streamer_updates_written_total", 9),
        ("streamer_updates_conflated_total", 5),
        ("streamer_price_jumps_total", 2),
        ("streamer_write_lag_seconds", 0.003),
        ("streamer_feed_silence_seconds{channel=ticker,feed=market-0}", 0.2),
        ("streamer_feed_gaps_total{channel=ticker,feed=market-0}", 2),
        ("streamer_feed_state{channel=candles,feed=candles-0,state=live}", 1),
        ("streamer_feed_state{channel=candles,feed=candles-0,state=backoff}", 0),
        ("streamer_products_wanted", 2),
        ("streamer_balances_answer_age_seconds", 9),
        ("streamer_clock_skew_seconds", -1.5),
        ("streamer_flush_records_bucket{kind=ticker,le=1.0}", 1),
        ("streamer_flush_records_bucket{kind=ticker,le=5.0}", 2),
        ("streamer_flush_records_bucket{kind=ticker,le=+Inf}", 2),
        ("streamer_flush_records_sum{kind=ticker}", 4),
        ("streamer_write_latency_seconds_count{kind=ticker}", 2),
        ("streamer_end_to_end_latency_seconds_count{kind=ticker}", 1),
        ("streamer_rest_calls_total{outcome=ok,priority=MARKET_DATA,route=products}", 12),
        ("streamer_rest_rate_limited_total", 2),
        ("streamer_reads_total{kind=ticker,outcome=miss,tier=none}", 1),
        ("streamer_rest_queue_wait_seconds_bucket{le=0.1,priority=TRADING}", 0),
        ("streamer_rest_queue_wait_seconds_bucket{le=60.0,priority=TRADING}", 2),
        ("streamer_rest_queue_wait_seconds_count{priority=TRADING}", 3),
        ("streamer_rest_queue_wait_seconds_sum{priority=TRADING}", 70.5),
        ("streamer_rest_budget_used{budget=market,window=60s}", 4),
        ("streamer_rest_budget_limit{budget=private,window=1s}", 30),
        ("streamer_rest_queue_length{budget=market}", 3),
        ("streamer_rest_rate_ratio{budget=market}", 0.5),
        ("streamer_rest_breaker_state{state=half-open}", 1),
        ("streamer_rest_breaker_state{state=closed}", 0),
        ("streamer_rest_processes", 4),
    ],
)
def test_a_fact_becomes_a_sample(sample: str, value: float) -> None:
    """In base units, and under labels that say what it is of."""
    assert samples(full())[sample] == pytest.approx(value)


def test_states_are_those_that_there_are() -> None:
    """Of each set exactly one is 1; the sets are those of the modules that the states come from."""
    assert set(FEED_STATES) == {state.value for state in FeedState}
    told = samples(full())
    for name, states in (("streamer_health", LEVELS), ("streamer_rest_breaker_state", BREAKER_STATES)):
        values = [value for key, value in told.items() if key.startswith(name + "{")]
        assert (len(values), sum(values)) == (len(states), 1), name


# -- what is not known --------------------------------------------------------------------------------------------


def test_without_redis_there_is_little_to_tell() -> None:
    """No zero stands for what nobody knows."""
    assert samples(Facts("0.1.0")) == {"streamer_build_info{version=0.1.0}": 1, "streamer_redis_up": 0}


def test_without_an_ingester_it_is_said_that_there_is_none() -> None:
    """And nothing of what it would have told."""
    told = samples(Facts("0.1.0", now_ms=NOW, level="down", codes=["no_report"]))
    assert told.pop("streamer_ingester_up") == 0
    assert {name.partition("{")[0] for name in told} == {
        "streamer_build_info",
        "streamer_redis_up",
        "streamer_health",
        "streamer_health_reason",
    }


@pytest.mark.parametrize(("age_ms", "is_up"), [(0, 1), (5000, 1), (5001, 0), (14_000, 0), (-60_000, 1)])
def test_an_ingester_is_up_while_its_report_is_fresh(age_ms: int, is_up: int) -> None:
    """By the setting that readers go by; a clock of Redis that went back does not end it."""
    told = samples(Facts("0.1.0", now_ms=NOW, status=report() | {"written_ms": NOW - age_ms}))
    assert told["streamer_ingester_up"] == is_up
    assert told["streamer_ingester_report_age_seconds"] == age_ms / 1000


@pytest.mark.parametrize(
    ("absent", "metric"),
    [
        ({"portfolio": None}, "streamer_balance"),
        ({"candles": None}, "streamer_candles"),
        ({"clock_skew_s": None}, "streamer_clock_skew"),
        ({"feeds": []}, "streamer_feed"),
        ({"sink": {}}, "streamer_updates"),
        ({"sink": {}}, "streamer_flush"),
        ({"frames": None}, "streamer_frames"),
    ],
)
def test_what_is_not_reported_is_absent(absent: dict[str, Any], metric: str) -> None:
    """A part that is not streamed, or that another version does not report; the rest is told."""
    whole, less = samples(full()), samples(Facts("0.1.0", now_ms=NOW, status=report() | absent))
    assert any(name.startswith(metric) for name in whole)
    assert not any(name.startswith(metric) for name in less)
    assert "streamer_products_wanted" in less


def test_a_feed_without_proof_of_life_has_no_silence() -> None:
    """Nor is a histogram told of what has not happened."""
    told = samples(full())
    assert "streamer_feed_silence_seconds{channel=candles,feed=candles-0}" not in told
    assert not any("kind=balance" in name for name in told)


def test_totals_that_are_empty_are_known() -> None:
    """Redis answers that nothing has been counted: then there was no 429."""
    told = samples(Facts("0.1.0", now_ms=NOW, totals={}))
    assert told["streamer_rest_rate_limited_total"] == 0
    assert not any(name.startswith("streamer_rest_calls") for name in told)


# -- conventions --------------------------------------------------------------------------------------------------


def whole_text() -> str:
    """All of `/metrics`: stream and fleet, providers, and a process that has answered."""
    traffic = Traffic(lambda: {"sse": 0, "websocket": 0})
    traffic.answered({"method": "GET"}, 200, 0.01)
    traffic.webhook("binance", "stored")
    providers = generate_latest(Told(provider_families(FULL))).decode()
    return text_of(full()) + providers + traffic.as_text().decode()


def test_the_text_is_sound() -> None:
    """None of what `promtool check metrics` complains of: names, units, types, help, buckets, things said twice."""
    text = whole_text()
    seen = set()
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        assert re.fullmatch(r"(streamer|process|python)_[a-z0-9_]+", name)
        assert family.documentation, name
        assert family.type in ("counter", "gauge", "histogram"), name
        assert not re.search(r"_(ms|us|milliseconds|minutes|kb|mb|count|sum|bucket|pct|percent)$", name), name
        assert (family.type == "counter") == name.endswith("_total"), name
        assert f"# HELP {name} " in text and f"# TYPE {name} {family.type}\n" in text
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in seen, key
            seen.add(key)
            assert all(re.fullmatch(r"[a-z_]+", label) for label in sample.labels), sample
        if family.type == "histogram":
            assert_histogram(family)


def assert_histogram(family: Metric) -> None:
    """Buckets rise to the one without end, which holds as many as are counted; there is a sum."""
    by_labels: dict[tuple[tuple[str, str], ...], dict[str, list[tuple[float, float]]]] = {}
    for sample in family.samples:
        labels = dict(sample.labels)
        bound = float(labels.pop("le", "nan"))
        part = sample.name.removeprefix(family.name)
        by_labels.setdefault(tuple(sorted(labels.items())), {}).setdefault(part, []).append((bound, sample.value))
    assert by_labels
    for parts in by_labels.values():
        assert parts.keys() == {"_bucket", "_count", "_sum"}, family.name
        buckets = parts["_bucket"]
        assert buckets == sorted(buckets) and buckets[-1][0] == float("inf")
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[-1][1] == parts["_count"][0][1]


def test_every_metric_is_documented_as_it_is() -> None:
    """`docs/metrics.md` has the name, the type and the labels of each, and names none that there is not."""
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (\w+) \| ?(.*?) ?\| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    assert len(documented) == len(rows)
    exported = {}
    for family in text_string_to_metric_families(whole_text()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        exported[name] = family.type, labels
    assert documented == exported


def test_labels_are_bounded() -> None:
    """No label takes what comes from outside: no product, no currency, no path, no reason in words."""
    labels = {label for family in families(full()) for sample in family.samples for label in sample.labels}
    assert labels == {
        *("version", "level", "code", "source", "role", "feed", "channel", "state", "kind", "le"),
        *("route", "priority", "outcome", "tier", "budget", "window"),
    }
    assert {priority.name for priority in Priority} >= {
        sample.labels["priority"]
        for family in families(full())
        for sample in family.samples
        if "priority" in sample.labels
    }
