"""The exchange's counter: hears what clients ask for, and hands each what it subscribed to.

No await, no socket: a client is written to through `Client.send`, time comes in as an argument or from the
clock given at the start.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable

import orjson

from streamer.simulator import channels, frames
from streamer.simulator.catalogue import Catalogue
from streamer.simulator.client import Client
from streamer.simulator.clock import Clock
from streamer.simulator.keys import JwtChecker, user_uuid
from streamer.simulator.market import Market
from streamer.simulator.recording import Recorded, deal_of
from streamer.simulator.settings import ExchangeSettings
from streamer.simulator.tape import Tape
from streamer.simulator.updates import Update

_REFUSED = "authentication failure"
_TRADES_EVERY_S = 0.25
_CANDLES_EVERY_S = 1.0
_HEAD = b',"events":[{"type":"update","tickers":['
_TAIL = b"]}]}"


class Desk:
    """Subscriptions and who gets what.

    Args:
        market: Where tickers come from.
        checker: Decides about JWTs.
        settings: The exchange's settings.
        clock: The exchange's clock.
        catalogue: The products.
        tape: Where trades are noted.
        orders: What the user channel tells.
    """

    def __init__(
        self,
        market: Market,
        checker: JwtChecker,
        settings: ExchangeSettings,
        clock: Clock,
        catalogue: Catalogue,
        tape: Tape,
        orders: channels.Orders,
    ) -> None:
        self._market, self._checker, self._settings = market, checker, settings
        self._clock_ns, self._true_ns = clock.now_ns, clock.true_ns
        self._catalogue, self._tape = catalogue, tape
        self._is_saturated = math.isinf(settings.ticks_per_s)
        self._sampled: dict[str, bytes | None] = {}
        self._orders = orders
        self._stamper = frames.Stamper()
        names = channels.MARKET_HOST | {"subscriptions"}
        self._before = {n: frames.before_stamp(n, client_id=settings.client_id) for n in names}
        self._before_ticker = self._before["ticker"]
        # Canonical product to the clients whose ticker subscription includes it: the index of the fast path.
        self._tickers: dict[str, list[Client]] = {}
        self._due_s: dict[str, float] = {}
        # Counters of heartbeats start anywhere; the capture of 2024 equalled the server's uptime.
        self._booted_ns = time.monotonic_ns() - 66_987 * 1_000_000_000
        self.on_ticker_subscription: Callable[[], None] = lambda: None

    @property
    def has_ticker_subscribers(self) -> bool:
        """Whether anybody would get a tick."""
        return bool(self._tickers)

    # Requests

    def hear(self, client: Client, message: str | bytes) -> None:
        """Answer one message of a client."""
        try:
            request = orjson.loads(message)
        except orjson.JSONDecodeError:
            request = None
        kind = request.get("type") if isinstance(request, dict) else None
        if kind not in ("subscribe", "unsubscribe"):
            client.send_error("malformed request")  # what the real one says is not known
            return
        channel, product_ids = request.get("channel"), request.get("product_ids") or []
        allowed = channels.MARKET_HOST if client.host == "market" else channels.USER_HOST
        key_name = self._checker.key_name(request.get("jwt"), self._clock_ns() / 1e9)
        # On a public channel a JWT is optional, but one that is wrong fails all the same.
        is_known = isinstance(channel, str) and channel in allowed
        is_private = is_known and channel in channels.PRIVATE
        needs_key = request.get("jwt") is not None or is_private
        may_see = key_name is None or not is_private or self._checker.may(key_name, "view")
        if not is_known or (needs_key and key_name is None) or not may_see:
            client.send_error(_REFUSED)
            return
        if key_name is not None:
            client.key_names.add(key_name)
        if not isinstance(product_ids, list) or not all(isinstance(p, str) for p in product_ids):
            client.send_error("malformed request")
            return
        if kind == "subscribe":
            self._subscribe(client, channel, product_ids, key_name)
        else:
            self._unsubscribe(client, channel, product_ids)
        self._acknowledge(client)

    def _subscribe(self, client: Client, channel: str, product_ids: list[str], key_name: str | None) -> None:
        client.has_subscribed = True
        if channel == "heartbeats":
            client.heartbeat_counter = client.heartbeat_counter or self._uptime_ns() // 1_000_000_000
            client.subscriptions[channel] = ["heartbeats"]
            return
        if channel in channels.PRIVATE:
            assert key_name is not None
            if channel == "user":
                self._listen_to_orders(client, key_name, product_ids)
            client.subscriptions[channel] = [user_uuid(key_name)]
            self._private_snapshot(client, channel, key_name, product_ids)
            return
        listed = client.subscriptions.setdefault(channel, [])
        listed += [p for p in dict.fromkeys(product_ids) if p not in listed]
        if channel == "ticker":
            self.on_ticker_subscription()  # before indexing: what is due now is in the snapshot
            self._index(client)
        self._snapshot(client, channel, product_ids)

    def _unsubscribe(self, client: Client, channel: str, product_ids: list[str]) -> None:
        left = [p for p in client.subscriptions.get(channel, ()) if product_ids and p not in product_ids]
        if left and channel not in channels.PRIVATE and channel != "heartbeats":
            client.subscriptions[channel] = left
        else:
            client.subscriptions.pop(channel, None)
        if channel == "ticker":
            self._index(client)

    def _acknowledge(self, client: Client) -> None:
        # Cumulative, whatever was asked for just now.
        self._send(client, "subscriptions", orjson.dumps({"subscriptions": client.subscriptions}))

    def _index(self, client: Client) -> None:
        self.forget(client)
        for product_id in client.wants("ticker"):
            self._tickers.setdefault(product_id, []).append(client)

    def forget(self, client: Client) -> None:
        """Take a client out of the index."""
        for product_id in [p for p, clients in self._tickers.items() if client in clients]:
            self._tickers[product_id].remove(client)
            if not self._tickers[product_id]:
                del self._tickers[product_id]

    # Snapshots

    def _snapshot(self, client: Client, channel: str, product_ids: list[str]) -> None:
        wanted = channels.known(self._market, product_ids)
        match channel:
            case "ticker":
                self._ticker_snapshot(client, wanted)
            case "status":
                self._send(client, channel, self._all_products("snapshot"))
            case "ticker_batch":
                self._batch(client, wanted, "snapshot")
            case "candles":
                self._candle_update(client, "snapshot", wanted)
            case "market_trades":
                self._trade_update(client, "snapshot", wanted)

    def _private_snapshot(self, client: Client, channel: str, key_name: str, product_ids: list[str]) -> None:
        if channel == "futures_balance_summary":
            self._send(client, channel, channels.futures_event())
            return
        for event in self._orders.snapshot(key_name, product_ids):
            self._send(client, channel, event)

    def _listen_to_orders(self, client: Client, key_name: str, product_ids: list[str]) -> None:
        # As on other channels a second subscribe adds to the first; no products at all means every product.
        goes_on = "user" in client.subscriptions and client.user_key == key_name
        has_all = not product_ids or (goes_on and not client.user_products)
        added = client.user_products.union(product_ids) if goes_on else frozenset(product_ids)
        client.user_key, client.user_products = key_name, frozenset() if has_all else added

    def tell_orders(self, updates: Iterable[Update], clients: Collection[Client]) -> None:
        """Hand changes of orders to those who listen to them."""
        for update in updates:
            for client in clients:
                if not client.hears_of(update.key_name, update.product_ids):
                    continue
                if update.is_lost:
                    client.sequence += 1
                else:
                    self._send(client, "user", update.event)

    def _ticker_snapshot(self, client: Client, wanted: list[str]) -> None:
        # One message for all that are stamped alike. Whether the real one sends one per product is not known;
        # a random market gives the one form, a recording the other.
        by_stamp: dict[bytes | None, list[str]] = {}
        for product_id in wanted:
            by_stamp.setdefault(self._market.timestamp(product_id), []).append(product_id)
        for stamp, product_ids in by_stamp.items():
            shown = [p for p in product_ids if p not in client.muted]
            bodies = [body for p in shown if (body := self._market.latest_json(p)) is not None]
            if bodies:
                self._send(client, "ticker", channels.event("snapshot", "tickers", bodies), stamp)

    # Updates

    def now_stamp(self) -> bytes:
        """Return the time, as envelopes carry it."""
        return self._stamper.stamp(self._clock_ns())

    def publish(self, product_id: str, stamp: bytes) -> None:
        """Hand the newest ticker of a product to its subscribers (the fast path: once per tick)."""
        clients = self._tickers.get(product_id)
        if not clients:
            return
        body = self._market.latest_json(product_id)
        assert body is not None
        before, after = self._before_ticker, _HEAD + body + _TAIL
        for client in clients:
            client.send(before, stamp, after, product_id)

    def trade(self, product_id: str) -> None:
        """Note the trade behind the newest ticker of a product, and publish that ticker."""
        deal = self._market.last_deal(product_id)
        if deal is not None:
            self._tape.record(product_id, deal, self._true_ns())
        self.publish(product_id, self.now_stamp())

    def _sample_trades(self) -> None:
        # A saturated market trades more often than a tape could note; the newest trade stands for all.
        for product_id in self._market.products:
            body, deal = self._market.latest_json(product_id), self._market.last_deal(product_id)
            if deal is not None and body is not self._sampled.get(product_id):
                self._sampled[product_id] = body
                self._tape.record(product_id, deal, self._true_ns())

    def tell_status(self, product_id: str, clients: Iterable[Client]) -> None:
        """Tell at once that the status of a product has changed."""
        for client in clients:
            if "status" in client.subscriptions:
                self._send(client, "status", channels.status_event(self._catalogue, "update", [product_id]))

    def _all_products(self, kind: str) -> bytes:
        return channels.status_event(self._catalogue, kind, self._catalogue.ids())

    def publish_recorded(self, line: Recorded) -> None:
        """Hand a recorded frame to its subscribers, each its products, with the recorded time."""
        stamp = line.timestamp.encode()
        for product_id, ticker in line.tickers:
            deal = deal_of(ticker)
            if deal is not None:
                self._tape.record(product_id, deal, self._true_ns())
            after = frames.after_sequence(channels.event("update", "tickers", [orjson.dumps(ticker)]))
            for client in self._tickers.get(product_id, ()):
                client.send(self._before_ticker, stamp, after, product_id)

    def on_clock(self, now_s: float, clients: list[Client]) -> None:
        """Send what is due by time. Call it often."""
        heartbeat_due = self._is_due("heartbeats", now_s, self._settings.heartbeat_s)
        batch_due = self._is_due("ticker_batch", now_s, self._settings.batch_s)
        candles_due = self._is_due("candles", now_s, _CANDLES_EVERY_S)
        trades_due = self._is_due("market_trades", now_s, _TRADES_EVERY_S)
        status_due = self._is_due("status", now_s, self._settings.status_s)
        if self._is_saturated and trades_due:
            self._sample_trades()
        for client in clients:
            subscribed = client.subscriptions
            if heartbeat_due and "heartbeats" in subscribed:
                self._beat(client)
            if batch_due and "ticker_batch" in subscribed:
                self._batch(client, channels.known(self._market, client.wants("ticker_batch")), "update")
            if candles_due and "candles" in subscribed:
                wanted = channels.known(self._market, client.wants("candles"))
                self._candle_update(client, "update", wanted)
            if status_due and "status" in subscribed:
                self._send(client, "status", self._all_products("update"))
            if trades_due and "market_trades" in subscribed:
                wanted = channels.known(self._market, client.wants("market_trades"))
                self._trade_update(client, "update", wanted)

    def _is_due(self, what: str, now_s: float, every_s: float) -> bool:
        due_s = self._due_s.setdefault(what, now_s + every_s)
        if now_s < due_s:
            return False
        # After a freeze, one is sent and not one for each that was missed.
        self._due_s[what] = due_s + every_s if due_s + every_s > now_s else now_s + every_s
        return True

    def _beat(self, client: Client) -> None:
        text = frames.go_time(self._clock_ns(), self._uptime_ns())
        event = b'{"current_time":"%b","heartbeat_counter":%d}' % (text.encode(), client.heartbeat_counter)
        if self._send(client, "heartbeats", event):
            client.heartbeat_counter += 1  # only what was sent: a stall is a stall of the whole feed

    def _batch(self, client: Client, product_ids: list[str], kind: str) -> None:
        changed: list[bytes] = []
        for product_id in product_ids:
            ticker = self._market.latest(product_id)
            assert ticker is not None
            price = ticker.get("price", "").encode()
            unseen = kind == "snapshot" or client.seen.get(("ticker_batch", product_id)) != price
            if unseen and product_id not in client.muted:
                client.seen["ticker_batch", product_id] = price
                changed.append(channels.batch_ticker(ticker))
        if changed:
            self._send(client, "ticker_batch", channels.event(kind, "tickers", changed))

    def _candle_update(self, client: Client, kind: str, product_ids: list[str]) -> None:
        items: list[bytes] = []
        for product_id in product_ids:
            if product_id in client.muted:
                continue
            seen = client.seen.get(("candles", product_id))
            if kind == "snapshot":
                found = channels.candles_snapshot(self._tape, product_id, self._settings.candles_snapshot)
            else:
                found = channels.candles_update(self._tape, product_id, seen)
            if found:
                client.seen["candles", product_id] = found[0]
                items += found
        if items:
            self._send(client, "candles", channels.event(kind, "candles", items))

    def _trade_update(self, client: Client, kind: str, product_ids: list[str]) -> None:
        items: list[bytes] = []
        for product_id in product_ids:
            if product_id in client.muted:
                continue
            if kind == "snapshot":
                found = self._tape.trades(product_id, self._settings.trades_snapshot)
            else:
                last = int(client.seen.get(("market_trades", product_id), b"0"))
                found = self._tape.trades_after(product_id, last)
            if found:
                client.seen["market_trades", product_id] = b"%d" % found[0].number
                items += channels.trades(product_id, found, self._stamper)
        if items:
            self._send(client, "market_trades", channels.event(kind, "trades", items))

    def _uptime_ns(self) -> int:
        return time.monotonic_ns() - self._booted_ns

    def _send(self, client: Client, channel: str, event: bytes, stamp: bytes | None = None) -> bool:
        about = None if channel in ("subscriptions", "heartbeats") else ""
        stamp = stamp or self._stamper.stamp(self._clock_ns())
        return client.send(self._before[channel], stamp, frames.after_sequence(event), about)
