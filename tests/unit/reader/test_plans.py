"""Plans without Redis: which steps they take, and what they make of the replies."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.exceptions import ResponseError

from streamer.errors import (
    ConfigError,
    RestUnavailable,
    StoreUnavailable,
    StreamerError,
    Unavailable,
    UnknownProduct,
)
from streamer.gateway.gateway import Answer
from streamer.gateway.requests import AccountsRequest, BreakdownRequest, CandlesRequest, Requests, TickerRequest
from streamer.model import Granularity, ProductId, Source, Stamp, Tick, TickerFields, Tier
from streamer.providers.base import Call
from streamer.reader.freshness import Bounds
from streamer.reader.plans import Plans
from streamer.reader.steps import Ask, Fetch, Plan
from streamer.reader.wire import Lookup
from streamer.store.copies import StoredCopy, parse_copy
from streamer.store.keys import Keys
from streamer.store.records import ticker_record

BTC, ETH = ProductId("BTC-USD"), ProductId("ETH-USD")
NOW = 1_795_187_100_000
FEED = "default.market-0"
UUID = "5c1e8f2a-7b34-5d0e-9a61-2f0c3d4e5b6a"
GONE = StoreUnavailable("redis://h", "gone")
WRONG_TYPE = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
CALL = Call(caller="bot-7")
Hash = dict[bytes, bytes]


def raw(fields: dict[str, str]) -> Hash:
    """A hash as Redis replies it."""
    return {name.encode(): value.encode() for name, value in fields.items()}


def clock(now_ms: int = NOW) -> list[bytes]:
    """The reply of TIME."""
    return [str(now_ms // 1000).encode(), str(now_ms % 1000 * 1000).encode()]


def feeds(*, state: str = "live", ago_ms: int = 200, connection: int = 3) -> Hash:
    """The feed that the tickers here come from."""
    entry = {"state": state, "connection": connection, "epoch": 7, "alive_ms": NOW - ago_ms}
    return raw({FEED: json.dumps(entry)})


def ticker(product_id: ProductId = BTC, price: str = "100", *, ago_ms: int = 300, **changed: str) -> Hash:
    """A ticker hash."""
    at_ms = NOW - ago_ms
    time = f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    tick = Tick(TickerFields(product_id, price), Stamp(FEED, 3, Source.COINBASE), 42, time, at_ms / 1000)
    record = ticker_record(product_id, tick, suspect=False, epoch=7) | {"written_ms": str(at_ms)}
    return raw(record | changed)


def copy(value: Any, *, ago_ms: int = 10_000) -> bytes:
    """A copy of a REST answer."""
    return json.dumps({"source": "coinbase", "fetched_ms": NOW - ago_ms, "value": value}).encode()


def product(price: str = "99", product_id: str = BTC) -> dict[str, str]:
    """A product as REST tells it."""
    return {"product_id": product_id, "price": price, "status": "online"}


def said(value: dict[str, str], *, age_s: float = 0.0) -> Answer[Any]:
    """What a flight has brought of a ticker."""
    kept = parse_copy(copy(value, ago_ms=0))
    assert isinstance(kept, StoredCopy)
    request = Requests(Keys()).ticker(ProductId(value["product_id"]))
    return Answer(request.parse(bytes(kept.value), datetime.fromtimestamp(NOW / 1000, UTC)), kept, age_s)


class Run:
    """Takes a plan's steps with replies given in order; an error among them is raised at its step.

    Attributes:
        steps: What the plan has asked for.
        result: What it has returned.
    """

    def __init__(self, plan: Plan[Any], *replies: Any) -> None:
        self.steps: list[Any] = []
        self.result: Any = None
        waiting = list(replies)
        try:
            step = plan.send(None)
            while True:
                self.steps.append(step)
                reply = waiting.pop(0)
                step = plan.throw(reply) if isinstance(reply, StoreUnavailable) else plan.send(reply)
        except StopIteration as done:
            self.result = done.value
        assert not waiting, "the plan has not asked for all of it"


@pytest.fixture
def plans() -> Plans:
    """Those of a new reader."""
    return Plans(Keys(), stale_after_s=5.0)


def wanted(*, rest: bool = False, **bounds: float) -> Ask:
    """How it is asked."""
    return Ask(5.0, Bounds(**bounds), caller=CALL.caller, rest=rest)


# -- tickers: how many steps ------------------------------------------------------------------------------------


def test_realtime_takes_exactly_one_lookup(plans: Plans) -> None:
    """Clock, feeds and the hashes; shadows and copies are not asked for."""
    run = Run(plans.tickers([BTC, ETH], wanted(rest=True)), [clock(), feeds(), ticker(), ticker(ETH)])
    (step,) = run.steps
    assert isinstance(step, Lookup) and step.size == 4
    assert step.packed.count(b"ticker_realtime:") == 2 and b":stale" not in step.packed
    assert [found.tier for found in run.result.values()] == [Tier.REALTIME] * 2


def test_the_order_is_that_of_the_question(plans: Plans) -> None:
    """And a product that is asked for twice is one."""
    plan = plans.tickers([ETH, BTC, ETH], wanted())
    run = Run(plan, [clock(), feeds(), None, ticker()], [clock(), feeds(), None, copy(product("7", ETH)), None])
    assert [*run.result] == [ETH, BTC]


def test_only_what_is_not_realtime_costs_a_second_lookup(plans: Plans) -> None:
    """Its shadow and its two copies."""
    second = [clock(), feeds(), ticker(ETH, ago_ms=9000), None, None]
    run = Run(plans.tickers([BTC, ETH], wanted()), [clock(), feeds(), ticker(), {}], second)
    _, step = run.steps
    assert isinstance(step, Lookup) and step.size == 5
    assert b"BTC" not in step.packed
    assert (run.result[BTC].tier, run.result[ETH].tier) == (Tier.REALTIME, Tier.STALE)


def test_only_what_no_copy_serves_costs_rest(plans: Plans) -> None:
    """All of it at once; the step carries the request, the call and since when an answer will do."""
    plan = plans.tickers([BTC, ETH], wanted(rest=True))
    second = [clock(), feeds(), None, copy(product()), None, None, None, None]
    run = Run(plan, [clock(), feeds(), {}, {}], second, [said(product("7", ETH))])
    *_, fetch = run.steps
    assert isinstance(fetch, Fetch) and (fetch.call, fetch.since) == (CALL, 5.0)
    (request,) = fetch.requests
    assert isinstance(request, TickerRequest) and (request.product_id, request.copy.key) == (ETH, "ticker:ETH-USD")
    assert {p: (r.tier, str(r.value.price)) for p, r in run.result.items()} == {
        BTC: (Tier.CACHE, "99"),
        ETH: (Tier.REST, "7"),
    }


def test_what_is_served_is_counted(plans: Plans) -> None:
    """By kind and tier."""
    Run(plans.ticker(BTC, wanted()), [clock(), feeds(), ticker()])
    run = plans.tickers([BTC, ETH], wanted())
    Run(run, [clock(), feeds(), {}, {}], [clock(), feeds(), None, copy(product()), None, None, None, None])
    assert dict(plans.served) == {("ticker", "realtime"): 1, ("ticker", "cache"): 1, ("ticker", "none"): 1}


@pytest.mark.parametrize(
    ("hashed", "life", "words"),
    [
        pytest.param({}, feeds(), "it is not streamed", id="nothing"),
        pytest.param(ticker(), {}, "no longer reports", id="no feed"),
        pytest.param(ticker(), feeds(state="backoff"), "is backoff", id="feed down"),
        pytest.param(ticker(), feeds(connection=4), "has reconnected", id="reconnected"),
        pytest.param(ticker(), feeds(ago_ms=5001), "no life", id="silent"),
        pytest.param(ticker(suspect="1"), feeds(), "suspect", id="suspect"),
        pytest.param(WRONG_TYPE, feeds(), "it is not streamed", id="wrong type"),
    ],
)
def test_the_reason_goes_along_to_whatever_is_served(plans: Plans, hashed: Any, life: Hash, words: str) -> None:
    """A copy or an answer of REST says why it is not the stream's."""
    second = [clock(), life, {}, copy(product(), ago_ms=0), None]
    served = Run(plans.ticker(BTC, wanted()), [clock(), life, hashed], second).result
    assert served.tier in (Tier.CACHE, Tier.STALE) and words in served.reason


