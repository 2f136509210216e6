"""Answers of providers as JSON: one shape for routes and commands; money is decimal strings. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from streamer.data.ask import Served
from streamer.data.story import Story
from streamer.data.verification import Verification
from streamer.providers.shape import Bar, Price, Series
from streamer.quality.agreement import Agreement
from streamer.quality.findings import Report

Json = dict[str, Any]


def price_json(served: Served[Price], score: float | None, checked: Verification | None = None) -> Json:
    """Return a price."""
    price = served.found.value
    return {
        "symbol": str(price.symbol),
        "asked": str(served.asked),
        "price": f"{price.price:f}",
        **_provenance(served, score),
        "as_of": _time(price.as_of_ms),
        "verification": verification_json(checked) if checked is not None else None,
        "story": story_json(served.story),
    }


def series_json(served: Served[Series], score: float | None, report: Report | None = None) -> Json:
    """Return bars, oldest first."""
    series = served.found.value
    return {
        "symbol": str(series.symbol),
        "asked": str(served.asked),
        "interval": series.interval.value,
        "count": len(series.bars),
        **_provenance(served, score),
        "bars": [bar_json(bar) for bar in series.bars],
        "validation": report_json(report) if report is not None else None,
        "story": story_json(served.story),
    }


def _provenance(served: Served[Any], score: float | None) -> Json:
    found, value = served.found, served.found.value
    return {
        "provider": found.provider,
        "title": served.title,
        "instrument": value.instrument.value,
        "quote": value.symbol.quote,
        "is_stand_in": value.symbol != served.asked,
        "is_live": value.is_live,
        "tier": found.tier.value,
        "age_s": round(found.age_s, 3),
        "value_age_s": round(served.value_age_s, 3) if served.value_age_s is not None else None,
        "source": found.source,
        "reason": served.reason,
        "score": round(score, 1) if score is not None else None,
    }


def bar_json(bar: Bar) -> Json:
    """Return one bar."""
    return {
        "start": datetime.fromtimestamp(bar.start_s, UTC).isoformat(),
        "start_s": bar.start_s,
        **{name: f"{getattr(bar, name):f}" for name in ("open", "high", "low", "close")},
        "volume": f"{bar.volume:f}" if bar.volume is not None else None,
        "closed": bar.is_closed,
    }


def story_json(story: Story) -> list[Json]:
    """Return what became of the question, turn by turn."""
    return [
        {"provider": s.provider, "fate": s.fate.value, "why": s.why, "took_ms": s.took_ms, "error": s.error or None}
        for s in story.steps
    ]


def report_json(report: Report) -> Json:
    """Return what was found in a series; nothing of it was changed."""
    return {
        "worst": report.worst.value if report.worst is not None else None,
        "completeness": round(report.completeness, 4),
        "counts": report.counts,
        "judged": report.judged,
        "findings": [
            {
                "code": finding.code.value,
                "severity": finding.severity.value,
                "what": finding.what,
                "index": finding.index,
                "start_s": finding.start_s,
            }
            for finding in report.findings
        ],
    }


def verification_json(checked: Verification) -> Json:
    """Return what several providers say, group by group of what can be compared."""
    return {
        "groups": [_group(agreement, checked) for agreement in checked.comparison.agreements],
        "unusable": list(checked.comparison.unusable),
    }


def _group(agreement: Agreement, checked: Verification) -> Json:
    return {
        "of": str(agreement.group),
        "verdict": agreement.verdict.value,
        "median": f"{agreement.median:f}",
        "tolerance_bp": float(agreement.tolerance_bp),
        "dissenters": list(agreement.dissenters),
        "is_clear": agreement.is_clear,
        "sources": [
            {
                "provider": name,
                "price": f"{checked.found[name].value.price:f}",
                "deviation_bp": round(float(deviation_bp), 2),
                "tier": checked.found[name].tier.value,
                "age_s": round(checked.found[name].age_s, 3),
            }
            for name, deviation_bp in agreement.deviation_bp.items()
        ],
    }


def _time(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat()
