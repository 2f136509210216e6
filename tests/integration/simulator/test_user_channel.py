"""Orders over real sockets: placed on the control port, heard on the `user` channel."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from coinbase.websocket import WSUserClient

from streamer.simulator.account import Bank
from streamer.simulator.control import ControlServer, send_command
from streamer.simulator.exchange_ws import ExchangeServer
from streamer.simulator.faults import parse_command
from streamer.simulator.keys import load_public_key, make_key_file, user_uuid
from streamer.simulator.market import RandomWalkMarket
from streamer.simulator.server import Options, run
from streamer.simulator.settings import ExchangeSettings
from tests.integration.simulator.helpers import Message, Peer, good_jwt, peer, read_key, wait_until

ORDER = {"product_id": "BTC-USD", "side": "BUY", "price": "84000", "size": "0.01"}


@asynccontextmanager
async def exchange(
    tmp_path: Path, keys: int = 1, **options: Any
) -> AsyncIterator[tuple[ExchangeServer, list[Path]]]:
    """An exchange that is still, with keys that may log in."""
    files = [tmp_path / f"key{i}.json" for i in range(keys)]
    for file in files:
        make_key_file(file)
    public = dict(map(load_public_key, files))
    settings = ExchangeSettings(ticks_per_s=0, heartbeat_s=60)
    market = RandomWalkMarket(["BTC-USD", "ETH-USD"])
    async with ExchangeServer(market, settings, keys=public, bank=Bank(**options)) as server:
        yield server, files


def do(server: ExchangeServer, command: dict[str, Any]) -> dict[str, Any]:
    """Carry out a command."""
    reply = server.command(parse_command(command))
    assert reply["ok"], reply
    return reply


def place(server: ExchangeServer, **order: Any) -> str:
    """Place an order and return its id."""
    order_id: str = do(server, {"order": {**ORDER, **order}})["order_id"]
    return order_id


async def listen(client: Peer, key: Path, *product_ids: str) -> list[Message]:
    """Subscribe to the user channel and return the snapshot's messages."""
    await client.ask("user", *product_ids, jwt=good_jwt(key))
    snapshot = []
    while (message := await client.next())["channel"] == "user":
        snapshot.append(message)
    assert message["events"][0]["subscriptions"]["user"] == [user_uuid(read_key(key)[0])]
    return snapshot


def order_of(message: Message) -> dict[str, str]:
    """The one order of an update."""
    assert message["channel"] == "user"
    (event,) = message["events"]
    assert event["type"] == "update"
    (order,) = event["orders"]
    assert isinstance(order, dict)
    return order


@pytest.mark.parametrize(("count", "batches"), [(0, [0]), (3, [3]), (50, [50, 0]), (109, [50, 50, 9])])
async def test_the_snapshot_comes_in_batches_of_fifty(tmp_path: Path, count: int, batches: list[int]) -> None:
    """All open orders come before the ack, each once; a message of less than fifty is the last."""
    async with exchange(tmp_path) as (server, (key,)), peer(server.user_url) as client:
        if count:
            orders = [{"order": {**ORDER, "size": "0.0001"}}] * count
            placed = [reply["order_id"] for reply in do(server, {"batch": orders})["replies"]]
        else:
            placed = []
        snapshot = await listen(client, key)
        events = [event for message in snapshot for event in message["events"]]
        assert [len(e["orders"]) for e in events] == batches
        assert [m["sequence_num"] for m in snapshot] == list(range(len(batches)))
        assert [o["order_id"] for e in events for o in e["orders"]] == placed
        assert {e["type"] for e in events} == {"snapshot"}
        assert "perpetual_futures_positions" in events[0]["positions"]


async def test_each_change_is_heard_at_once_and_in_sequence(tmp_path: Path) -> None:
    """Every command gives its updates, with the next sequence numbers, before anything else is sent."""
    async with exchange(tmp_path) as (server, (key,)), peer(server.user_url) as client:
        await listen(client, key)
        order_id = place(server, status="PENDING")
        do(server, {"open": order_id})
        do(server, {"fill": order_id, "size": "0.004"})
        do(server, {"edit": order_id, "price": "83000"})
        do(server, {"cancel": order_id, "queued": True})
        do(server, {"deposit": "USD", "amount": "5"})
        do(server, {"cancel": order_id})
        updates = await client.take(7)
        orders = [order_of(m) for m in updates]
        expected = ["PENDING", "OPEN", "OPEN", "EDIT_QUEUED", "OPEN", "CANCEL_QUEUED", "CANCELLED"]
        assert [o["status"] for o in orders] == expected
        assert [m["sequence_num"] for m in updates] == list(range(2, 9))
        assert orders[2]["cumulative_quantity"] == "0.004"
        assert {o["order_id"] for o in orders} == {order_id}
        # What each says is what the ledger holds.
        assert orders[-1] == do(server, {"query": "accounts", "orders": "all"})["orders"][0]


