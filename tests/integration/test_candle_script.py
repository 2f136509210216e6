"""Writing candles into a real Redis: the fields of the contract, the fence, and what is found out there."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec
import pytest

from streamer.ingest.candles import KEEP, CandleBook
from streamer.model import CANDLE_S, Bucket, ProductId, Source, Stamp
from streamer.store.candle_records import PendingCandles, candle_record, parse_candles
from streamer.store.connect import Script, Store
from streamer.store.keys import CANDLES_TTL_S, Keys
from tests.support import RedisServer

BTC, ETH = ProductId("BTC-USD"), ProductId("ETH-USD")
ONE, TWO = Stamp("default.candles-0", 1, Source.COINBASE), Stamp("default.candles-0", 2, Source.COINBASE)
KEYS = Keys()
T0 = 1_795_186_800
TIME = "2026-11-20T15:04:06.25Z"


def bucket(number: int, volume: str = "1") -> Bucket:
    """The bucket so many after T0."""
    return Bucket(T0 + number * CANDLE_S, "10.10", "11", "9", "10", volume)


def json_of(volume: str = "1") -> str:
    """Such a bucket as Redis holds it."""
    return json.dumps(["10.10", "11", "9", "10", volume], separators=(",", ":"))


def starts(*numbers: int) -> set[str]:
    """The fields of such buckets."""
    return {str(T0 + number * CANDLE_S) for number in numbers}


class Reply(NamedTuple):
    """What the script says."""

    now_ms: int
    written: int
    older: int
    fenced: int
    highest: int
    incomplete: list[int]


class Writer:
    """A book and the script, without the sink."""

    def __init__(self, store: Store) -> None:
        self._script = Script(store, "fence", "write_candles")
        self.book = CandleBook()

    async def write(self, batch: list[PendingCandles], *, epoch: int = 7) -> Reply:
        """Write a batch under an epoch."""
        records = [candle_record(pending, epoch=epoch) for pending in batch]
        keys = [key for p in batch for key in (KEYS.candles(p.product_id), KEYS.candles_meta(p.product_id))]
        reply = await self._script(keys, [epoch, CANDLES_TTL_S * 1000, msgspec.msgpack.encode(records)])
        now_ms, written, older, fenced, highest, *incomplete = map(int, reply)
        return Reply(now_ms, written, older, fenced, highest, incomplete)

    async def flush(self, *, epoch: int = 7) -> Reply:
        """Write what is dirty."""
        return await self.write(self.book.drain(500), epoch=epoch)

    def apply(
        self,
        *buckets: Bucket,
        sequence: int = 1,
        stamp: Stamp = ONE,
        time: str = TIME,
        product_id: ProductId = BTC,
    ) -> None:
        """Take a message of the stream."""
        self.book.apply(
            product_id,
            buckets,
            stamp=stamp,
            sequence=sequence,
            time=time,
            received_s=1_795_187_047.5,
            is_snapshot=True,
        )


@pytest.fixture
async def writer(redis: RedisServer) -> AsyncIterator[Writer]:
    """A writer to the empty server."""
    store = Store(redis.url)
    try:
        yield Writer(store)
    finally:
        await store.close()


def held(redis: RedisServer, product_id: ProductId = BTC) -> tuple[dict[str, str], dict[str, str]]:
    """The candles and the meta hash of a product."""
    return redis.hash(f"candles_realtime:{product_id}"), redis.hash(f"candles_realtime:{product_id}:meta")


def pending(*buckets: Bucket, whole: bool = True, **changed: Any) -> PendingCandles:
    """A write of its own, without a book."""
    given: dict[str, Any] = {
        "product_id": BTC,
        "evicted": (),
        "size": len(buckets),
        "since_s": T0,
        "newest_s": T0,
        "stamp": ONE,
        "sequence": 5,
        "time": TIME,
        "received_s": 0.0,
        "suspect": False,
        "waiting_since_s": 0.0,
    }
    return PendingCandles(buckets=buckets, is_whole=whole, **given | changed)


# -- what is written --------------------------------------------------------------------------------------------


async def test_hashes_have_exactly_the_fields_of_the_schema(redis: RedisServer, writer: Writer) -> None:
    """Bucket starts to JSON in one, all the rest in the other, 900 s to live for both."""
    writer.apply(bucket(0), bucket(2, "21.70269406"), sequence=11)
    reply = await writer.flush()
    assert reply[1:] == (1, 0, 0, 0, [])
    candles, meta = held(redis)
    assert candles == {str(T0): json_of(), str(T0 + 600): json_of("21.70269406")}
    assert meta == {
        "feed": "default.candles-0",
        "connection": "1",
        "sequence": "11",
        "epoch": "7",
        "source": "coinbase",
        "time": TIME,
        "received_ms": "1795187047500",
        "written_ms": str(reply.now_ms),
        "since_s": str(T0),
        "newest_s": str(T0 + 600),
    }
    assert abs(reply.now_ms - time.time() * 1000) < 5_000
    for key in (f"candles_realtime:{BTC}", f"candles_realtime:{BTC}:meta"):
        assert 895_000 < redis.ask("PTTL", key) <= 900_000
    assert parse_candles(candles, meta).buckets == (bucket(0), bucket(2, "21.70269406"))


async def test_a_change_writes_what_has_changed(redis: RedisServer, writer: Writer) -> None:
    """The rest stays, both lives are renewed, and the doubt comes and goes."""
    writer.apply(bucket(0), bucket(1))
    await writer.flush()
    for key in (f"candles_realtime:{BTC}", f"candles_realtime:{BTC}:meta"):
        redis.ask("PEXPIRE", key, 1000)
    writer.book.lost([BTC], T0 + 400)
    assert (await writer.flush())[1:] == (1, 0, 0, 7, [])
    assert held(redis)[1]["suspect"] == "1"
    writer.apply(bucket(1, "2"), bucket(2), sequence=2)
    [change] = writer.book.drain(500)
    assert change.buckets == (bucket(1, "2"), bucket(2))
    assert (await writer.write([change])).written == 1
    candles, meta = held(redis)
    assert candles == {str(T0): json_of(), str(T0 + 300): json_of("2"), str(T0 + 600): json_of()}
    assert (meta["sequence"], "suspect" in meta) == ("2", False)
    for key in (f"candles_realtime:{BTC}", f"candles_realtime:{BTC}:meta"):
        assert redis.ask("PTTL", key) > 895_000


async def test_renewal_prolongs_life(redis: RedisServer, writer: Writer) -> None:
    """A quiet product lives on without a bucket being written."""
    writer.apply(bucket(0))
    await writer.flush()
    before = held(redis)[0]
    redis.ask("PEXPIRE", f"candles_realtime:{BTC}", 1000)
    writer.book.renew([BTC], 0.0)
    assert (await writer.flush())[1:] == (1, 0, 0, 7, [])
    assert held(redis)[0] == before
    assert redis.ask("PTTL", f"candles_realtime:{BTC}") > 895_000


async def test_newest_350_are_there(redis: RedisServer, writer: Writer) -> None:
    """What the book drops is removed, in the whole and in a change."""
    writer.apply(*(bucket(number) for number in range(-KEEP - 4, 1)))
    await writer.flush()
    assert held(redis)[0].keys() == starts(*range(1 - KEEP, 1))
    writer.apply(bucket(1), bucket(2), sequence=2)
    assert (await writer.flush()).incomplete == []
    assert held(redis)[0].keys() == starts(*range(3 - KEEP, 3))
    assert held(redis)[1]["since_s"] == str(T0 + (3 - KEEP) * CANDLE_S)


async def test_the_whole_leaves_nothing_of_before(redis: RedisServer, writer: Writer) -> None:
    """Foreign fields and old buckets go, in both hashes."""
    redis.ask("HSET", f"candles_realtime:{BTC}", "price", "1", str(T0 - 300), json_of())
    redis.ask("HSET", f"candles_realtime:{BTC}:meta", "epoch", "7", "mood", "good", "suspect", "1")
    writer.apply(bucket(0))
    assert (await writer.flush()).written == 1
    candles, meta = held(redis)
    assert candles.keys() == starts(0)
    assert not meta.keys() & {"mood", "suspect"}


async def test_backfilled_buckets_of_the_same_message_are_written(redis: RedisServer, writer: Writer) -> None:
    """They come with the sequence that Redis has already."""
    writer.apply(bucket(5), sequence=9)
    await writer.flush()
    writer.book.backfilled(BTC, [bucket(n) for n in range(4)], T0, T0 + 5 * CANDLE_S + 60)
    assert (await writer.flush())[1:3] == (1, 0)
    candles, meta = held(redis)
    assert candles.keys() == starts(0, 1, 2, 3, 5)
    assert (meta["sequence"], meta["since_s"]) == ("9", str(T0))


async def test_a_batch_holds_many_products(redis: RedisServer, writer: Writer) -> None:
    """Each is judged by itself; indices count from 1."""
    writer.apply(bucket(0), product_id=BTC)
    writer.apply(bucket(0), product_id=ETH)
    await writer.flush()
    redis.ask("DEL", f"candles_realtime:{ETH}")
    writer.apply(bucket(1), sequence=2, product_id=BTC)
    writer.apply(bucket(1), sequence=2, product_id=ETH)
    reply = await writer.flush()
    assert (reply.written, reply.incomplete) == (1, [2])
    assert held(redis)[0].keys() == starts(0, 1)
    assert held(redis, ETH)[0] == {}


# -- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["both", "meta"])
@pytest.mark.parametrize("whole", [True, False])
async def test_a_lower_epoch_is_refused_always(redis: RedisServer, writer: Writer, left: str, whole: bool) -> None:
    """An old owner overwrites nothing and learns of the new epoch, also where the candles are gone."""
    await writer.write([pending(bucket(0))], epoch=9)
    if left == "meta":
        redis.ask("DEL", f"candles_realtime:{BTC}")
    before = held(redis)
    late = pending(bucket(1), whole=whole, sequence=99, time="2027-01-01T00:00:00Z")
    assert (await writer.write([late], epoch=8))[1:] == (0, 0, 1, 9, [])
    assert held(redis) == before


async def test_a_higher_epoch_wins_whatever_its_times_say(redis: RedisServer, writer: Writer) -> None:
    """The owner decides what the state is; but it must write all of it."""
    await writer.write([pending(bucket(0), sequence=99, time="2027-01-01T00:00:00Z")], epoch=7)
    before = held(redis)
    assert (await writer.write([pending(bucket(1), whole=False)], epoch=8))[1:] == (0, 0, 0, 7, [1])
    assert held(redis) == before
    assert (await writer.write([pending(bucket(1))], epoch=8))[1:] == (1, 0, 0, 7, [])
    assert held(redis)[0].keys() == starts(1)
    assert held(redis)[1]["epoch"] == "8"


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("sequence", "stamp", "time", "taken"),
    [
        (4, ONE, "2026-11-20T15:04:09Z", False),
        (5, ONE, TIME, True),
        (6, ONE, "2026-11-20T15:04:00Z", True),
        (1, TWO, "2026-11-20T15:04:06.249999999Z", False),
        (1, TWO, "2026-11-20T15:04:06.25Z", True),
        (1, TWO, "2026-11-20T15:04:06.250000001Z", True),
        (9, TWO, "2026-11-20T15:04:06Z", False),
    ],
)
async def test_within_an_epoch_newer_wins(
    redis: RedisServer, writer: Writer, sequence: int, stamp: Stamp, time: str, taken: bool, whole: bool
) -> None:
    """By sequence on one connection, else by the exchange's time; what is equal is taken."""
    await writer.write([pending(bucket(0))])
    change = pending(bucket(0, "2"), whole=whole, sequence=sequence, stamp=stamp, time=time)
    assert (await writer.write([change]))[1:] == ((1, 0, 0, 7, []) if taken else (0, 1, 0, 7, []))
    assert held(redis)[0][str(T0)] == json_of("2" if taken else "1")


