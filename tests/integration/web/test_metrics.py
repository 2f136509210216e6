"""`/metrics` of running processes: what has happened is in it, and what the board and the alerts use is, too."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamer.providers.registry import ADAPTERS
from streamer.store.connect import Store
from streamer.store.counters import Counters
from streamer.store.keys import Keys
from tests.integration.reader.rig import BTC, ETH, Writer
from tests.integration.web.rig import Api, Full
from tests.support import BIN, PATIENCE, Process, RedisServer, Simulator, free_port, wait_until

DEPLOY = Path(__file__).parents[3] / "deploy"
BOARD = DEPLOY / "grafana" / "dashboards" / "streamer.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
_ADDED_BY_PROMETHEUS = {"job", "instance"}
_TOLD_ALIKE = ("streamer_rest_calls", "streamer_rest_budget_limit", "streamer_ingester_start", "streamer_products_")
MARKET = "/api/v1/market"

Sample = tuple[str, tuple[tuple[str, str], ...]]


class Scrape:
    """What a process has told, as Prometheus reads it."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        self.families = list(text_string_to_metric_families(answer.text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def values(self, name: str, **labels: str) -> list[float]:
        """Return all values of a name that bear these labels."""
        return [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]

    def value(self, name: str, **labels: str) -> float:
        """Return the only one."""
        (value,) = self.values(name, **labels)
        return value

    def of_all_processes(self) -> dict[Sample, float]:
        """Return what every instance must tell alike, and that holds still for long enough to be compared."""
        return {
            (s.name, tuple(sorted(s.labels.items()))): s.value
            for s in self.samples
            if s.name.startswith(_TOLD_ALIKE)
        }


