"""What the users of Redis may: the ingester its work, a bot to read and to ask REST, a consumer to look."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from streamer import Reader
from streamer.model import Priority, Tier
from streamer.settings import load
from streamer.store.keys import Copy, Keys
from tests.integration.deploy.rig import MAKE_USERS, USERS, UsersRedis
from tests.support import BIN, Process, RedisServer, Simulator, Stream, free_port, is_healthy, run, wait_until
from tests.unit.deploy.rig import DEPLOY

STREAMED, NOT_STREAMED = "BTC-USD", "ETH-USD"
PATHS = ("/", "/metrics", f"/api/v1/market/ticker/{STREAMED}", "/api/v1/ws/stream-status", "/api/v1/system/calls")
INTERNAL = ("gateway:", "counters:", "stream:lease:", "stream:epoch:")
"""No part of what anybody may read."""


class World:
    """An ingester that streams one of an exchange's products as the user it is meant to be."""

    def __init__(self, redis: UsersRedis, simulator: Simulator, folder: Path) -> None:
        self.redis, self.simulator, self.folder = redis, simulator, folder

    def reader(self, user: str, *, rest: bool) -> Reader:
        """Return a reader of a user."""
        return Reader(self.redis.url_of(user), rest=rest, settings=load(rest_url=self.simulator.rest_url))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A stream that is healthy."""
    folder = tmp_path_factory.mktemp("users")
    with (
        UsersRedis(folder) as redis,
        Simulator(folder, "--rest-port", "0", products=f"{STREAMED},{NOT_STREAMED},SOL-USD") as simulator,
    ):
        arguments = [STREAMED, "--ws-url", simulator.url, "--rest-url", simulator.rest_url]
        with Stream(folder, *arguments, env={"REDIS_URL": redis.url_of("streamer")}):
            wait_until(lambda: is_healthy(redis.url_of("streamer")), 30)
            wait_until(lambda: redis.ask("EXISTS", f"candles_realtime:{STREAMED}", "products:all") == 2, 30)
            yield World(redis, simulator, folder)


# -- passwords ---------------------------------------------------------------------------------------------------


def test_without_passwords_redis_does_not_start(tmp_path: Path) -> None:
    """The file as it is in the repository ends Redis, rather than letting anybody in."""
    command = ["redis-server", "--port", str(free_port()), "--dir", str(tmp_path), "--save", ""]
    with Process([*command, "--aclfile", str(DEPLOY / "redis" / "users.acl")], tmp_path) as server:
        assert server.wait(10) != 0
        assert "password hash" in server.output


def test_redis_takes_its_configuration(tmp_path: Path) -> None:
    """The file that the container is started with is understood, and evicts nothing."""
    server = RedisServer(tmp_path)
    server._command.insert(1, str(DEPLOY / "redis" / "redis.conf"))
    with server:
        assert server.ask("CONFIG", "GET", "maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert int(server.ask("CONFIG", "GET", "maxmemory")["maxmemory"]) > 0


def test_passwords_are_new_and_only_their_digests_are_kept(tmp_path: Path) -> None:
    """Each user gets another password each time; the file does not hold it, and an existing file stays as it is."""
    seen = set()
    for name in ("first", "second"):
        done = subprocess.run(
            ["sh", str(MAKE_USERS), str(tmp_path / name)], capture_output=True, text=True, check=True
        )
        passwords = dict(line.split() for line in done.stdout.splitlines())
        assert tuple(passwords) == USERS
        text = (tmp_path / name).read_text()
        assert not [password for password in passwords.values() if password in text]
        seen |= set(passwords.values())
    assert len(seen) == 2 * len(USERS)
    before = (tmp_path / "first").read_text()
    again = subprocess.run(["sh", str(MAKE_USERS), str(tmp_path / "first")], capture_output=True, check=False)
    assert again.returncode != 0
    assert (tmp_path / "first").read_text() == before


def test_nobody_gets_in_without_a_name(world: World) -> None:
    """The default user is off, and a wrong password opens nothing."""
    done = run("stream-status", "--redis-url", f"redis://127.0.0.1:{world.redis.port}", folder=world.folder)
    assert (done.returncode, "asks for a password" in done.stdout) == (3, True)
    with pytest.raises(AuthenticationError):
        world.redis.ask_as("bot", "AUTH", "streamer", world.redis.passwords["bot"])


# -- the ingester ------------------------------------------------------------------------------------------------


def test_the_ingester_may_do_all_it_tries(world: World) -> None:
    """A healthy stream was refused nothing, and may do nothing that its work does not need."""
    assert world.redis.refused("streamer") == []
    for words in ("FLUSHALL", "KEYS *", "CONFIG GET *", "SET other 1", "EVAL return 0", "ACL LIST", "CLIENT LIST"):
        assert_refused(world, "streamer", words.split())


# -- a bot -------------------------------------------------------------------------------------------------------


def test_a_bot_reads_and_asks_rest(world: World) -> None:
    """It is served realtime, has REST asked for what is not streamed, and that is streamed from then on."""
    reader = world.reader("bot", rest=True)
    assert reader.ticker(STREAMED).tier is Tier.REALTIME
    assert reader.ticker(NOT_STREAMED, priority=Priority.TRADING).tier is Tier.REST
    assert reader.candles(STREAMED, "ONE_DAY", limit=5).tier is Tier.REST
    assert world.redis.ask("EXISTS", f"ticker:{NOT_STREAMED}", f"ticker:{NOT_STREAMED}:stale") == 2
    reader.close()
    wait_until(lambda: world.redis.ask("HEXISTS", "stream:wanted", NOT_STREAMED), 10)
    counted = {name for key in world.redis.ask("KEYS", "counters:60:*") for name in world.redis.hash(key)}
    assert counted >= {"hit:ticker:realtime", "miss:ticker:rest"}
    assert world.redis.refused("bot") == []


def test_a_bot_runs_the_commands(world: World) -> None:
    """What changes the wanted set and tells what REST has cost works as a bot."""
    env = {"REDIS_URL": world.redis.url_of("bot"), "STREAMER_REST_URL": world.simulator.rest_url}
    for words in (["wanted", "add", "SOL-USD"], ["wanted", "remove", "SOL-USD"], ["calls"], ["get", STREAMED]):
        done = run("streamer", *words, folder=world.folder, env=env)
        assert done.returncode == 0, done.stderr
    assert world.redis.refused("bot") == []


@pytest.mark.parametrize("user", ["streamer", "bot"])
def test_what_a_provider_is_worth_is_kept(world: World, user: str) -> None:
    """Who asks providers may enter how it went."""
    world.redis.ask("DEL", Keys().scores)
    env = {"REDIS_URL": world.redis.url_of(user), "STREAMER_REST_URL": world.simulator.rest_url}
    done = run("streamer", "price", STREAMED, "--provider", "coinbase", folder=world.folder, env=env)
    assert done.returncode == 0, done.stderr
    assert world.redis.ask("ZSCORE", Keys().scores, f"coinbase {STREAMED}") is not None
    assert world.redis.refused(user) == []


def test_a_bot_serves_the_api(world: World, tmp_path: Path) -> None:
    """`streamer serve` needs no more than a bot: prices, status, metrics and what REST has cost."""
    port, env = free_port(), {"REDIS_URL": world.redis.url_of("bot"), "STREAMER_REST_URL": world.simulator.rest_url}
    with (
        Process([str(BIN / "streamer"), "serve", "--port", str(port)], tmp_path, env=env) as served,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client,
    ):
        wait_until(partial(_answers, client), 20)
        for path in PATHS:
            assert client.get(path).status_code == 200, path
        asked = client.post("/api/v1/ws/start-stream", json={"product_ids": ["SOL-USD"]})
        assert asked.json()["changed"] == ["SOL-USD"]
        served.signal(signal.SIGTERM)
        assert served.wait(5) == 0
    assert world.redis.refused("bot") == []


@pytest.mark.parametrize(
    "words",
    [
        ["HSET", f"ticker_realtime:{STREAMED}", "price", "1"],
        ["DEL", f"ticker_realtime:{STREAMED}:stale"],
        ["SET", "portfolio_realtime:USD", "1"],
        ["HDEL", f"candles_realtime:{STREAMED}", "1"],
        ["SET", "stream:status", "{}"],
        ["DEL", "stream:feeds"],
        ["GET", "stream:lease:default"],
        ["PUBLISH", "stream:updates:ticker", "x"],
        ["RENAME", "ticker:X", f"ticker_realtime:{STREAMED}"],
        ["EVAL", "return 1", "0"],
        ["FLUSHALL"],
        ["KEYS", "*"],
        ["INFO"],
    ],
    ids=" ".join,
)
def test_a_bot_cannot_touch_what_the_stream_writes(world: World, words: list[str]) -> None:
    """Prices are the ingester's: a bot that went wrong cannot change them for the others."""
    assert_refused(world, "bot", words)


