"""How stream and fleet stand, as metrics for Prometheus: facts in, metric families out. Pure.

What is not known is not told: a metric that is absent can be alerted on, a zero that stands for "no idea" cannot.
`docs/metrics.md` lists every metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from streamer.health.verdict import STALE_AFTER_MS
from streamer.store.keys import CALL, HIT, LIMITED, MISS, WAIT, WAIT_UP_TO, WAITED_MS

LEVELS: Final = ("healthy", "degraded", "down")
FEED_STATES: Final = ("connecting", "live", "backoff", "refused", "unauthenticated", "stopped")
BREAKER_STATES: Final = ("closed", "open", "half-open")

_OF_STATUS: Final = (
    ("streamer_ingester_start_time_seconds", ("started_ms",), 1000, "Unix time at which the ingester started"),
    (
        "streamer_ingester_cpu_seconds_total",
        ("process", "cpu_s"),
        1,
        "Processor time of the ingester; process_* is of the process that answers",
    ),
    ("streamer_ingester_resident_memory_bytes", ("process", "rss_bytes"), 1, "Memory of the ingester"),
    ("streamer_frames_received_total", ("frames", "received"), 1, "Frames that the exchange has sent"),
    ("streamer_frames_malformed_total", ("frames", "malformed"), 1, "Frames that were none of the protocol's"),
    (
        "streamer_values_rejected_total",
        ("frames", "rejected_values"),
        1,
        "Values refused in frames that were sound",
    ),
    ("streamer_updates_written_total", ("sink", "writes"), 1, "Records that Redis has taken"),
    ("streamer_updates_refused_total", ("sink", "refused"), 1, "Records refused because Redis had newer ones"),
    (
        "streamer_updates_conflated_total",
        ("sink", "conflated"),
        1,
        "Tickers that a newer one replaced before they were written",
    ),
    ("streamer_price_jumps_total", ("sink", "jumps"), 1, "Prices out of the band of those before, as written"),
    ("streamer_write_failures_total", ("sink", "failures"), 1, "Writes that Redis did not answer"),
    ("streamer_dirty_records", ("sink", "dirty"), 1, "Records of which Redis has not the newest"),
    ("streamer_write_lag_seconds", ("sink", "lag_ms"), 1000, "How long the oldest unwritten change has waited"),
    ("streamer_products_wanted", ("products", "wanted"), 1, "Products to stream"),
    ("streamer_products_live", ("products", "live"), 1, "Products with nothing wrong about their ticker"),
    ("streamer_products_suspect", ("products", "suspect_count"), 1, "Products that frames were lost of"),
    ("streamer_products_silent", ("products", "silent_count"), 1, "Products that the exchange sends nothing of"),
    (
        "streamer_products_unconfirmed",
        ("products", "unconfirmed_count"),
        1,
        "Products whose subscription is not confirmed",
    ),
    ("streamer_products_waiting", ("products", "waiting_count"), 1, "Products without a value on this connection"),
    ("streamer_balances", ("portfolio", "currencies"), 1, "Currencies with a balance"),
    ("streamer_balances_derived", ("portfolio", "derived"), 1, "Balances that follow from orders, unconfirmed yet"),
    ("streamer_balances_suspect", ("portfolio", "suspect"), 1, "Balances that order updates may be missing in"),
    (
        "streamer_balance_differences_total",
        ("portfolio", "differences"),
        1,
        "Balances of which REST told something else than the orders",
    ),
    ("streamer_candles_products", ("candles", "products"), 1, "Products with candles"),
    ("streamer_candles_refused_total", ("candles", "refused"), 1, "Candles that cannot be"),
    ("streamer_candles_backfilling", ("candles", "backfilling"), 1, "Products whose past candles are awaited"),
    ("streamer_clock_skew_seconds", ("clock_skew_s",), 1, "By how much the ingester's clock is ahead"),
)
"""Name, place in `stream:status`, what it is to be divided by, help. A name that ends in _total is a counter."""

_OF_FEEDS: Final = (
    ("streamer_feed_gaps_total", "gaps", "Times that frames were lost"),
    ("streamer_feed_reconnects_total", "reconnects", "Connections after the first"),
    ("streamer_feed_products", "products", "Products that the feed is to carry"),
)
_OF_FLUSHES: Final = (
    ("streamer_flush_records", "records", "Records of a flush"),
    ("streamer_flush_duration_seconds", "took_s", "How long Redis took for a flush"),
    (
        "streamer_write_latency_seconds",
        "waited_s",
        "From the arrival of a flush's oldest change until Redis had taken it",
    ),
    (
        "streamer_end_to_end_latency_seconds",
        "behind_s",
        "From the exchange's stamp of one record of a flush until Redis had taken it",
    ),
)
_OF_WINDOWS: Final = (
    ("streamer_rest_budget_used", "used", "REST calls within the window, of all processes"),
    ("streamer_rest_budget_limit", "limit", "REST calls allowed within the window"),
)
_OF_BUDGETS: Final = (
    ("streamer_rest_queue_length", "queued", "REST calls that wait for their turn, of all processes"),
    ("streamer_rest_rate_ratio", "rate_factor", "Part of the rate that 429s have left"),
    ("streamer_rest_blocked_seconds", "blocked_s", "For so long a 429 still forbids calls"),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that there is to tell of stream and fleet; what is None or empty is not known.

    Attributes:
        version: Of the process that answers.
        now_ms: Clock of Redis; None while Redis is away.
        level: The verdict.
        codes: Names of the reasons for it.
        status: The ingester's last report.
        gateway: How the REST calls of all processes stand: budgets, breaker and processes, as `streamer calls` has.
        totals: What all processes have ever counted.
    """

    version: str
    now_ms: int | None = None
    level: str | None = None
    codes: Sequence[str] = ()
    status: Mapping[str, Any] | None = None
    gateway: Mapping[str, Any] | None = None
    totals: Mapping[str, int] | None = None


