"""Questions: what may be asked, what stands in, and when there can have been a trade."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from streamer.data.ask import MOST_BARS, Ask, bars_of, parse_interval, stand_in, traded_until_s
from streamer.errors import ConfigError
from streamer.providers.shape import AssetClass, Interval
from streamer.providers.symbols import parse_symbol

BTC, SPY = parse_symbol("BTC-USD"), parse_symbol("SPY")
NOW_S = 1_790_000_000
NEW_YORK = ZoneInfo("America/New_York")


def bars(start_s: int | None = None, end_s: int | None = None, limit: int = 100) -> Ask:
    """A question for hours."""
    return bars_of(BTC, Interval.H1, start_s=start_s, end_s=end_s, limit=limit, now_s=NOW_S)


def test_the_newest() -> None:
    """Without a range it is for the newest, and names none."""
    assert bars() == Ask(BTC, Interval.H1, 100)
    assert bars().what == "bars BTC-USD 1h"
    assert Ask(BTC).what == "price BTC-USD"


def test_a_range() -> None:
    """With a begin it goes up to the bar that is open now; with an end only it reaches back by the limit."""
    assert bars(start_s=NOW_S - 7200) == Ask(BTC, Interval.H1, 100, NOW_S - 7200, NOW_S + 3600)
    assert bars(end_s=NOW_S - 3600, limit=2) == Ask(BTC, Interval.H1, 2, NOW_S - 3 * 3600, NOW_S - 3600)
    assert bars(start_s=NOW_S - 7200, end_s=NOW_S + 10**9).to_s == NOW_S + 3600


@pytest.mark.parametrize(
    "words",
    [
        {"limit": 0},
        {"limit": MOST_BARS + 1},
        {"start_s": NOW_S, "end_s": NOW_S},
        {"start_s": -1},
        {"start_s": NOW_S + 7200},
        {"start_s": 0, "end_s": NOW_S},
        {"end_s": 3600},
    ],
)
def test_what_makes_no_sense(words: dict[str, int]) -> None:
    """None, too many, backwards, from the future, from before 1970: refused."""
    with pytest.raises(ConfigError):
        bars(**words)


def test_intervals() -> None:
    """Known ones are read; others are refused with those there are."""
    assert parse_interval("4h") is Interval.H4
    with pytest.raises(ConfigError, match="1m, 5m, 15m"):
        parse_interval("7m")


@pytest.mark.parametrize(
    ("text", "other"), [("BTC-USD", "BTC-USDT"), ("BTC-USDT", "BTC-USD"), ("USDT-USD", None), ("BTC-EUR", None)]
)
def test_what_stands_in(text: str, other: str | None) -> None:
    """USD for USDT and the other way, of the same coin, and nothing else; never for a stock."""
    found = stand_in(parse_symbol(text))
    assert (str(found) if found else None) == other
    assert stand_in(SPY) is None


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-20T10:00", "2026-11-20T10:00"),  # a Friday
        ("2026-11-20T09:29", "2026-11-19T16:00"),
        ("2026-11-20T16:00", "2026-11-20T16:00"),
        ("2026-11-20T23:00", "2026-11-20T16:00"),
        ("2026-11-21T12:00", "2026-11-20T16:00"),
        ("2026-11-22T12:00", "2026-11-20T16:00"),
        ("2026-11-23T09:00", "2026-11-20T16:00"),
        ("2026-11-23T09:30", "2026-11-23T09:30"),
        ("2026-03-08T12:00", "2026-03-06T16:00"),  # clocks go forward
        ("2026-11-26T12:00", "2026-11-25T16:00"),  # Thanksgiving
        ("2026-11-27T12:59", "2026-11-27T12:59"),  # half a day
        ("2026-11-27T13:00", "2026-11-27T13:00"),
        ("2026-11-27T15:00", "2026-11-27T13:00"),
        ("2026-11-30T09:29", "2026-11-27T13:00"),
        ("2026-12-25T12:00", "2026-12-24T13:00"),  # a holiday after half a day
        ("2027-01-04T08:00", "2026-12-31T16:00"),  # a holiday and a weekend, into another year
        ("2012-10-30T12:00", "2012-10-26T16:00"),  # two days of storm after a weekend
    ],
)
def test_when_a_stock_was_traded_last(now: str, until: str) -> None:
    """While the exchange is open now, else when it closed; holidays and half days are known."""
    at, last = (datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp() for text in (now, until))
    assert traded_until_s(AssetClass.STOCK, at) == last
    assert traded_until_s(AssetClass.CRYPTO, at) == at


def test_an_end_alone_means_the_bars_before_it() -> None:
    """As many as are asked for: a stock is traded in few of the hours, and an end far off is now."""
    spy, btc = parse_symbol("SPY"), parse_symbol("BTC-USD")
    end_s = NOW_S - 30 * 24 * 3600
    coin = bars_of(btc, Interval.H1, start_s=None, end_s=end_s, limit=100, now_s=NOW_S)
    assert (coin.from_s, coin.to_s) == (end_s - 100 * 3600, end_s)
    share = bars_of(spy, Interval.H1, start_s=None, end_s=end_s, limit=100, now_s=NOW_S)
    assert share.from_s is not None and share.from_s < end_s - 500 * 3600
    ahead = bars_of(btc, Interval.H1, start_s=None, end_s=NOW_S + 10**9, limit=5, now_s=NOW_S)
    assert ahead.to_s == NOW_S + 3600