def test_a_bots_script_cannot_either(world: World) -> None:
    """What a script does is held to the rights of its caller."""
    script = "return redis.call('PUBLISH', 'stream:updates:ticker', 'x')"
    digest = world.redis.ask_as("bot", "SCRIPT", "LOAD", script)
    with pytest.raises(ResponseError, match="can't publish"):
        world.redis.ask_as("bot", "EVALSHA", digest, 0)


# -- a consumer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["HGETALL", f"ticker_realtime:{STREAMED}"], dict),
        (["HGETALL", f"ticker_realtime:{STREAMED}:stale"], dict),
        (["HMGET", f"ticker_realtime:{STREAMED}", "price"], list),
        (["HGETALL", f"candles_realtime:{STREAMED}"], dict),
        (["HGETALL", f"candles_realtime:{STREAMED}:meta"], dict),
        (["HGETALL", "stream:feeds"], dict),
        (["HGETALL", "stream:wanted"], dict),
        (["GET", "stream:status"], str),
        (["GET", "products:all"], str),
        (["TIME"], tuple),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, list) else "",
)
def test_a_consumer_reads_the_contract(world: World, words: list[str], kind: type) -> None:
    """What the schema promises to readers in any language is there for it."""
    found = world.redis.ask_as("consumer", *words)
    assert isinstance(found, kind)
    assert found


