"""Whether bars can be what they say: prices that fit together, times that do, none missing. Pure.

Hard rules only, with exact decimals; what is merely unlikely is the business of `outliers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Final

from streamer.providers.shape import AssetClass, Bar, Series
from streamer.providers.spans import is_closed
from streamer.quality.findings import Code, Finding, Report, Severity
from streamer.quality.sessions import missed

_FIRST_S: Final = 10**8
"""March 1973: stocks have bars of decades."""
_DAY_S: Final = 86_400


def check_bars(series: Series, now_ms: int) -> Report:
    """Check bars by themselves, and how they follow each other.

    Args:
        now_ms: Unix time; what begins later is of the future.
    """
    findings = [found for index, bar in enumerate(series.bars) for found in _by_itself(series, index, bar, now_ms)]
    in_time = [index for index, bar in enumerate(series.bars) if is_time(bar, now_ms)]
    findings += _order(series, in_time)
    # What is out of order is not missing as well.
    in_time.sort(key=lambda index: series.bars[index].start_s)
    present, missing = min(len(in_time), 1), 0
    for before, index in pairwise(in_time):
        if series.bars[before].start_s == series.bars[index].start_s:
            findings.append(_double(series.bars[before], series.bars[index], index))
        else:
            present += 1
            gap, count = _gap(series, before, index)
            findings += gap
            missing += count
    findings.sort(key=lambda found: -1 if found.index is None else found.index)
    return Report(tuple(findings), len(series.bars), present / (present + missing) if present else 0.0)


def prices(bar: Bar) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Return open, high, low and close."""
    return bar.open, bar.high, bar.low, bar.close


def is_time(bar: Bar, now_ms: int) -> bool:
    """Whether a bar begins at a time at all: one in ms or ns, taken for seconds, is none."""
    return _FIRST_S <= bar.start_s <= now_ms // 1000 + _DAY_S


def last_digit(bar: Bar) -> Decimal:
    """Return the worth of the last digit that a bar's prices have: 0.01 of 84210.37 and 84210."""
    exponents = [price.as_tuple().exponent for price in prices(bar)]
    return Decimal(1).scaleb(min(exponent for exponent in exponents if isinstance(exponent, int)))


def _by_itself(series: Series, index: int, bar: Bar, now_ms: int) -> Iterator[Finding]:
    def found(code: Code, severity: Severity, what: str) -> Finding:
        return Finding(code, severity, what, index, bar.start_s)

    yield from (found(*one) for one in _values(bar))
    if not is_time(bar, now_ms):
        yield found(Code.UNIT, Severity.HIGH, f"{bar.start_s} is no time in seconds from 1973 until now")
        return
    length_s = series.interval.seconds
    if bar.start_s * 1000 > now_ms:
        yield found(Code.FUTURE, Severity.HIGH, f"begins {bar.start_s - now_ms / 1000:.0f} s from now")
    elif bar.is_closed and series.symbol.asset is AssetClass.CRYPTO and not _is_over(series, bar, now_ms):
        yield found(Code.UNCLOSED, Severity.MEDIUM, "is called closed before its end")
    elif not bar.is_closed:
        is_last = index == len(series.bars) - 1
        what = "is still open" if is_last else "is open, though others follow"
        yield found(Code.UNCLOSED, Severity.LOW if is_last else Severity.MEDIUM, what)
    # Days of stocks begin when their exchange's day does, and some count hours from 09:30.
    if series.symbol.asset is AssetClass.CRYPTO and bar.start_s % length_s:
        yield found(
            Code.MISALIGNED, Severity.MEDIUM, f"begins {bar.start_s % length_s} s after a {length_s} s mark"
        )


def _is_over(series: Series, bar: Bar, now_ms: int) -> bool:
    return is_closed(bar.start_s, series.interval, now_ms)


def _values(bar: Bar) -> Iterator[tuple[Code, Severity, str]]:
    named = dict(zip(("open", "high", "low", "close"), prices(bar), strict=True))
    wrong = [f"{name} {price}" for name, price in named.items() if not price.is_finite()]
    if wrong:
        yield Code.NOT_FINITE, Severity.HIGH, f"{', '.join(wrong)} is no number"
    elif any(price <= 0 for price in named.values()):
        low = ", ".join(f"{name} {price}" for name, price in named.items() if price <= 0)
        yield Code.NOT_POSITIVE, Severity.HIGH, f"{low} is not above 0"
    else:
        # A source that rounds each field by itself may round the close up and the high down.
        slack = last_digit(bar)
        top, bottom = max(bar.open, bar.close, bar.low), min(bar.open, bar.close, bar.high)
        if bar.high + slack < top:
            yield Code.OHLC, Severity.HIGH, f"high {bar.high} is below {top}"
        if bar.low - slack > bottom:
            yield Code.OHLC, Severity.HIGH, f"low {bar.low} is above {bottom}"
    if bar.volume is not None:
        if not bar.volume.is_finite():
            yield Code.NOT_FINITE, Severity.HIGH, f"volume {bar.volume} is no number"
        elif bar.volume < 0:
            yield Code.VOLUME, Severity.HIGH, f"volume {bar.volume} is below 0"


def _order(series: Series, indices: Sequence[int]) -> Iterator[Finding]:
    newest_s = 0
    for index in indices:
        start_s = series.bars[index].start_s
        if start_s < newest_s:
            what = f"begins {newest_s - start_s} s before one that is ahead of it"
            yield Finding(Code.ORDER, Severity.HIGH, what, index, start_s)
        newest_s = max(newest_s, start_s)


def _double(first: Bar, second: Bar, index: int) -> Finding:
    pairs = zip((*prices(first), first.volume), (*prices(second), second.volume), strict=True)
    if all(_is_same(one, other) for one, other in pairs):
        return Finding(Code.DUPLICATE, Severity.LOW, "is there twice", index, second.start_s)
    what = f"is there twice, with close {first.close} and {second.close}"
    return Finding(Code.CONFLICT, Severity.MEDIUM, what, index, second.start_s)


def _is_same(one: Decimal | None, other: Decimal | None) -> bool:
    if one is None or other is None or not (one.is_finite() and other.is_finite()):
        return str(one) == str(other)  # NaN is not equal to itself
    return one == other


def _gap(series: Series, before: int, index: int) -> tuple[list[Finding], int]:
    """Return what is missing between two bars, as a finding and as a number of bars."""
    bar, length_s = series.bars[index], series.interval.seconds
    last_s = series.bars[before].start_s
    if series.symbol.asset is AssetClass.CRYPTO:
        count = max(0, round((bar.start_s - last_s) / length_s) - 1)
    else:
        count = missed(last_s, bar.start_s, series.interval)
    if not count:
        return [], 0
    what = f"{count} {'bar is' if count == 1 else 'bars are'} missing before it"
    return [Finding(Code.GAP, Severity.MEDIUM, what, index, bar.start_s)], count
