"""Laws of quality: checks change nothing, verdicts depend on neither units nor order, better parts score better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from streamer.providers.shape import AssetClass, Bar, Instrument, Interval, Price, Series, Symbol
from streamer.quality.agreement import compare
from streamer.quality.alerts import Alerts
from streamer.quality.findings import Code, Finding, Severity
from streamer.quality.score import WEIGHTS, Observed, combined, score
from streamer.quality.ticks import Band
from streamer.quality.validation import validate

SYMBOLS = [Symbol("BTC", "USD", AssetClass.CRYPTO), Symbol("SPY", "USD", AssetClass.STOCK)]
START_S = 1_790_000_040
NOW_MS = (START_S + 86_400) * 1000

plain = st.integers(1, 10**7).map(lambda cents: Decimal(cents).scaleb(-2))
near = st.integers(9_900, 10_100).map(lambda cents: Decimal(cents).scaleb(-2))
wild = st.decimals(allow_nan=True, allow_infinity=True) | st.sampled_from([Decimal(0), Decimal("sNaN")])
powers = st.integers(-6, 6)


def bars(price: st.SearchStrategy[Decimal], start_s: st.SearchStrategy[int]) -> st.SearchStrategy[Bar]:
    """Bars of such prices."""
    return st.builds(Bar, start_s, price, price, price, price, st.none() | price, st.booleans())


@st.composite
def rows(draw: st.DrawFn) -> list[Bar]:
    """Bars in order, near each other, but for a few."""
    held = draw(st.lists(bars(near, st.just(0)), max_size=40))
    found = [replace(bar, start_s=START_S + 60 * i) for i, bar in enumerate(held)]
    for place in draw(st.lists(st.integers(0, max(0, len(found) - 1)), max_size=3)):
        if found:
            found[place] = replace(found[place], close=draw(plain))
    return found


def series_of(held: Sequence[Bar], symbol: Symbol = SYMBOLS[0], interval: Interval = Interval.M1) -> Series:
    """A series."""
    return Series(symbol, interval, Instrument.SPOT, held)


@given(
    st.lists(
        bars(wild | plain, st.integers(START_S, START_S + 7200) | st.integers(-(10**19), 10**19)), max_size=30
    ),
    st.sampled_from(SYMBOLS),
    st.sampled_from(Interval),
)
def test_a_report_drops_and_changes_no_bar(held: list[Bar], symbol: Symbol, interval: Interval) -> None:
    """Whatever they hold: every finding points at a bar, every share is one, and the bars are the same objects."""
    before = list(held)
    series = series_of(held, symbol, interval)
    report = validate(series, NOW_MS)
    assert report.bars == len(held) and all(one is other for one, other in zip(held, before, strict=True))
    assert 0 <= report.completeness <= 1 and 0 <= report.cleanness <= 1
    assert 0 <= report.judged <= report.bars
    for found in report.findings:
        assert found.index is not None and found.start_s == held[found.index].start_s
    assert sum(len(report.of(index)) for index in range(len(held))) == len(report.findings)
    assert sum(report.counts.values()) == len(report.findings)


@given(rows(), powers)
def test_the_unit_of_prices_changes_no_verdict(held: list[Bar], power: int) -> None:
    """In cents or in thousands: the same findings in the same bars."""

    def verdicts(found: Sequence[Bar]) -> list[tuple[Code, Severity, int | None]]:
        return [(one.code, one.severity, one.index) for one in validate(series_of(found), NOW_MS).findings]

    scaled = [
        replace(
            bar,
            open=bar.open.scaleb(power),
            high=bar.high.scaleb(power),
            low=bar.low.scaleb(power),
            close=bar.close.scaleb(power),
        )
        for bar in held
    ]
    assert verdicts(scaled) == verdicts(held)


def prices_of(values: Sequence[Decimal], names: Sequence[int]) -> dict[str, Price]:
    """Spot prices under such names."""
    return {
        f"p{name}": Price(SYMBOLS[0], value, Instrument.SPOT) for name, value in zip(names, values, strict=True)
    }


@given(
    st.lists(plain, min_size=1, max_size=8).flatmap(lambda found: st.tuples(st.just(found), st.permutations(found)))
)
def test_the_order_of_sources_changes_no_median(both: tuple[list[Decimal], list[Decimal]]) -> None:
    """Nor how many are found fault with."""
    one, other = (compare(prices_of(values, range(len(values)))).agreements[0] for values in both)
    assert (one.median, one.verdict, one.is_clear) == (other.median, other.verdict, other.is_clear)
    assert sorted(one.deviation_bp.values()) == sorted(other.deviation_bp.values())
    assert len(one.dissenters) == len(other.dissenters)


@given(st.lists(plain, min_size=1, max_size=8), powers)
def test_the_unit_of_sources_changes_no_verdict(values: list[Decimal], power: int) -> None:
    """The same deviations and the same dissenters."""
    names = range(len(values))
    one = compare(prices_of(values, names)).agreements[0]
    other = compare(prices_of([value.scaleb(power) for value in values], names)).agreements[0]
    assert (one.dissenters, one.is_clear, one.deviation_bp) == (
        other.dissenters,
        other.is_clear,
        other.deviation_bp,
    )
    for name in one.prices:
        found, again = one.finding(name), other.finding(name)
        assert (found and (found.code, found.severity)) == (again and (again.code, again.severity))


@given(st.lists(near, min_size=3, max_size=7), plain)
def test_one_liar_moves_no_median_out_of_the_others(honest: list[Decimal], lie: Decimal) -> None:
    """Among three or more that say the truth."""
    [agreement] = compare(prices_of([*honest, lie], range(len(honest) + 1))).agreements
    assert min(honest) <= agreement.median <= max(honest)


ticks = st.lists(
    st.tuples(st.integers(90_000, 110_000) | st.integers(10_000, 1_000_000), st.integers(0, 5000)), max_size=80
)


@given(ticks, st.integers(0, 4))
def test_the_band_is_free_of_units(moves: list[tuple[int, int]], power: int) -> None:
    """The same ticks with the point elsewhere: the same verdicts."""
    bands, at_ms = (Band(), Band()), 0
    for price, pause_ms in moves:
        at_ms += pause_ms
        texts = (f"{Decimal(price).scaleb(-5):f}", f"{Decimal(price).scaleb(-5 - power):f}")
        one, other = (band.judge(text, at_ms / 1000) for band, text in zip(bands, texts, strict=True))
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert abs(one.move - other.move) < 1e-9


@given(ticks)
def test_three_equal_ticks_are_always_the_level(moves: list[tuple[int, int]]) -> None:
    """Whatever went before: what stays is no jump for long."""
    band = Band()
    for price, pause_ms in moves:
        band.judge(str(price), pause_ms / 1000)
    verdicts = [band.judge("123456", 6.0 + i) for i in range(4)]
    assert verdicts[2:] == [None, None]


parts = st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.floats(0, 1), min_size=1)


@given(parts, st.data())
def test_a_score_rises_with_each_part(found: dict[str, float], data: st.DataObject) -> None:
    """From 0 to 100, and never lower for a better part."""
    name = data.draw(st.sampled_from(sorted(found)))
    better = found | {name: data.draw(st.floats(found[name], 1))}
    low, high = combined(found).value, combined(better).value
    assert low is not None and high is not None
    assert 0 <= low <= high + 1e-9 and high <= 100


events = st.lists(
    st.tuples(
        st.sampled_from(["answered", "failed", "compared"]),
        st.floats(0, 1e5),
        st.floats(-1e6, 1e6, allow_nan=False),
    ),
    min_size=1,
    max_size=30,
)


@given(events)
def test_whatever_is_seen_scores_from_0_to_100(seen: list[tuple[str, float, float]]) -> None:
    """Also where clocks go back and forth."""
    observed = Observed()
    for kind, now_s, value in seen:
        if kind == "answered":
            observed = observed.answered(now_s, as_of_s=now_s + value)
        elif kind == "failed":
            observed = observed.failed(now_s)
        else:
            observed = observed.compared(value, now_s)
        value_now = score(observed, due_s=60.0).value
        assert value_now is not None and 0 <= value_now <= 100


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([Code.OHLC, Code.SPIKE]), st.integers(0, 300)), max_size=60
    )
)
def test_no_alert_is_raised_twice_nor_a_finding_lost(found: list[tuple[str, Code, int]]) -> None:
    """Between an alert and its end no other of its kind; and counts add up to what was found."""
    alerts, now_s, is_open, counted = Alerts(quiet_s=200), 0.0, set[tuple[str, Code]](), 0
    for provider, code, pause_s in found:
        now_s += pause_s
        for ended in alerts.over(now_s):
            counted += ended.count
            is_open.remove((ended.provider, ended.code))
        for raised in alerts.take(provider, "BTC-USD", [Finding(code, Severity.HIGH, "")], now_s):
            assert (raised.provider, raised.code) not in is_open
            is_open.add((raised.provider, raised.code))
    assert counted + sum(alert.count for alert in alerts.open.values()) == len(found)