@dataclass
class System:
    """A simulated exchange, an ingester with balances and its API, and a second API beside it."""

    redis: RedisServer
    simulator: Simulator
    first: httpx.Client
    second: httpx.Client

    def scrape(self, client: httpx.Client | None = None) -> Scrape:
        """Ask, of the ingester's own API where none is named."""
        return Scrape((client or self.first).get("/metrics"))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One that has something of everything to tell: balances, calls that waited, and a product that is unknown."""
    folder = tmp_path_factory.mktemp("system")
    key = folder / "key.json"
    flags = ("--make-key", str(key), "--rest-port", "0")
    with RedisServer(folder) as redis, Simulator(folder, *flags, products="BTC-USD,ETH-USD,SOL-USD") as simulator:
        ports = free_port(), free_port()
        env = {
            "STREAMER_REST_URL": simulator.rest_url,
            "COINBASE_KEY_FILE": str(key),
            "STREAMER_DEMAND": "false",
        }
        common = ["--redis-url", redis.url, "--port"]
        urls = ["--ws-url", simulator.url, "--rest-url", simulator.rest_url]
        stream = [str(BIN / "start-stream"), "BTC-USD", "ETH-USD", "NONE-USD", *urls, *common, str(ports[0])]
        alone = [str(BIN / "streamer"), "serve", *common, str(ports[1])]
        with Process(stream, folder, env=env), Process(alone, folder, env=env):
            clients = [httpx.Client(base_url=f"http://127.0.0.1:{p}", trust_env=False, timeout=20) for p in ports]
            made = System(redis, simulator, *clients)
            try:
                for client in clients:
                    wait_until(partial(_is_ready, client), 30)
                wait_until(
                    lambda: (
                        made.scrape().values(
                            "streamer_balances",
                        )
                        not in ([], [0.0])
                    ),
                    20,
                )
                yield made
            finally:
                for client in clients:
                    client.close()


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def spend(system: System) -> None:
    """Have REST asked for more than its budget, so that calls wait; and have the counts told."""
    for limit in range(1, 13):
        system.first.get(f"{MARKET}/candles/SOL-USD?granularity=ONE_DAY&limit={limit}&timeout_s=0.5")
    wait_until(partial(_has_told, system, "streamer_rest_queue_wait_seconds_count"), 20)


def _has_told(system: System, name: str) -> bool:
    system.first.get(f"{MARKET}/ticker/BTC-USD")  # what a reader has counted, it tells while it is used
    return bool(system.scrape().values(name))


# -- what happens is told -----------------------------------------------------------------------------------------


def test_providers_are_told(system: System) -> None:
    """Budgets and holds of all of them, by each instance; a score once one of them has been asked."""
    assert system.first.get("/api/v1/data/price?symbol=BTC-USD").json()["provider"] == "coinbase"
    btc = {"provider": "coinbase", "symbol": "BTC-USD"}
    wait_until(lambda: system.scrape(system.second).values("streamer_data_score", **btc), 10)
    told = system.scrape(system.second)
    assert 0 < told.value("streamer_data_score", **btc) <= 100
    held = {
        sample.labels["provider"]: sample.value for sample in told.samples if sample.name == "streamer_data_held"
    }
    assert held == dict.fromkeys(ADAPTERS, 0.0)
    for provider in ADAPTERS:
        limits = told.values("streamer_data_budget_limit", provider=provider)
        assert limits and len(limits) == len(told.values("streamer_data_budget_used", provider=provider))


def test_frames_feeds_and_writes_are_told(system: System) -> None:
    """They rise, as the exchange sends; feeds are live, and have proved it lately."""
    before = system.scrape()
    wait_until(
        lambda: (
            system.scrape().value("streamer_frames_received_total")
            > before.value("streamer_frames_received_total") + 20
        ),
        20,
    )
    after = system.scrape()
    assert after.value("streamer_updates_written_total") > before.value("streamer_updates_written_total")
    for channel in ("ticker", "candles", "status", "user"):
        assert after.values("streamer_feed_state", channel=channel, state="live") == [1.0]
        assert after.values("streamer_feed_silence_seconds", channel=channel)[0] < 5 * PATIENCE
    assert after.value("streamer_ingester_up") == after.value("streamer_redis_up") == 1
    assert (after.value("streamer_products_wanted"), after.value("streamer_products_live")) == (3, 2)
    for kind in ("ticker", "balance", "candles"):
        flushed = after.value("streamer_flush_records_count", kind=kind)
        assert flushed == after.value("streamer_flush_duration_seconds_count", kind=kind) > 0
        assert flushed == after.value("streamer_write_latency_seconds_count", kind=kind)
    assert after.value("streamer_write_latency_seconds_bucket", kind="ticker", le="30.0") > 0
    # The exchange is on this host: a stamp that is misread, or one of a renewal, would be hours or minutes off.
    total = after.value("streamer_end_to_end_latency_seconds_count", kind="ticker")
    assert after.value("streamer_end_to_end_latency_seconds_bucket", kind="ticker", le="2.5") == total > 0


def test_calls_and_waits_are_told_by_outcome(system: System) -> None:
    """Of all processes, whichever of them is asked."""
    spend(system)
    for which in ({"route": "accounts"}, {"route": "candles", "priority": "MARKET_DATA"}):  # ingester's, reader's
        wait_until(partial(_has_called, system, which), 20, why=str(which))
    told = system.scrape()
    assert told.value("streamer_rest_rate_limited_total") == 0
    assert told.value("streamer_rest_queue_wait_seconds_count", priority="MARKET_DATA") >= 1
    assert told.value("streamer_rest_budget_limit", budget="market", window="60s") <= 10
    assert told.value("streamer_rest_breaker_state", state="closed") == 1
    assert told.value("streamer_reads_total", kind="ticker", tier="realtime", outcome="hit") >= 1

    def agrees() -> bool:
        return system.scrape(system.second).of_all_processes() == system.scrape().of_all_processes()

    wait_until(agrees, 20, why="two instances tell different things of the same")


def _has_called(system: System, which: dict[str, str]) -> bool:
    return sum(system.scrape().values("streamer_rest_calls_total", outcome="ok", **which)) >= 1


def test_http_is_told_by_route(system: System) -> None:
    """Of the process that is asked: by template and status, refused ones too, and who listens."""
    before = system.scrape(system.second)
    for product_id in ("BTC-USD", "ETH-USD"):
        assert system.second.get(f"{MARKET}/ticker/{product_id}").status_code == 200
    assert system.second.get("/wp-admin").status_code == 404
    assert system.second.get("/livez", headers={"Host": "elsewhere"}).status_code == 421
    assert system.second.post("/livez").status_code == 405
    with system.second.stream("GET", "/api/v1/stream"):
        wait_until(lambda: _clients(system) == 1, 5)
    wait_until(lambda: _clients(system) == 0, 10)
    after = system.scrape(system.second)

    def grown(route: str, status: str) -> float:
        name = "streamer_http_requests_total"
        was, now = ((*told.values(name, route=route, status=status), 0.0) for told in (before, after))
        return sum(now) - sum(was)

    assert grown(f"{MARKET}/ticker/{{product_id}}", "200") == 2
    assert (grown("unmatched", "404"), grown("unmatched", "421"), grown("/livez", "405")) == (1, 1, 1)
    assert grown("/api/v1/stream", "200") == 1
    assert not [s for s in after.samples if s.name.startswith("streamer_http") and "USD" in str(s.labels)]


def _clients(system: System) -> float:
    return system.scrape(system.second).value("streamer_http_stream_clients", transport="sse")


async def test_each_flush_is_one_value(redis: RedisServer) -> None:
    """Neither records nor empty rounds count; what waits and changes is conflated; a renewal has no new stamp."""
    store = Store(redis.url)
    try:
        writer = Writer(store)
        await writer.lease.hold(time.monotonic())
        for number in range(7):
            await writer.write((BTC, ETH)[number % 2], str(number))
            assert await writer.sink.flush() == 0
        writer.sink.tickers.rewrite(None, time.time())
        assert await writer.sink.flush() == 2
        told = writer.sink.status()
    finally:
        await store.close()
    flushes = {name: sum(one["counts"]) for name, one in told["flushes"]["ticker"].items()}
    assert flushes == {"records": 8, "took_s": 8, "waited_s": 8, "behind_s": 7}
    assert told["flushes"]["ticker"]["records"]["sum"] == 9
    assert (told["writes"], told["conflated"], told["failures"]) == (9, 0, 0)


async def test_totals_outlast_their_windows(redis: RedisServer) -> None:
    """What all processes have ever counted only grows, by name, and nothing of it ends."""
    store = Store(redis.url)
    try:
        counters = Counters(store, Keys())
        await counters.add({"hit:ticker:cache": 2, "429": 1})
        for key in redis.ask("KEYS", "counters:[16]0:*"):
            redis.ask("DEL", key)
        await counters.add({"hit:ticker:cache": 3})
        assert await counters.grand_totals() == {"hit:ticker:cache": 5, "429": 1}
    finally:
        await store.close()
    assert redis.ask("TTL", "counters:total") == -1


# -- what is not there --------------------------------------------------------------------------------------------


async def test_a_frozen_redis_holds_nobody_up(api: Api, redis: RedisServer) -> None:
    """Within 2 s it is said that it is away, and how the process stands; afterwards all is there again."""
    assert Scrape(await api.get("/metrics")).value("streamer_redis_up") == 1
    with redis.frozen():
        began = time.monotonic()
        told = Scrape(await api.get("/metrics"))
        assert time.monotonic() - began < 2
    assert told.value("streamer_redis_up") == 0
    assert told.value("process_resident_memory_bytes") > 1e6
    assert not told.values("streamer_ingester_up") and not told.values("streamer_health", level="down")
    assert Scrape(await api.get("/metrics")).value("streamer_redis_up") == 1


async def test_without_an_ingester_it_is_said(api: Api, redis: RedisServer) -> None:
    """Up is 0, the verdict is down, and nothing that it would have told is made up; foreign data does no harm."""
    redis.ask("DEL", "stream:status")
    told = Scrape(await api.get("/metrics"))
    assert (told.value("streamer_ingester_up"), told.value("streamer_health", level="down")) == (0, 1)
    assert told.values("streamer_health_reason", code="no_report") == [1.0]
    assert not told.values("streamer_frames_received_total")
    redis.ask("SET", "stream:status", '{"feeds": 7}')
    redis.ask("HSET", "counters:total", "call:a", "x", "hit:ticker:cache", "3", "\n", "4")
    told = Scrape(await api.get("/metrics"))
    assert told.values("streamer_health_reason", code="unreadable") == [1.0]
    assert told.value("streamer_reads_total", kind="ticker", tier="cache", outcome="hit") == 3


async def test_no_token_is_needed_and_no_amount_is_told(guarded: Api, world: Full) -> None:
    """Whoever may ask for prices may ask for metrics; currencies and amounts are nobody's business."""
    world.report(portfolio={"currencies": 2, "derived": 0, "suspect": 0, "why": None, "unauthorized": False})
    told = Scrape(await guarded.get("/metrics"))
    assert told.value("streamer_balances") == 2
    assert not [s for s in told.samples if "BTC" in str(s.labels) or s.value == 2.5]