def families(facts: Facts) -> list[Metric]:
    """Return the metrics that the facts allow."""
    made = [*_whole(facts)]
    if facts.status is not None and facts.now_ms is not None:
        made += _ingester(facts.status, facts.now_ms)
    if facts.totals is not None:
        made += _fleet(facts.totals)
    if facts.gateway is not None:
        made += _gateway(facts.gateway)
    return [family for family in made if family.samples]


# -- the whole ----------------------------------------------------------------------------------------------------


def _whole(facts: Facts) -> Iterator[Metric]:
    yield _info("streamer_build_info", "The version of the process that answers", {"version": facts.version})
    yield _plain("streamer_redis_up", "Whether Redis answers", facts.now_ms is not None)
    if facts.now_ms is None:
        return
    status = facts.status or {}
    written_ms = _number_at(status, "written_ms")
    stale_after_ms = _number_at(status, "stale_after_ms") or STALE_AFTER_MS
    is_up = written_ms is not None and facts.now_ms - written_ms <= stale_after_ms
    yield _plain("streamer_ingester_up", "Whether an ingester reports", is_up)
    if written_ms is not None:
        age_s = (facts.now_ms - written_ms) / 1000
        yield _plain("streamer_ingester_report_age_seconds", "Age of the ingester's last report", age_s)
    yield _states("streamer_health", "The verdict", "level", LEVELS, [((), facts.level)])
    codes = [((code,), 1) for code in dict.fromkeys(facts.codes)]
    yield _labelled("streamer_health_reason", "What is wrong, by the name of the reason", ("code",), codes)


# -- the ingester -------------------------------------------------------------------------------------------------


def _ingester(status: Mapping[str, Any], now_ms: int) -> Iterator[Metric]:
    told = {name: str(status.get(name, "")) for name in ("source", "role", "version")}
    yield _info("streamer_ingester_info", "Whose data it is, and who reports", told)
    for name, path, divisor, about in _OF_STATUS:
        if (value := _number_at(status, *path)) is not None:
            yield _plain(name, about, value / divisor)
    if (answered_ms := _number_at(status, "portfolio", "answered_ms")) is not None:
        age_s = max(0.0, (now_ms - answered_ms) / 1000)
        yield _plain("streamer_balances_answer_age_seconds", "Time since REST last told the balances", age_s)
    yield from _feeds(status.get("feeds") or (), now_ms)
    yield from _flushes(_part(_part(status, "sink"), "flushes"))


def _feeds(feeds: Sequence[Mapping[str, Any]], now_ms: int) -> Iterator[Metric]:
    labels = ("feed", "channel")
    named = [((str(feed.get("id")), str(feed.get("channel"))), feed) for feed in feeds]
    states = [(values, feed.get("state")) for values, feed in named]
    yield _states("streamer_feed_state", "Where a feed stands", "state", FEED_STATES, states, labels)
    silences = [
        (values, max(0.0, (now_ms - alive_ms) / 1000))
        for values, feed in named
        if (alive_ms := _number_at(feed, "alive_ms")) is not None
    ]
    about = "Time since the last frame in order, the proof of life"
    yield _labelled("streamer_feed_silence_seconds", about, labels, silences)
    for name, key, about in _OF_FEEDS:
        numbers = [(values, number) for values, feed in named if (number := _number_at(feed, key)) is not None]
        yield _labelled(name, about, labels, numbers)


