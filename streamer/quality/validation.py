"""All checks of a series in one. Pure."""

from __future__ import annotations

from dataclasses import replace

from streamer.providers.shape import Series
from streamer.quality.bars import check_bars
from streamer.quality.findings import Report
from streamer.quality.outliers import unusual_bars


def validate(series: Series, now_ms: int) -> Report:
    """Return what is impossible and what is unlikely about a series, in order of its bars.

    Args:
        now_ms: Unix time.
    """
    report, unusual = check_bars(series, now_ms), unusual_bars(series)
    findings = sorted(
        (*report.findings, *unusual.findings), key=lambda found: -1 if found.index is None else found.index
    )
    return replace(report, findings=tuple(findings), judged=unusual.judged)