async def test_it_is_documented(api: Api) -> None:
    """In the OpenAPI document, as the text that it is."""
    document = (await api.get("/openapi.json")).json()
    answer = document["paths"]["/metrics"]["get"]["responses"]["200"]
    assert list(answer["content"]) == ["text/plain"]


# -- board and alerts ---------------------------------------------------------------------------------------------

_METRIC = re.compile(r"\b((?:streamer|process|python)_[a-z0-9_]+)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*\"([^\"]*)\"")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
_SETS = {"state", "level"}
"""Labels of which every value is told, always; others come with what has happened."""


def unknown(expression: str, labels: dict[str, set[str]], values: dict[tuple[str, str], set[str]]) -> list[str]:
    """Return what an expression asks for that is not exported."""
    wrong, used = [], set(_ADDED_BY_PROMETHEUS)
    found = _METRIC.findall(expression)
    if not found:
        wrong.append(f"no metric in {expression}")
    for name, matchers in found:
        if name not in labels:
            wrong.append(f"{name} in {expression}")
            continue
        used |= labels[name]
        for label, operator, value in _MATCHER.findall(matchers):
            if label not in labels[name] | _ADDED_BY_PROMETHEUS:
                wrong.append(f"label {label} of {name} in {expression}")
            elif label in _SETS and operator == "=" and value not in values[name, label]:
                wrong.append(f"{label}={value} of {name} in {expression}")
    for group in _GROUPING.findall(expression):
        wrong += [f"{label} in {expression}" for label in re.findall(r"\w+", group) if label not in used]
    return wrong