def test_a_recent_value_of_the_stream_is_served_before_rest(plans: Plans) -> None:
    """A gap is over sooner than a call."""
    plan = plans.ticker(BTC, wanted(rest=True))
    run = Run(plan, [clock(), feeds(), ticker(suspect="1")], [clock(), feeds(), {}, None, None])
    assert run.result.tier is Tier.STALE and len(run.steps) == 2


def test_what_is_stale_says_why_rest_was_no_help(plans: Plans) -> None:
    """Both are why it is not better: what the stream lacks, and what REST has answered."""
    plan = plans.ticker(BTC, wanted(rest=True))
    silent = feeds(ago_ms=9000)
    old = ticker(ago_ms=9000)
    run = Run(plan, [clock(), silent, old], [clock(), silent, old, None, None], [RestUnavailable("p", "HTTP 503")])
    assert run.result.tier is Tier.STALE
    for words in ("no life for 9.0 s", "HTTP 503"):
        assert words in run.result.reason


def test_a_value_that_is_too_old_is_not_served_from_any_tier(plans: Plans) -> None:
    """The error says of each tier how old what it had was."""
    plan = plans.ticker(BTC, wanted(rest=True, max_age_s=1))
    old = [clock(), feeds(), ticker(ago_ms=60_000), copy(product()), None]
    with pytest.raises(Unavailable) as caught:
        Run(plan, [clock(), {}, ticker(ago_ms=60_000)], old, [said(product(), age_s=2.0)])
    assert caught.value.tiers.keys() == {"realtime", "cache", "rest"}
    assert "2.0 s old" in caught.value.tiers["rest"] and "10.0 s old" in caught.value.tiers["cache"]


