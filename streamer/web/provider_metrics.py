"""Metrics of other providers, by the conventions of Prometheus. Pure.

Budgets, holds and scores are those of all processes; calls, alerts and findings are counted by each for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

MOST_SYMBOLS: Final = 200
"""Anybody who may ask can name symbols; for Prometheus each is a series for every provider."""
_HELD: Final = "Whether all processes leave the provider alone, because of what it has said"
_USED: Final = "Calls of a provider within the window, of all processes"
_LIMIT: Final = "Calls of a provider allowed within the window"
_SCORE: Final = "Quality of a provider's answers for a symbol, 0 to 100"


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """What there is to tell of providers.

    Attributes:
        standing: What `DataDesk.standing` says of each; empty where Redis cannot tell.
        calls: Made by this process, by provider and outcome.
        alerts: Raised by this process, by code.
        findings: Of this process, by severity.
    """

    standing: Sequence[Mapping[str, Any]] = ()
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    alerts: Mapping[str, int] = field(default_factory=dict)
    findings: Mapping[str, int] = field(default_factory=dict)


def calls_of(provider: str, made: Mapping[tuple[str, str, Any], int]) -> Counter[tuple[str, str]]:
    """Return calls by provider and outcome; they are counted by route, priority and outcome."""
    counted: Counter[tuple[str, str]] = Counter()
    for (_, _, outcome), number in made.items():
        counted[provider, str(outcome)] += number
    return counted


def provider_families(facts: ProviderFacts) -> list[Metric]:
    """Return the metrics that the facts allow."""
    return [family for family in (*_standing(facts.standing), *_counted(facts)) if family.samples]


def _standing(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    held = GaugeMetricFamily("streamer_data_held", _HELD, labels=("provider",))
    used = GaugeMetricFamily("streamer_data_budget_used", _USED, labels=("provider", "window"))
    limit = GaugeMetricFamily("streamer_data_budget_limit", _LIMIT, labels=("provider", "window"))
    for row in rows:
        held.add_metric((row["name"],), float(row["held"] is not None))
        for window in row["windows"]:
            labels = row["name"], f"{window['length_s']:g}s"
            used.add_metric(labels, window["used"])
            limit.add_metric(labels, window["allowed"])
    score = GaugeMetricFamily("streamer_data_score", _SCORE, labels=("provider", "symbol"))
    for provider, symbol, value in _scores(rows):
        score.add_metric((provider, symbol), value)
    yield from (held, used, limit, score)


def _scores(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, float]]:
    """Return scores of the symbols that were asked for last: each provider lists them in that order."""
    columns = ([(row["name"], one) for one in row["scores"]] for row in rows)
    symbols: set[str] = set()
    for line in zip_longest(*columns):
        for entry in line:
            if entry is None or entry[1]["score"] is None:
                continue
            provider, one = entry
            if one["symbol"] in symbols or len(symbols) < MOST_SYMBOLS:
                symbols.add(one["symbol"])
                yield provider, one["symbol"], one["score"]


def _counted(facts: ProviderFacts) -> Iterator[Metric]:
    about = "Calls of providers by this process, retries counted"
    calls = CounterMetricFamily("streamer_data_calls_total", about, labels=("provider", "outcome"))
    for labels, number in sorted(facts.calls.items()):
        calls.add_metric(labels, number)
    about = "Alerts of bad data that this process was the first to raise"
    alerts = CounterMetricFamily("streamer_data_alerts_total", about, labels=("code",))
    about = "What checks of providers' answers have found in this process"
    findings = CounterMetricFamily("streamer_data_findings_total", about, labels=("severity",))
    for family, counted in ((alerts, facts.alerts), (findings, facts.findings)):
        for label, number in sorted(counted.items()):
            family.add_metric((label,), number)
    yield from (calls, alerts, findings)