def expressions() -> dict[str, str]:
    """Return every expression of the board and the alerts, by where it is."""
    panels = json.loads(BOARD.read_text())["panels"]
    told = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels
        for target in panel.get("targets", ())
    }
    return told | {f"alert {rule['alert']}": rule["expr"] for rule in rules()}


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    (group,) = import_module("yaml").safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def test_board_and_alerts_use_only_what_is_told(system: System) -> None:
    """Every metric and every label in them is in the `/metrics` of a running system."""
    spend(system)
    wait_until(lambda: system.scrape().values("streamer_health_reason"), 30, why="an unknown product is no reason")
    told = system.scrape()
    labels: dict[str, set[str]] = {}
    values: dict[tuple[str, str], set[str]] = {}
    for sample in told.samples:
        labels.setdefault(sample.name, set()).update(sample.labels)
        for label, value in sample.labels.items():
            values.setdefault((sample.name, label), set()).add(value)
    asked = expressions()
    assert len(asked) > 60
    assert [wrong for expression in asked.values() for wrong in unknown(expression, labels, values)] == []


@pytest.mark.parametrize(
    "expression",
    [
        "rate(streamer_frames_total[5m])",
        'streamer_feed_state{status="live"}',
        'streamer_feed_state{state="alive"}',
        "sum by (product) (streamer_feed_state)",
        "up == 0",
    ],
)
def test_the_check_finds_what_is_wrong(expression: str) -> None:
    """Names, labels, values and groupings that do not exist."""
    labels = {"streamer_feed_state": {"feed", "channel", "state"}}
    values = {("streamer_feed_state", "state"): {"live"}}
    assert unknown('max by (feed) (streamer_feed_state{state="live", job="x"})', labels, values) == []
    assert unknown(expression, labels, values)


def test_the_board_can_be_loaded_anywhere() -> None:
    """Ids are unique, panels do not overlap, are of Grafana itself, and take the data source that is chosen."""
    board = json.loads(BOARD.read_text())
    assert (board["uid"], board["schemaVersion"] >= 39) == ("streamer", True)
    assert [one["name"] for one in board["templating"]["list"]] == ["datasource", "job"]
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 30
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in ("row", "stat", "timeseries", "state-timeline")
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["title"] and panel["description"]
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in sources)


def test_every_alert_says_what_to_do() -> None:
    """With a severity, for how long it must last, and words for whoever is woken."""
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 13
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical"), rule
        assert re.fullmatch(r"\d+[smh]", rule["for"]), rule
        assert rule["annotations"].keys() == {"summary", "description"}, rule
        assert len(rule["annotations"]["description"]) > 80, rule
        assert rule["expr"].count("(") == rule["expr"].count(")"), rule