async def test_two_connections_of_a_key_hear_the_same(tmp_path: Path) -> None:
    """Both hosts carry the user channel, each connection with its own numbers."""
    async with (
        exchange(tmp_path) as (server, (key,)),
        peer(server.user_url) as one,
        peer(server.url) as two,
    ):
        await two.subscribed("ticker", "BTC-USD")
        await listen(one, key)
        await listen(two, key)
        order_id = place(server)
        do(server, {"fill": order_id})
        heard = [await client.take(2) for client in (one, two)]
        assert [order_of(m) for m in heard[0]] == [order_of(m) for m in heard[1]]
        assert [[m["sequence_num"] for m in messages] for messages in heard] == [[2, 3], [4, 5]]


async def test_only_the_owner_hears_of_an_order(tmp_path: Path) -> None:
    """Another key's connection hears its own orders and not these; who unsubscribed hears none."""
    async with (
        exchange(tmp_path, keys=2) as (server, (mine, theirs)),
        peer(server.user_url) as owner,
        peer(server.user_url) as other,
        peer(server.user_url) as gone,
    ):
        my_name, their_name = read_key(mine)[0], read_key(theirs)[0]
        assert len(await listen(owner, mine)) == len(await listen(other, theirs)) == 1
        await listen(gone, mine)
        await gone.ask("user", kind="unsubscribe", jwt=good_jwt(mine))
        assert (await gone.next())["events"] == [{"subscriptions": {}}]
        first, second = place(server, key=my_name), place(server, key=their_name)
        assert order_of(await owner.next())["order_id"] == first
        assert order_of(await other.next())["order_id"] == second
        await gone.ask("heartbeats")
        assert (await gone.next())["channel"] == "subscriptions"
        reply = server.command(parse_command({"batch": [{"order": ORDER}]}))
        assert "must be named" in reply["replies"][0]["error"]


async def test_a_subscription_may_name_products(tmp_path: Path) -> None:
    """Snapshot and updates then carry those only; -USDC ids are told apart; a second subscribe adds."""
    async with exchange(tmp_path) as (server, (key,)), peer(server.user_url) as client:
        place(server)
        usdc = place(server, product_id="BTC-USDC")
        (snapshot,) = await listen(client, key, "BTC-USDC")
        assert [o["order_id"] for o in snapshot["events"][0]["orders"]] == [usdc]
        place(server)
        do(server, {"cancel": usdc})
        assert order_of(await client.next())["order_id"] == usdc
        await listen(client, key, "BTC-USD")
        both = [place(server), place(server, product_id="BTC-USDC")]
        place(server, product_id="ETH-USD")
        everything = place(server)
        assert [order_of(m)["order_id"] for m in await client.take(3)] == [*both, everything]
        await listen(client, key)
        order_id = place(server, product_id="ETH-USD")
        assert order_of(await client.next())["order_id"] == order_id


async def test_updates_are_replayed_as_new_messages(tmp_path: Path) -> None:
    """The same content again under new numbers, in order or shuffled, so that no gap gives it away."""
    async with exchange(tmp_path) as (server, (key,)), peer(server.user_url) as client:
        await listen(client, key)
        order_id = place(server)
        for size in ("0.001", "0.002", "0.003"):
            do(server, {"fill": order_id, "size": size})
        do(server, {"replay": 3})
        do(server, {"replay": 4, "shuffled": True})
        messages = await client.take(11)
        assert [m["sequence_num"] for m in messages] == list(range(2, 13))
        events = [m["events"] for m in messages]
        assert events[4:7] == events[1:4]
        assert events[7:] != events[:4]
        assert sorted(map(json.dumps, events[7:])) == sorted(map(json.dumps, events[:4]))