def test_a_consumer_may_read_all_but_what_is_internal(world: World) -> None:
    """Of every key there is: what is part of the contract it may read, the rest not, and none may it change."""
    may_be = {
        "hash": ["HGETALL"],
        "string": ["GET"],
        "set": ["SMEMBERS"],
        "stream": ["XRANGE", "-", "+"],
        "zset": ["ZRANGEBYSCORE", "-inf", "+inf"],
    }
    keys = world.redis.ask("KEYS", "*")
    assert len(keys) > 5
    for key in keys:
        if key.startswith(INTERNAL):
            assert dry_run(world, "TYPE", key) != "OK", key
        else:
            command, *more = may_be[world.redis.ask("TYPE", key)]
            assert dry_run(world, command, key, *more) == "OK", key
        assert dry_run(world, "DEL", key) != "OK", key


@pytest.mark.parametrize("where", [Keys().accounts_copy, Keys().products_copy, Keys().breakdown_copy("uuid")])
def test_a_consumer_reads_what_rest_has_brought(world: World, where: Copy) -> None:
    """Copies, fresh and stale, are for all to read."""
    assert [dry_run(world, "GET", key) for key in (where.key, where.stale_key)] == ["OK", "OK"]


def test_a_consumer_reads_balances_and_sums(world: World) -> None:
    """So are balances and the counts of all processes."""
    keys = Keys()
    assert dry_run(world, "SMEMBERS", keys.currencies) == "OK"
    assert [dry_run(world, "HGETALL", key) for key in (keys.balance("USD"), keys.balance_stale("USD"))] == [
        "OK"
    ] * 2
    assert {dry_run(world, "GET", key) for key in keys.sums().values()} == {"OK"}


