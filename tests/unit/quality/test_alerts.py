"""Alerts: the gravest only, and one of a storm."""

from __future__ import annotations

from streamer.quality.alerts import Alerts
from streamer.quality.findings import Code, Finding, Severity


def finding(severity: Severity = Severity.HIGH, code: Code = Code.OHLC, what: str = "high 1 is below 2") -> Finding:
    """Something found."""
    return Finding(code, severity, what, 0, 60)


def test_only_grave_findings_become_alerts() -> None:
    """Doubts and notes do not wake anybody."""
    alerts = Alerts()
    assert alerts.take("binance", "BTC-USDT", [finding(Severity.LOW), finding(Severity.MEDIUM)], 0) == []
    assert alerts.open == {}


def test_a_storm_is_one_alert() -> None:
    """A thousand of the same are counted, in one batch and over time; the first words stay."""
    alerts = Alerts(quiet_s=900)
    [raised] = alerts.take("binance", "BTC-USDT", [finding(), *[finding(what="more")] * 99], 1000)
    assert (raised.provider, raised.symbol, raised.code, raised.what, raised.count) == (
        "binance",
        "BTC-USDT",
        Code.OHLC,
        "high 1 is below 2",
        1,
    )
    for minute in range(1, 91):
        now_s = 1000 + 60.0 * minute
        assert alerts.over(now_s) == []
        assert alerts.take("binance", "BTC-USDT", [finding()] * 10, now_s) == []
    [held] = alerts.open.values()
    assert (held.count, held.since_s, held.last_s, held.what) == (1000, 1000, 6400, "high 1 is below 2")


def test_providers_symbols_and_codes_are_told_apart() -> None:
    """Each has an alert of its own."""
    alerts = Alerts()
    for provider, symbol, code in (
        ("binance", "BTC-USDT", Code.OHLC),
        ("polygon", "BTC-USDT", Code.OHLC),
        ("binance", "ETH-USDT", Code.OHLC),
        ("binance", "BTC-USDT", Code.SPIKE),
    ):
        assert len(alerts.take(provider, symbol, [finding(code=code)], 0)) == 1


def test_what_was_quiet_is_raised_anew() -> None:
    """Over with its count, and then an alert again."""
    alerts = Alerts(quiet_s=900)
    alerts.take("binance", "BTC-USDT", [finding()] * 3, 0)
    assert alerts.over(899) == []
    [ended] = alerts.over(900)
    assert (ended.count, alerts.open) == (3, {})
    assert len(alerts.take("binance", "BTC-USDT", [finding()], 901)) == 1


def test_there_is_a_most() -> None:
    """Those that were quiet the longest are over early, whatever comes in."""
    alerts = Alerts(quiet_s=900, most=10)
    for number in range(30):
        alerts.take("binance", f"S{number}", [finding()], number)
    alerts.take("binance", "S0", [finding()], 40)
    ended = alerts.over(41)
    assert [alert.symbol for alert in ended] == [f"S{number}" for number in range(1, 21)]
    assert len(alerts.open) == 10


def test_a_clock_that_goes_back_ends_nothing() -> None:
    """The newest time counts."""
    alerts = Alerts(quiet_s=900)
    alerts.take("binance", "BTC-USDT", [finding()], 1000)
    assert alerts.take("binance", "BTC-USDT", [finding()], 0) == []
    assert alerts.over(1899) == []