# -- what is found ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        ("DEL", f"candles_realtime:{BTC}"),
        ("DEL", f"candles_realtime:{BTC}:meta"),
        ("FLUSHALL",),
        ("SET", f"candles_realtime:{BTC}", "foreign"),
        ("SET", f"candles_realtime:{BTC}:meta", "foreign"),
        ("HDEL", f"candles_realtime:{BTC}:meta", "epoch"),
        ("HSET", f"candles_realtime:{BTC}:meta", "epoch", "soon"),
        ("HSET", f"candles_realtime:{BTC}:meta", "epoch", "1" * 16),
        ("HSET", f"candles_realtime:{BTC}:meta", "epoch", "6"),
    ],
    ids=" ".join,
)
async def test_a_change_onto_what_is_not_ours_is_not_made(
    redis: RedisServer, writer: Writer, damage: tuple[str, ...]
) -> None:
    """Half of the candles would read as all: the sink is told, and the whole then mends it."""
    writer.apply(bucket(0), bucket(1))
    await writer.flush()
    redis.ask(*damage)
    keys = redis.ask("KEYS", "*")
    dumps = [redis.ask("OBJECT", "ENCODING", key) for key in keys]
    writer.apply(bucket(1, "2"), sequence=2)
    reply = await writer.flush()
    assert (reply.written, reply.fenced, reply.incomplete) == (0, 0, [1])
    assert [redis.ask("OBJECT", "ENCODING", key) for key in redis.ask("KEYS", "*")] == dumps
    writer.book.rewrite([BTC], 0.0)
    assert (await writer.flush())[1:4] == (1, 0, 0)
    candles, meta = held(redis)
    assert parse_candles(candles, meta).buckets == (bucket(0), bucket(1, "2"))