# -- tickers: what goes wrong -----------------------------------------------------------------------------------


def test_without_redis_rest_is_asked(plans: Plans) -> None:
    """The outage is the reason that goes along."""
    run = Run(plans.ticker(BTC, wanted(rest=True)), GONE, GONE, [said(product())])
    assert (run.result.tier, run.result.reason) == (Tier.REST, str(GONE))


@pytest.mark.parametrize(
    "replies", [(GONE, GONE), ([clock(), feeds(), {}], GONE), ([clock(), feeds(), WRONG_TYPE], GONE)]
)
@pytest.mark.parametrize("rest", [True, False])
def test_an_outage_is_no_miss(plans: Plans, replies: tuple[Any, ...], rest: bool) -> None:
    """Whenever Redis goes, the error has it as its cause; with REST it says what that said too."""
    last = ([RestUnavailable("products", "down")],) if rest else ()
    with pytest.raises(Unavailable, match="down" if rest else "not asked for") as caught:
        Run(plans.ticker(BTC, wanted(rest=rest)), *replies, *last)
    assert caught.value.__cause__ is GONE


def test_what_the_stream_had_survives_an_outage_before_the_second_lookup(plans: Plans) -> None:
    """At last it is served, as stale."""
    run = Run(plans.ticker(BTC, wanted()), [clock(), {}, ticker(ago_ms=60_000)], GONE)
    assert run.result.tier is Tier.STALE


def test_a_miss_has_no_outage_for_a_cause(plans: Plans) -> None:
    """Redis has answered, and has nothing."""
    with pytest.raises(Unavailable) as caught:
        Run(plans.ticker(BTC, wanted()), [clock(), feeds(), {}], [clock(), feeds(), {}, None, None])
    assert caught.value.__cause__ is None


def test_a_product_that_does_not_exist_is_unknown_whatever_is_left_of_it(plans: Plans) -> None:
    """A stale price of something that is no more helps nobody."""
    unknown = UnknownProduct(BTC, ["BTC-EUR"])
    plan = plans.ticker(BTC, wanted(rest=True))
    with pytest.raises(UnknownProduct, match="did you mean BTC-EUR"):
        Run(plan, [clock(), {}, ticker(ago_ms=60_000)], [clock(), {}, {}, None, None], [unknown])


