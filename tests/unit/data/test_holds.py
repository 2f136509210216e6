"""What an error means for the calls of all."""

from __future__ import annotations

import msgspec
import pytest

from streamer.data.holds import Hold, hold_of, parse_hold
from streamer.errors import (
    Banned,
    CircuitOpen,
    GeoBlocked,
    KeyRefused,
    Maintenance,
    NoData,
    NotEntitled,
    QuotaExhausted,
    RestRateLimited,
    RestUnavailable,
    UnknownSymbol,
)

NOW_MS = 1_790_000_000_000
DAYS_3_S = 3 * 86_400


@pytest.mark.parametrize(
    ("error", "lasts_s"),
    [
        (QuotaExhausted("x", "why"), 3600),
        (QuotaExhausted("x", "why", retry_after_s=7), 7),
        (Banned("x", "why"), 120),
        (Banned("x", "why", retry_after_s=10**9), DAYS_3_S),
        (Banned("x", "why", retry_after_s=0), 1),
        (KeyRefused("x", "why"), 300),
        (GeoBlocked("x", "why"), 3600),
    ],
)
def test_who_is_left_alone(error: Exception, lasts_s: int) -> None:
    """For as long as the provider says, within reason; where it does not, for as long as that usually lasts."""
    assert hold_of(error, NOW_MS) == Hold(type(error).__name__, "why", NOW_MS + lasts_s * 1000)


@pytest.mark.parametrize(
    "error",
    [
        *(
            RestRateLimited("x", "429"),
            RestUnavailable("x", "500"),
            Maintenance("x", "page"),
            CircuitOpen("x", "-"),
        ),
        *(NotEntitled("x", "plan"), UnknownSymbol("x", "none"), NoData("x", "none"), ValueError("bug")),
    ],
)
def test_who_is_not(error: Exception) -> None:
    """What passes by itself, or is about one question, keeps nobody from asking."""
    assert hold_of(error, NOW_MS) is None


def test_what_is_kept() -> None:
    """It counts until it is over; what is further off than any that is set is foreign, like what is damaged."""
    raw = msgspec.json.encode(Hold("Banned", "why", NOW_MS + 1000))
    assert parse_hold(raw, NOW_MS) == Hold("Banned", "why", NOW_MS + 1000)
    assert parse_hold(raw, NOW_MS + 1000) is None
    assert parse_hold(msgspec.json.encode(Hold("Banned", "why", NOW_MS + DAYS_3_S * 1000 + 1)), NOW_MS) is None
    for damaged in (None, b"", b"{}", b"[1]", 7, "text", b'{"kind":1,"why":"","until_ms":2}'):
        assert parse_hold(damaged, NOW_MS) is None