@pytest.mark.parametrize(
    "damage", [("HDEL", f"candles_realtime:{BTC}", str(T0)), ("HSET", f"candles_realtime:{BTC}", "mood", "good")]
)
async def test_a_hash_that_has_lost_or_gained_fields_is_reported(
    redis: RedisServer, writer: Writer, damage: tuple[str, ...]
) -> None:
    """A bucket that somebody removed would read as no trades; the whole mends that too."""
    writer.apply(bucket(0), bucket(1))
    await writer.flush()
    redis.ask(*damage)
    writer.book.renew([BTC], 0.0)
    reply = await writer.flush()
    assert (reply.written, reply.incomplete) == (1, [1])
    writer.book.rewrite([BTC], 0.0)
    assert (await writer.flush())[1:] == (1, 0, 0, 7, [])
    assert held(redis)[0].keys() == starts(0, 1)


async def test_a_whole_is_written_where_only_meta_is_left(redis: RedisServer, writer: Writer) -> None:
    """What the meta hash says of sequences does not matter where the candles are gone."""
    await writer.write([pending(bucket(0), sequence=99)])
    redis.ask("DEL", f"candles_realtime:{BTC}")
    assert (await writer.write([pending(bucket(0), sequence=5)]))[1:] == (1, 0, 0, 7, [])
    assert held(redis)[1]["sequence"] == "5"


async def test_keys_of_another_type_are_repaired(redis: RedisServer, writer: Writer) -> None:
    """A list or a string where our hashes belong is replaced by the whole."""
    redis.ask("RPUSH", f"candles_realtime:{BTC}", "foreign")
    redis.ask("SET", f"candles_realtime:{BTC}:meta", "foreign")
    writer.apply(bucket(0))
    assert (await writer.flush())[1:] == (1, 0, 0, 0, [])
    candles, meta = held(redis)
    assert parse_candles(candles, meta).buckets == (bucket(0),)


async def test_an_answer_that_was_lost_does_no_harm(redis: RedisServer, writer: Writer) -> None:
    """Written twice is written once, with what has changed since."""
    writer.apply(bucket(0))
    await writer.flush()
    writer.apply(bucket(1), sequence=2)
    batch = writer.book.drain(500)
    await writer.write(batch)
    writer.book.restore(batch)
    writer.apply(bucket(1, "3"), bucket(2), sequence=3)
    assert (await writer.flush())[1:] == (1, 0, 0, 7, [])
    candles, meta = held(redis)
    assert parse_candles(candles, meta).buckets == (bucket(0), bucket(1, "3"), bucket(2))