def test_rest_that_fails_leaves_what_is_stale(plans: Plans) -> None:
    """At last."""
    down = RestUnavailable("products", "down")
    plan = plans.ticker(BTC, wanted(rest=True))
    run = Run(plan, [clock(), {}, ticker(ago_ms=60_000)], [clock(), {}, {}, None, None], [down])
    assert (run.result.tier, run.result.age_s) == (Tier.STALE, 60.0)


DAMAGED: list[Any] = [
    pytest.param(raw({"feed": "x"}), id="half a hash"),
    pytest.param({b"\xff": b"\xfe"}, id="bytes that are no text"),
    pytest.param(ticker(price="NaN"), id="no number"),
    pytest.param(ticker(price="1e9"), id="a number in another form"),
    pytest.param(ticker(time="yesterday"), id="no time"),
    pytest.param(ticker(epoch="9" * 30), id="no epoch"),
    pytest.param(ticker(source="nobody"), id="no source"),
    pytest.param(ticker(ETH), id="of another product"),
    pytest.param(ticker(alias_of="../x"), id="an alias that is no id"),
    pytest.param(WRONG_TYPE, id="wrong type"),
    pytest.param([b"feed", b"x", b"odd"], id="an odd list"),
]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_hash_is_absent_and_counted(plans: Plans, damaged: Any) -> None:
    """As hash and as shadow."""
    with pytest.raises(Unavailable):
        Run(plans.ticker(BTC, wanted()), [clock(), feeds(), damaged], [clock(), feeds(), damaged, None, None])
    assert plans.parser.damaged == 2


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"source":"coinbase"}',
        b'{"source":"nobody","fetched_ms":1,"value":{}}',
        b'{"source":"coinbase","fetched_ms":-1,"value":{}}',
        b'{"source":"coinbase","fetched_ms":"1","value":{}}',
        copy(None),
        copy([]),
        copy({}),
        copy("x"),
        copy({"product_id": BTC}),
        copy({"product_id": BTC, "price": "NaN"}),
        copy({"product_id": BTC, "price": 5}),
        copy({"product_id": [], "price": "5"}),
        copy(product(product_id=ETH)),
        copy(product(), ago_ms=-60_000),
        copy(product(), ago_ms=NOW - 900_000_000_000_000),
        WRONG_TYPE,
        5,
    ],
    ids=lambda damaged: str(damaged)[:50],
)
def test_a_damaged_copy_is_absent_and_counted(plans: Plans, damaged: Any) -> None:
    """As copy and as stale copy; also one that comes from the future."""
    with pytest.raises(Unavailable, match="a damaged copy"):
        Run(plans.ticker(BTC, wanted()), [clock(), feeds(), {}], [clock(), feeds(), {}, damaged, damaged])
    assert plans.parser.damaged == 2


@pytest.mark.parametrize("damaged", [WRONG_TYPE, {b"\xff": b"\xff"}, raw({FEED: "{"}), None, []])
def test_damaged_feeds_prove_no_life(plans: Plans, damaged: Any) -> None:
    """Then nothing is realtime."""
    run = Run(plans.ticker(BTC, wanted()), [clock(), damaged, ticker()], [clock(), damaged, {}, None, None])
    assert (run.result.tier, run.result.reason) == (Tier.STALE, f"feed {FEED} no longer reports")


def test_a_copy_that_has_outlived_its_time_is_stale(plans: Plans) -> None:
    """Somebody has meddled with its expiry."""
    late = copy(product(), ago_ms=31_000)
    run = Run(plans.ticker(BTC, wanted()), [clock(), feeds(), {}], [clock(), feeds(), {}, late, None])
    assert run.result.tier is Tier.STALE


# -- explain ----------------------------------------------------------------------------------------------------


def test_explain_never_asks_rest(plans: Plans) -> None:
    """Two lookups, whatever they bring."""
    run = Run(plans.explain(BTC, wanted(rest=True)), [clock(), feeds(), {}], [clock(), feeds(), {}, None, None])
    assert run.result.served is None
    assert {says.why_not for says in run.result.tiers} == {"nothing there that can be read"}


def test_explain_without_redis_cannot_tell(plans: Plans) -> None:
    """It is about what Redis has."""
    with pytest.raises(StoreUnavailable):
        Run(plans.explain(BTC, wanted()), GONE)