def _flushes(kinds: Mapping[str, Any]) -> Iterator[Metric]:
    for name, key, about in _OF_FLUSHES:
        family = HistogramMetricFamily(name, about, labels=("kind",))
        for kind in sorted(kinds):
            told = _part(_part(kinds, kind), key)
            bounds, counts, total = told.get("le"), told.get("counts"), told.get("sum")
            if not isinstance(bounds, list) or not isinstance(counts, list) or not isinstance(total, int | float):
                continue
            # A histogram of nothing says nothing; one of another shape is another version's.
            if len(counts) == len(bounds) + 1 and any(counts):
                names = [*(_bound(bound) for bound in bounds), "+Inf"]
                family.add_metric((kind,), _cumulative(names, counts), total)
        yield family


# -- the fleet ----------------------------------------------------------------------------------------------------


def _fleet(totals: Mapping[str, int]) -> Iterator[Metric]:
    """Read the names of the counters that all processes share."""
    calls: list[tuple[tuple[str, ...], float]] = []
    reads: list[tuple[tuple[str, ...], float]] = []
    waits: dict[str, dict[str, int]] = {}
    for name, number in sorted(totals.items()):
        what, *rest = name.split(":")
        if what == CALL and len(rest) == 3:
            calls.append((tuple(rest), number))
        elif what in (HIT, MISS) and len(rest) == 2:
            reads.append(((*rest, what), number))
        elif what == WAIT and len(rest) == 2:
            waits.setdefault(rest[0], {})[rest[1]] = number
    labels = ("route", "priority", "outcome")
    yield _labelled("streamer_rest_calls_total", "REST calls of all processes, retries counted", labels, calls)
    yield _plain("streamer_rest_rate_limited_total", "REST calls answered 429", totals.get(LIMITED, 0))
    yield _labelled("streamer_reads_total", "Reads of all readers", ("kind", "tier", "outcome"), reads)
    about = "How long REST calls waited that could not be made at once"
    family = HistogramMetricFamily("streamer_rest_queue_wait_seconds", about, labels=("priority",))
    for priority, counted in sorted(waits.items()):
        buckets = _cumulative(WAIT_UP_TO, [counted.get(name, 0) for name in WAIT_UP_TO])
        family.add_metric((priority,), buckets, totals.get(f"{WAITED_MS}:{priority}", 0) / 1000)
    yield family


def _gateway(told: Mapping[str, Any]) -> Iterator[Metric]:
    budgets, breaker = told["budgets"], told["breaker"]
    for name, key, about in _OF_WINDOWS:
        values = [
            ((budget, f"{window['length_s']:g}s"), window[key])
            for budget, state in budgets.items()
            for window in state["windows"]
        ]
        yield _labelled(name, about, ("budget", "window"), values)
    for name, key, about in _OF_BUDGETS:
        yield _labelled(name, about, ("budget",), [((budget,), state[key]) for budget, state in budgets.items()])
    about = "The circuit breaker of REST"
    yield _states("streamer_rest_breaker_state", about, "state", BREAKER_STATES, [((), breaker["state"])])
    about = "For so long the circuit breaker lets nothing through"
    yield _plain("streamer_rest_breaker_retry_seconds", about, breaker["retry_s"])
    about = "Calls that have failed since one has not"
    yield _plain("streamer_rest_failures_in_a_row", about, breaker["failures_in_a_row"])
    about = "Processes that have asked for a call within the last minute"
    yield _plain("streamer_rest_processes", about, told["processes"])


# -- families -----------------------------------------------------------------------------------------------------


def _labelled(
    name: str, about: str, labels: Sequence[str], values: Sequence[tuple[Sequence[str], float]]
) -> Metric:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family = kind(name, about, labels=labels)
    for held, value in values:
        family.add_metric(held, value)
    return family


def _info(name: str, about: str, told: Mapping[str, str]) -> Metric:
    return _labelled(name, about, tuple(told), [(tuple(told.values()), 1)])


def _plain(name: str, about: str, value: float) -> Metric:
    return _labelled(name, about, (), [((), value)])


def _states(
    name: str,
    about: str,
    label: str,
    states: Sequence[str],
    current: Sequence[tuple[Sequence[str], object]],
    labels: Sequence[str] = (),
) -> Metric:
    """Return a gauge for each state, 1 where it is the current one; none where that is not known."""
    values = [((*held, state), float(state == now)) for held, now in current if now is not None for state in states]
    return _labelled(name, about, (*labels, label), values)


def _cumulative(names: Sequence[str], counts: Sequence[int]) -> list[tuple[str, float]]:
    return list(zip(names, accumulate(counts), strict=True))


def _bound(bound: float) -> str:
    """Return an upper bound as Prometheus's own clients write it: 0.5, 1.0."""
    return str(float(bound))


def _part(whole: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = whole.get(key)
    return part if isinstance(part, Mapping) else {}


def _number_at(whole: Mapping[str, Any], *path: str) -> float | None:
    """Return the number at the end of a path, None where there is none: ingesters differ in what they tell."""
    value: object = whole
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) else None