def test_a_consumer_has_no_command_that_writes_or_governs(world: World) -> None:
    """None of its commands is one that Redis counts among those."""
    told = world.redis.ask("ACL", "GETUSER", "consumer")["commands"].split()
    mine = {word[1:] for word in told if word.startswith("+") and word[1] != "@"}
    assert "hgetall" in mine
    for category in ("write", "admin", "dangerous", "scripting"):
        assert not mine & set(world.redis.ask("ACL", "CAT", category)), category


@pytest.mark.parametrize(
    "words",
    [
        ["HSET", f"ticker_realtime:{STREAMED}", "price", "1"],
        ["SET", "ticker:X", "1"],
        ["HDEL", "stream:wanted", STREAMED],
        ["EXPIRE", f"ticker_realtime:{STREAMED}", "1"],
        ["INCR", "api_calls:last_hour"],
        ["PUBLISH", "stream:updates:ticker", "x"],
        ["SUBSCRIBE", "gateway:coinbase:wake"],
        ["PSUBSCRIBE", "*"],
        ["GET", "stream:lease:default"],
        ["GET", "other"],
        ["KEYS", "*"],
        ["SCAN", "0"],
        ["FLUSHALL"],
        ["FLUSHDB"],
        ["CONFIG", "GET", "*"],
        ["CLIENT", "LIST"],
        ["ACL", "LIST"],
        ["MONITOR"],
        ["SHUTDOWN"],
        ["INFO"],
        ["EVAL", "return 1", "0"],
        ["SCRIPT", "LOAD", "return 1"],
    ],
    ids=" ".join,
)
def test_a_consumer_may_do_nothing_else(world: World, words: list[str]) -> None:
    """No write, no other key, no other channel, no command that governs or looks at others."""
    assert_refused(world, "consumer", words)


def test_a_consumer_is_pushed_changes(world: World) -> None:
    """It may subscribe to the updates, one by one and by the pattern of them all."""
    client = Redis.from_url(world.redis.url_of("consumer"))
    updates: Any = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    updates.subscribe("stream:updates:ticker")
    updates.psubscribe("stream:updates:*")
    kinds: set[str] = set()

    def are_both() -> bool:
        message = updates.get_message(timeout=1)
        kinds.update([message["type"]] if message else [])
        return kinds == {"message", "pmessage"}

    wait_until(are_both, 10)
    updates.close()
    client.close()


def test_a_reader_is_served_as_a_consumer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is served realtime and pushed changes; what it would note of that is refused, and nobody is harmed."""
    monkeypatch.setattr("streamer.reader.sync.EVERY_S", 0.0)  # it would note something every 5 s
    wanted = world.redis.hash("stream:wanted")
    with world.reader("consumer", rest=False) as reader:
        assert reader.ticker(STREAMED).tier is Tier.REALTIME
        wait_until(lambda: reader.ticker(STREAMED) and world.redis.refused("consumer"), 10)
        assert reader.ticker(STREAMED).tier is Tier.REALTIME
        assert reader.candles(STREAMED, limit=5).tier is Tier.REALTIME
        seen = [product_id for product_id, _ in islice(reader.watch([STREAMED]), 3)]
        assert seen == [STREAMED] * 3
    assert world.redis.hash("stream:wanted").keys() == wanted.keys()


def test_the_ingester_keeps_its_journal(world: World) -> None:
    """What goes wrong is written down where all may read it. Last of the tests: the exchange is gone afterwards."""
    world.simulator.kill()
    wait_until(lambda: world.redis.ask("EXISTS", "stream:errors"), 20)
    for user in USERS:
        assert world.redis.ask_as(user, "XRANGE", "stream:errors", "-", "+")
    assert world.redis.refused("streamer") == []


def _answers(client: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("/readyz").status_code == 200
    return False


def dry_run(world: World, *words: str) -> str:
    """Return "OK" where a consumer may run a command, else why not."""
    answer: str = world.redis.ask("ACL", "DRYRUN", "consumer", *words)
    return answer


def assert_refused(world: World, user: str, words: list[str]) -> None:
    """Redis refuses a command because of who asks, and does nothing."""
    assert world.redis.ask_as(user, "PING")
    with pytest.raises(NoPermissionError):
        world.redis.ask_as(user, *words)