async def test_lost_updates_leave_a_gap_and_hushed_ones_do_not(tmp_path: Path) -> None:
    """Either way the order has changed and nobody was told; healing ends both."""
    async with exchange(tmp_path) as (server, (key,)), peer(server.user_url) as client:
        await listen(client, key)
        order_id = place(server)
        do(server, {"lose": 2})
        for _ in range(3):
            do(server, {"fill": order_id, "size": "0.001"})
        do(server, {"hush": True})
        do(server, {"fill": order_id, "size": "0.001"})
        do(server, {"lose": 9})
        do(server, {"heal": True})
        do(server, {"fill": order_id, "size": "0.001"})
        messages = await client.take(3)
        assert [m["sequence_num"] for m in messages] == [2, 5, 6]
        assert [order_of(m)["cumulative_quantity"] for m in messages] == ["0", "0.003", "0.005"]


async def test_the_control_port_trades(tmp_path: Path) -> None:
    """A line is a command and a reply; a batch is written at once; a refusal says why."""
    async with (
        exchange(tmp_path) as (server, (key,)),
        ControlServer(server.command) as control,
        peer(server.user_url) as client,
    ):
        await listen(client, key)

        async def ask(command: dict[str, Any]) -> dict[str, Any]:
            return await send_command("127.0.0.1", control.port, command)

        order = {**ORDER, "client_order_id": "mine"}
        reply = await ask({"batch": [{"order": order}, {"fill": "mine", "size": "0.004"}, {"fill": "mine"}]})
        assert reply["ok"]
        orders = [order_of(m) for m in await client.take(3)]
        assert [o["status"] for o in orders] == ["OPEN", "OPEN", "FILLED"]
        refused = await ask({"order": {**ORDER, "size": "100"}})
        assert (refused["ok"], "needs more USD" in refused["error"]) == (False, True)
        truth = await ask({"query": "accounts"})
        assert truth["accounts"]["BTC"] == {"available": "5.01", "hold": "0", "total": "5.01"}
        history = (await ask({"query": "history"}))["history"]
        assert history[-1][1]["BTC"]["total"] == "5.01"
        assert abs(history[-1][0] - time.time()) < 60


async def test_a_command_costs_little(tmp_path: Path) -> None:
    """Placing and filling with hundreds of wallets stays well under a millisecond each, so scripts can be quick."""
    async with exchange(tmp_path, extra_wallets=300) as (server, (key,)), peer(server.user_url) as client:
        await listen(client, key)
        rounds = 300
        from_s = time.process_time()
        for _ in range(rounds):
            do(server, {"fill": place(server, size="0.0001")})
        each_s = (time.process_time() - from_s) / (2 * rounds)
        await client.take(2 * rounds)
        assert each_s < 0.001


async def test_options_reach_the_bank(tmp_path: Path) -> None:
    """Lag and empty wallets can be set from outside."""
    key = tmp_path / "key.json"
    make_key_file(key)
    announced: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    options = Options(
        exchange=ExchangeSettings(ticks_per_s=0), key_files=[key], accounts_lag_s=1.5, extra_wallets=260
    )
    running = asyncio.create_task(run(options, announced.set_result))
    try:
        port = (await announced)["control_port"]
        truth = await send_command("127.0.0.1", port, {"query": "accounts"})
        assert len(truth["accounts"]) == 265
        assert (await send_command("127.0.0.1", port, {"accounts_lag_s": 0}))["ok"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.filterwarnings("ignore:.*websockets.*:DeprecationWarning")
async def test_the_official_client_hears_the_updates(tmp_path: Path) -> None:
    """WSUserClient logs in with its own token, and gets snapshot and updates as from the real exchange."""
    async with exchange(tmp_path) as (server, (key,)):
        heard: list[Message] = []
        lock = threading.Lock()

        def on_message(message: str) -> None:
            with lock:
                heard.append(json.loads(message))

        name, secret = read_key(key)
        client = WSUserClient(api_key=name, api_secret=secret, base_url=server.user_url, on_message=on_message)
        # Its calls block and wait for its own thread, so they run beside our loop.
        await asyncio.to_thread(client.open)
        try:
            await asyncio.to_thread(client.user, [])
            await wait_until(lambda: len(heard) == 2)
            order_id = place(server)
            do(server, {"fill": order_id})
            await wait_until(lambda: len(heard) == 4)
            assert [order_of(m)["status"] for m in heard[2:]] == ["OPEN", "FILLED"]
            assert [m["sequence_num"] for m in heard] == [0, 1, 2, 3]
        finally:
            await asyncio.to_thread(client.close)
