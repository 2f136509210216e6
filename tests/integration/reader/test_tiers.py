"""Both readers on a real Redis: what is served, and that outages are no misses and junk is no answer."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import ConfigError, StoreUnavailable, StreamerError, Unavailable
from streamer.model import CANDLE_S, Granularity, Tier
from streamer.reader.reader import AsyncReader
from streamer.reader.sync import Reader
from streamer.store.keys import Copy
from tests.integration.reader.rig import BTC, ETH, KEYS, UUID, World, Writer, ask, candle_entries, settings
from tests.support import PATIENCE, RedisServer

Either = AsyncReader | Reader
PRODUCT = {"product_id": "BTC-USD", "price": "99", "status": "online"}
ACCOUNTS = {
    "accounts": [
        {"uuid": "u1", "currency": "BTC", "available_balance": {"value": "7"}, "hold": {"value": "1"}},
        {"uuid": "u2", "currency": "ETH", "available_balance": {"value": "5"}, "hold": {"value": "0"}},
    ]
}


async def btc(reader: Either, **how: Any) -> Any:
    """The reading of BTC-USD."""
    return await ask(reader, "ticker", BTC, **how)


# -- tickers ----------------------------------------------------------------------------------------------------


async def test_a_fresh_value_of_a_live_feed_is_realtime(reader: Either, world: World) -> None:
    """And a product that nobody has written is a miss that says so, and raises it where it is asked for."""
    world.ticker()
    answers = await ask(reader, "tickers", [BTC, ETH])
    assert (answers[BTC].tier, str(answers[BTC].value.price), answers[BTC].source) == (
        Tier.REALTIME,
        "100",
        "coinbase",
    )
    assert ETH not in answers and "it is not streamed" in str(answers.missing[ETH])
    assert answers.missing[ETH].__cause__ is None
    with pytest.raises(Unavailable, match="not streamed"):
        answers[ETH]
    with pytest.raises(Unavailable, match="not streamed"):
        await ask(reader, "ticker", ETH)


async def test_only_the_shadow_left_is_stale(reader: Either, world: World) -> None:
    """The feed lives on with other products; that says nothing of this one."""
    world.ticker(to="shadow")
    found = await btc(reader)
    assert found.tier is Tier.STALE
    assert "no longer streamed" in found.reason


async def test_a_retired_product_leaves_only_its_shadow(reader: Either, writer: Writer, redis: RedisServer) -> None:
    """Nobody renews it, so nothing may call it realtime, not even for the rest of its life in Redis."""
    writer.sink.forget([])
    await writer.sink.retire()
    assert not redis.ticker("BTC-USD")
    assert redis.shadow("BTC-USD")["price"] == "100"
    assert (await btc(reader)).tier is Tier.STALE


async def test_a_newer_owners_hash_is_not_retired(writer: Writer, redis: RedisServer) -> None:
    """A paused owner that wakes may not remove what the new one writes."""
    redis.ask("HSET", "ticker_realtime:BTC-USD", "epoch", str(writer.lease.epoch + 1))
    writer.sink.forget([])
    await writer.sink.retire()
    assert redis.ticker("BTC-USD")


async def test_a_copy_serves_what_the_stream_does_not_have(reader: Either, world: World) -> None:
    """With the age of the answer and the reason that the stream had."""
    world.copy(KEYS.ticker_copy(BTC), PRODUCT, age_ms=4000)
    found = await btc(reader)
    assert (found.tier, str(found.value.price), found.reason) == (Tier.CACHE, "99", "it is not streamed")
    assert 4 <= found.age_s < 8 * PATIENCE


async def test_a_copy_older_than_what_the_stream_vouched_for_is_not_served(reader: Either, world: World) -> None:
    """The shadow is newer: going back in time would be worse than being late."""
    world.ticker(to="shadow", age_ms=10_000)
    world.copy(KEYS.ticker_copy(BTC), PRODUCT, age_ms=20_000)
    found = await btc(reader)
    assert (found.tier, str(found.value.price)) == (Tier.STALE, "100")


async def test_what_is_too_old_is_never_served(reader: Either, world: World) -> None:
    """Not even where nothing else is there; the error tells the ages that were found."""
    world.ticker(to="shadow", age_ms=10_000)
    world.copy(KEYS.ticker_copy(BTC), PRODUCT, age_ms=20_000)
    with pytest.raises(Unavailable, match=r"20\.\d s old, at most 5 s were asked for"):
        await btc(reader, max_age_s=5)
    world.ticker(age_ms=60_000)
    world.feed()
    assert (await btc(reader, max_age_s=5)).tier is Tier.REALTIME  # a quiet market is current
    with pytest.raises(Unavailable):
        await btc(reader, max_value_age_s=5)


@pytest.mark.parametrize("ahead_ms", [3_600_000, 900_000_000_000_000 - 1_800_000_000_000])
async def test_a_copy_from_the_future_is_no_copy(reader: Either, world: World, ahead_ms: int) -> None:
    """It would be the youngest of all for ever; past the year 9999 it was a ValueError."""
    world.copy(KEYS.ticker_copy(BTC), PRODUCT, age_ms=-ahead_ms)
    with pytest.raises(Unavailable, match="a damaged copy"):
        await btc(reader)
    assert reader.damaged == 2


@pytest.mark.parametrize(
    ("method", "arguments", "how"),
    [
        ("ticker", ["btc"], {}),
        ("tickers", ["BTC-USD"], {}),
        ("tickers", [["BTC-USD", "x y"]], {}),
        ("explain", [""], {}),
        ("balance", ["b c"], {}),
        ("portfolio_breakdown", ["5c1e"], {}),
        ("portfolio_breakdown", ["-" * 36], {}),
        ("candles", [BTC, "ONE_WEEK"], {}),
        ("candles", [BTC, "ONE_HOUR", 0], {}),
        ("snapshot", [[BTC], "ONE_HOUR", 351], {}),
        ("ticker", [BTC], {"max_age_s": -1}),
        ("ticker", [BTC], {"max_age_s": float("nan")}),
        ("ticker", [BTC], {"max_value_age_s": "5"}),
        ("ticker", [BTC], {"timeout_s": None}),
        ("ticker", [BTC], {"priority": 9}),
    ],
)
async def test_bad_input_is_a_value_error(reader: Either, method: str, arguments: list[Any], how: Any) -> None:
    """Before anything is asked, also within a snapshot."""
    with pytest.raises(ConfigError) as caught:
        await ask(reader, method, *arguments, **how)
    assert isinstance(caught.value, ValueError)


async def test_explain_says_what_each_tier_has(reader: Either, world: World) -> None:
    """In the order of trust, with the key it is in, and why it is or is not served."""
    world.ticker(to="shadow", age_ms=10_000)
    world.copy(KEYS.ticker_copy(BTC), PRODUCT, age_ms=2000, to="fresh")
    told = await ask(reader, "explain", BTC)
    assert [says.where for says in told.tiers] == [
        "ticker_realtime:BTC-USD",
        "ticker:BTC-USD",
        "ticker_realtime:BTC-USD:stale",
        "ticker:BTC-USD:stale",
    ]
    assert [says.reading and says.reading.tier for says in told.tiers] == [None, Tier.CACHE, Tier.STALE, None]
    assert [says.why_not is None for says in told.tiers] == [False, True, False, False]
    assert "no longer streamed" in str(told.tiers[2].why_not)
    assert told.served is told.tiers[1].reading


@pytest.mark.parametrize("rest", [True, False])
async def test_explain_serves_what_the_reader_would(redis: RedisServer, world: World, rest: bool) -> None:
    """What is stale is served by a reader that may not ask REST; one that may would ask."""
    world.ticker(to="shadow", age_ms=10_000)
    async with AsyncReader(redis.url, rest=rest, settings=settings()) as reader:
        told = await reader.explain(BTC)
    assert (told.served is None) is rest
    assert (told.tiers[2].why_not is None) is not rest


# -- balances ---------------------------------------------------------------------------------------------------


async def test_balances_of_a_live_feed_are_realtime(reader: Either, world: World) -> None:
    """Each of them, and all as one; a currency that is not held is missing."""
    for currency in ("BTC", "ETH"):
        world.balance(currency, "2")
    found = await ask(reader, "balances")
    assert {c: (r.tier, str(r.value.total)) for c, r in found.items()} == {
        "BTC": (Tier.REALTIME, "2"),
        "ETH": (Tier.REALTIME, "2"),
    }
    assert (await ask(reader, "balance", "ETH")).value.currency == "ETH"
    accounts = await ask(reader, "accounts")
    assert accounts.tier is Tier.REALTIME
    assert [(a.currency, a.uuid) for a in accounts.value] == [("BTC", "uuid-BTC"), ("ETH", "uuid-ETH")]
    with pytest.raises(Unavailable, match="no wallet"):
        await ask(reader, "balance", "SOL")


async def test_a_doubtful_balance_comes_from_a_copy(reader: Either, world: World) -> None:
    """The others stay those of the stream."""
    world.balance("BTC", "2")
    world.balance("ETH", "2", suspect=True, age_ms=60_000)
    world.copy(KEYS.accounts_copy, ACCOUNTS, age_ms=1000)
    found = await ask(reader, "balances")
    assert {c: (r.tier, str(r.value.total)) for c, r in found.items()} == {
        "BTC": (Tier.REALTIME, "2"),
        "ETH": (Tier.CACHE, "5"),
    }
    assert "ETH: suspect" in found["ETH"].reason


async def test_of_two_stale_balances_the_younger_is_served(reader: Either, world: World) -> None:
    """And none that is older than was asked for: it once came along with accounts that were young enough."""
    world.balance("BTC", "2")
    world.balance("ETH", "2", suspect=True, age_ms=200_000)
    world.copy(KEYS.accounts_copy, ACCOUNTS, age_ms=150_000, to="stale")
    for how in ({}, {"max_age_s": 170}):
        found = await ask(reader, "balances", **how)
        assert (found["ETH"].tier, str(found["ETH"].value.total)) == (Tier.STALE, "5")
        assert found["ETH"].age_s < 170


async def test_no_balances_is_a_miss_of_all(reader: Either, world: World) -> None:
    """It says that none are streamed."""
    found = await ask(reader, "balances")
    assert not found and "no balances are streamed" in str(found.missing[""])
    with pytest.raises(Unavailable, match="no balances are streamed"):
        await ask(reader, "balance", "BTC")


async def test_a_breakdown_is_computed_from_the_stream(reader: Either, world: World) -> None:
    """Realtime where all balances and prices are; where a price is missing it names it."""
    world.balance("BTC", "2")
    world.balance("USD", "50")
    with pytest.raises(Unavailable, match="no realtime price of BTC"):
        await ask(reader, "portfolio_breakdown", UUID)
    world.ticker()
    found = await ask(reader, "portfolio_breakdown", UUID)
    assert (found.tier, str(found.value.total_balance), found.value.currency) == (Tier.REALTIME, "250", "USD")


async def test_a_dollar_coin_is_a_dollar(reader: Either, world: World) -> None:
    """Coinbase redeems it: it needs no price."""
    world.balance("USDC", "3")
    assert str((await ask(reader, "portfolio_breakdown", UUID)).value.total_balance) == "3"


# -- candles and products ---------------------------------------------------------------------------------------


async def test_candles_of_the_stream(reader: Either, world: World) -> None:
    """Realtime where the stream reaches back; the last one is open."""
    world.candles(count=5)
    found = await ask(reader, "candles", BTC, "FIVE_MINUTE", 5)
    assert (found.tier, len(found.value)) == (Tier.REALTIME, 5)
    assert [candle.closed for candle in found.value][-1] is False
    with pytest.raises(Unavailable, match="does not reach back"):
        await ask(reader, "candles", BTC, "FIVE_MINUTE", 50)


async def test_a_copy_puts_the_past_before_the_stream(reader: Either, world: World) -> None:
    """The whole is as good as the stream, whatever the age of the copy."""
    first_s = world.candles(count=5)
    where = KEYS.candles_copy(BTC, Granularity.FIVE_MINUTE, 10)
    entries = candle_entries(first_s - 10 * CANDLE_S, 12, Granularity.FIVE_MINUTE)
    world.copy(where, entries, age_ms=2 * CANDLE_S * 1000, to="stale")
    found = await ask(reader, "candles", BTC, "FIVE_MINUTE", 10)
    assert (found.tier, len(found.value)) == (Tier.REALTIME, 10)
    assert [str(c.open) for c in found.value] == ["9"] * 5 + ["0", "1", "2", "3", "4"]


async def test_candles_that_are_not_streamed_come_from_a_copy(reader: Either, world: World) -> None:
    """A minute cannot be made of five."""
    world.candles()
    where = KEYS.candles_copy(BTC, Granularity.ONE_MINUTE, 3)
    world.copy(where, candle_entries(world.now_ms // 60_000 * 60 - 120, 3, Granularity.ONE_MINUTE))
    found = await ask(reader, "candles", BTC, "ONE_MINUTE", 3)
    assert (found.tier, len(found.value)) == (Tier.CACHE, 3)


async def test_products_come_from_their_copy(reader: Either, world: World) -> None:
    """The ingester keeps it; one product that makes no sense takes none of the others with it."""
    world.copy(KEYS.products_copy, {"products": [PRODUCT, {"product_id": "x y"}, {"price": "1"}]})
    found = await ask(reader, "products")
    assert [product.product_id for product in found.value] == [BTC]
    assert found.tier is Tier.CACHE


async def test_a_snapshot_has_all_of_it(reader: Either, world: World) -> None:
    """What is missing is named one by one, and takes nothing else along."""
    for product_id in (BTC, ETH):
        world.ticker(product_id)
    world.candles(BTC)
    found = await ask(reader, "snapshot", [BTC, ETH], "FIVE_MINUTE", 5)
    assert [found.tickers[p].tier for p in (BTC, ETH)] == [Tier.REALTIME] * 2
    assert found.candles[BTC].tier is Tier.REALTIME and "no candles are streamed" in str(found.candles.missing[ETH])
    assert found.accounts is None and "no balances are streamed" in str(found.accounts_error)
    world.balance("BTC", "2")
    found = await ask(reader, "snapshot", [BTC], "FIVE_MINUTE", 5)
    assert found.accounts.tier is Tier.REALTIME and found.accounts_error is None
    found = await ask(reader, "snapshot", [BTC], "FIVE_MINUTE", 5, accounts=False)
    assert found.accounts is None and found.accounts_error is None


# -- junk -------------------------------------------------------------------------------------------------------

COPIES = [
    KEYS.ticker_copy(BTC),
    KEYS.accounts_copy,
    KEYS.breakdown_copy(UUID),
    KEYS.candles_copy(BTC, Granularity.FIVE_MINUTE, 5),
    KEYS.products_copy,
]
HASHES = [
    KEYS.feeds,
    *(KEYS.ticker(BTC), KEYS.ticker_stale(BTC)),
    *(KEYS.balance("BTC"), KEYS.balance_stale("BTC")),
    *(KEYS.candles(BTC), KEYS.candles_meta(BTC)),
]
QUESTIONS: list[tuple[str, list[Any]]] = [
    ("ticker", [BTC]),
    ("explain", [BTC]),
    ("balance", ["BTC"]),
    ("accounts", []),
    ("portfolio_breakdown", [UUID]),
    ("candles", [BTC, "FIVE_MINUTE", 5]),
    ("products", []),
]


def fill(redis: RedisServer, *make: Any) -> None:
    """Put the same into every key that a reader reads."""
    names = [*HASHES, KEYS.currencies, *(key for copy in COPIES for key in (copy.key, copy.stale_key))]
    for name in names:
        redis.ask("DEL", name)
        redis.ask(make[0], name, *make[1:])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(("SET", "foreign"), id="string"),
        pytest.param(("SET", b"\xff\xfe{"), id="bytes"),
        pytest.param(("SET", '{"source":"coinbase","fetched_ms":1,"value":{"breakdown":[]}}'), id="odd copy"),
        pytest.param(("SET", '{"source":"coinbase","fetched_ms":1,"value":{"accounts":[{}],"candles":1}}'), id="x"),
        pytest.param(("SET", "[" * 100_000), id="nested"),
        pytest.param(("HSET", "feed", "x"), id="hash"),
        pytest.param(("HSET", b"\xff", b"\xfe"), id="hash of bytes"),
        pytest.param(("RPUSH", "x", "y"), id="list"),
        pytest.param(("SADD", "BTC", "\x00", "../x"), id="set"),
        pytest.param(("ZADD", "1", "x"), id="sorted set"),
        pytest.param(("XADD", "*", "x", "y"), id="stream"),
    ],
)
async def test_junk_in_every_key_is_no_answer_and_no_crash(
    reader: Either, redis: RedisServer, make: tuple[Any, ...]
) -> None:
    """Foreign data is absent data: it is counted, and nobody hears anything else than Unavailable."""
    fill(redis, *make)
    for method, arguments in QUESTIONS:
        if method == "explain":
            assert (await ask(reader, method, *arguments)).served is None
        else:
            with pytest.raises(Unavailable) as caught:
                await ask(reader, method, *arguments)
            assert caught.value.__cause__ is None
    found = await ask(reader, "snapshot", [BTC], "FIVE_MINUTE", 5)
    assert not found.tickers and not found.candles and isinstance(found.accounts_error, StreamerError)
    assert reader.damaged


async def test_a_key_of_another_type_is_passed_over(reader: Either, world: World, redis: RedisServer) -> None:
    """Foreign data is no outage; the shadow is served, as stale."""
    world.ticker()
    redis.ask("DEL", "ticker_realtime:BTC-USD")
    redis.ask("SET", "ticker_realtime:BTC-USD", "foreign")
    assert (await btc(reader)).tier is Tier.STALE
    assert reader.damaged == 1


async def test_a_hash_of_another_product_is_no_price_of_this_one(reader: Either, world: World) -> None:
    """Whoever has mixed them up, nobody is told the price of something else."""
    record = world.ticker(ETH, "1")
    world._hset(KEYS.ticker(BTC), record)
    with pytest.raises(Unavailable):
        await btc(reader)
    assert reader.damaged == 1


async def test_one_damaged_feed_takes_no_other_with_it(reader: Either, world: World, redis: RedisServer) -> None:
    """Bytes that are no text in the entry of one feed once made the values of all of them stale."""
    world.ticker()
    redis.ask("HSET", KEYS.feeds, b"\xff\xfe", b"\xff")
    assert (await btc(reader)).tier is Tier.REALTIME


# -- outages ----------------------------------------------------------------------------------------------------


async def test_error_replies_are_an_outage_not_a_miss(reader: Either, world: World, redis: RedisServer) -> None:
    """A replica without its primary answers every read with MASTERDOWN."""
    redis.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(Unavailable, match="Link with MASTER is down") as caught:
            await btc(reader)
        assert isinstance(caught.value.__cause__, StoreUnavailable)
    finally:
        redis.ask("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize("made", [AsyncReader, Reader], ids=["async", "sync"])
async def test_a_unix_socket_that_is_not_there_is_an_outage(tmp_path: Path, made: Any) -> None:
    """Such a connection takes no keepalive; asking for one was a TypeError."""
    reader = made(f"unix://{tmp_path}/none.sock", rest=False, settings=settings())
    with pytest.raises(Unavailable) as caught:
        await btc(reader)
    assert isinstance(caught.value.__cause__, StoreUnavailable)
    closed = reader.close()
    if closed is not None:
        await closed


async def test_a_frozen_redis_is_waited_for_in_vain_but_not_long(
    reader: Either, world: World, redis: RedisServer
) -> None:
    """Two looks of a second each at most, and the reason is its name; then all is as before."""
    world.ticker()
    assert (await btc(reader)).tier is Tier.REALTIME
    questions: list[tuple[str, list[Any]]] = [
        ("ticker", [BTC]),
        ("portfolio_breakdown", [UUID]),
        ("explain", [BTC]),
    ]
    for method, arguments in questions:
        with redis.frozen():
            began = time.monotonic()
            with pytest.raises((Unavailable, StoreUnavailable), match=rf"127\.0\.0\.1:{redis.port}.*unavailable"):
                await ask(reader, method, *arguments)
            assert time.monotonic() - began < 2.5 * PATIENCE, method
    world.feed()
    assert (await btc(reader)).tier is Tier.REALTIME


async def test_many_wait_for_a_frozen_redis_no_longer_than_one(
    areader: AsyncReader, world: World, redis: RedisServer
) -> None:
    """They fail together: batch after batch, the last would wait for as many seconds as there are batches."""
    world.ticker()
    await areader.ticker(BTC)
    with redis.frozen():
        began = time.monotonic()
        found = await asyncio.gather(*(areader.ticker(BTC) for _ in range(1000)), return_exceptions=True)
        took_s = time.monotonic() - began
    assert {type(one) for one in found} == {Unavailable}
    assert took_s < 5 * PATIENCE


async def test_after_a_restart_no_connection_of_before_fails_anybody(
    reader: Either, world: World, redis: RedisServer
) -> None:
    """All of them died with Redis; whoever takes one next must not hear of it."""

    async def many() -> list[Any]:
        if isinstance(reader, AsyncReader):
            return await asyncio.gather(*(reader.ticker(BTC) for _ in range(20)))
        return await asyncio.gather(*(asyncio.to_thread(reader.ticker, BTC) for _ in range(20)))

    world.ticker()
    await many()
    redis.kill()
    redis.start()
    world.feed()
    world.ticker()
    assert {found.tier for found in await many()} == {Tier.REALTIME}


async def test_many_questions_at_once_wait_for_their_turn(reader: Either, world: World) -> None:
    """More than there are connections: that Redis is busy is no outage."""
    world.ticker()
    if isinstance(reader, AsyncReader):
        found = await asyncio.gather(*(reader.ticker(BTC) for _ in range(1500)))
    else:
        found = [reader.ticker(BTC) for _ in range(200)]
    assert {one.tier for one in found} == {Tier.REALTIME}


def test_copies_are_where_the_contract_says() -> None:
    """The names that this file fills are those of the contract."""
    assert all(isinstance(copy, Copy) for copy in COPIES)