# -- other kinds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda plans, ask: plans.accounts(ask), AccountsRequest),
        (lambda plans, ask: plans.balances(ask), AccountsRequest),
        (lambda plans, ask: plans.breakdown(UUID, ask), BreakdownRequest),
        (lambda plans, ask: plans.candles(BTC, Granularity.ONE_HOUR, 24, ask), CandlesRequest),
    ],
)
@pytest.mark.parametrize("where", [0, 1])
def test_each_kind_falls_to_rest_and_asks_for_itself(
    plans: Plans, make: Callable[[Plans, Ask], Plan[Any]], kind: type, where: int
) -> None:
    """With Redis away from the first step on, or from the second."""
    nothing: list[Any] = [b"OK", b"QUEUED", b"QUEUED", [{}, {}]] if kind is CandlesRequest else [set()]
    empty: list[Any] = [clock(), feeds(), *nothing]
    replies = [GONE, GONE] if where == 0 else [empty, GONE]
    try:
        run = Run(make(plans, wanted(rest=True)), *replies, [RestUnavailable("x", "down")])
        errors = list(run.result.missing.values())
    except Unavailable as exc:
        errors = [exc]
    (error,) = errors
    assert error.__cause__ is GONE and "down" in str(error)


def test_candles_are_asked_for_as_they_are_wanted(plans: Plans) -> None:
    """Length and number are part of the request."""
    plan = plans.candles(BTC, Granularity.ONE_HOUR, 24, wanted(rest=True))
    plan.send(None)
    plan.throw(GONE)
    fetch = plan.throw(GONE)
    assert isinstance(fetch, Fetch)
    (request,) = fetch.requests
    assert isinstance(request, CandlesRequest)
    assert (request.granularity, request.limit, request.copy.key) == (
        Granularity.ONE_HOUR,
        24,
        "historical:BTC-USD:3600:24",
    )


@pytest.mark.parametrize("limit", [0, -1, 351, True, "5"])
def test_a_bad_limit_is_refused_before_anything_is_asked(plans: Plans, limit: Any) -> None:
    """Also within a snapshot, where it once became a missing answer."""
    for plan in (
        plans.candles(BTC, Granularity.ONE_HOUR, limit, wanted()),
        plans.snapshot([BTC], Granularity.ONE_HOUR, limit, accounts=True, ask=wanted()),
    ):
        with pytest.raises(ConfigError, match="limit"):
            plan.send(None)


def test_many_products_are_put_together_in_no_time(plans: Plans) -> None:
    """Answers to a thousand products were once merged a thousand times."""
    products = [ProductId(f"P{i}-USD") for i in range(1000)]
    hashes = [ticker(p) for p in products[:-1]]
    run = Run(
        plans.tickers(products, wanted()),
        [clock(), feeds(), *hashes, {}],
        [clock(), feeds(), ticker(products[-1], ago_ms=9000), None, None],
    )
    assert [*run.result] == products


def test_a_snapshot_asks_all_at_once(plans: Plans) -> None:
    """Each lookup of its parts shares a round trip, and so does what is asked of REST."""
    plan = plans.snapshot([BTC, ETH], Granularity.ONE_HOUR, 24, accounts=True, ask=wanted(rest=True))
    nothing: list[Any] = [b"OK", b"QUEUED", b"QUEUED", [{}, {}]]
    first = [clock(), feeds(), {}, {}]
    first += [clock(), feeds(), *nothing, clock(), feeds(), *nothing, clock(), feeds(), set()]
    second = [clock(), feeds(), *[None] * 6, *[clock(), feeds(), None, None] * 3]
    down = RestUnavailable("x", "down")
    run = Run(plan, first, second, [down] * 5)
    assert [type(step) for step in run.steps] == [Lookup, Lookup, Fetch]
    assert [type(r) for r in run.steps[2].requests] == [TickerRequest] * 2 + [CandlesRequest] * 2 + [
        AccountsRequest
    ]
    assert run.result.tickers.missing.keys() == run.result.candles.missing.keys() == {BTC, ETH}
    assert isinstance(run.result.accounts_error, StreamerError)
