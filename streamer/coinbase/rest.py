"""Coinbase's REST as a source: which request asks what, what it counts against, and how pages become one answer.

Every request goes through the gate by itself, signed anew each time it is sent. `rest_client.py` carries them,
`rest_answers.py` reads what comes back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from streamer.coinbase import rest_answers
from streamer.coinbase.auth import Signer
from streamer.coinbase.clock import ExchangeClock
from streamer.coinbase.rest_client import Client, in_thread, without_sense
from streamer.coinbase.transport import tls_context
from streamer.errors import ConfigError, RestError, RestUnauthorized, RestUnavailable
from streamer.model import Account, Bucket, Granularity, ProductId, Source
from streamer.providers.base import ANY, Budget, Call, CallCounts, Gate, OpenGate

_MAX_PAGES = 40
_PAGE = 250
"""Most accounts a page (List Accounts documentation, June 2026)."""
_MAX_CANDLES = 350
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

T = TypeVar("T")


class CoinbaseRest:
    """Asks Coinbase, or whatever `base_url` names.

    Public data is asked for without a token, also where there is a key: a bad key must not cost it.

    Args:
        base_url: https://host[:port]; http on loopback only (checked by the settings).
        signer: Signs private requests; without one only public data can be had.
        clock: Dates tokens, and learns from every answer.
        gate: What every request passes through; None lets all pass at once.
        ca_file: PEM file of certificates to trust beside the system's.

    Attributes:
        counts: Requests made so far.
        source: Coinbase, or the simulator once it has answered: it names itself, whatever the URL says.
        has_key: Whether what belongs to the account can be asked.
    """

    def __init__(
        self,
        base_url: str,
        *,
        signer: Signer | None,
        clock: ExchangeClock,
        gate: Gate | None = None,
        ca_file: str | None = None,
        source: Source = Source.COINBASE,
    ) -> None:
        self.counts, self.source, self.has_key = CallCounts(), source, signer is not None
        self._base_url, self._signer, self._clock = base_url, signer, clock
        self._gate: Gate = gate if gate is not None else OpenGate()
        # Once: reading all the system's certificates takes 60 ms, and calls are made from an event loop.
        self._tls = tls_context(base_url, ca_file)
        self._idle: list[Client] = []

    # -- what can be asked ---------------------------------------------------------------------------------------

    async def accounts(self, call: Call = ANY) -> list[Account]:
        """Return the wallets of the key's portfolio, all pages, one a currency.

        Raises:
            RestError: No usable answer; half an answer is none.
        """
        wallets = await self._wallets(call)
        try:
            return rest_answers.one_a_currency(wallets)
        except ValueError as exc:
            why = without_sense(exc)
        raise self._useless("accounts", why)

    async def candles(
        self, product_id: ProductId, granularity: Granularity, from_s: int, to_s: int, call: Call = ANY
    ) -> list[Bucket]:
        """Return the candles of a range, oldest first; none for buckets without trades.

        Raises:
            RestError: No usable answer; RestRefused with status 400 where the range is too long.
        """
        return await self._get(
            Budget.MARKET,
            "candles",
            call,
            f"/market/products/{product_id}/candles",
            lambda body: rest_answers.candles(body, product_id, granularity),
            start=str(from_s),
            end=str(to_s),
            granularity=granularity.value,
            limit=_MAX_CANDLES,
        )

    async def products(
        self, product_ids: Sequence[ProductId] = (), call: Call = ANY
    ) -> Sequence[Mapping[str, Any]]:
        """Return products as the exchange describes them: all, or those that are named.

        Raises:
            RestError: No usable answer; RestRefused where it refuses them all because it does not know one.
        """
        path, ids = "/market/products", list(product_ids) or None
        return await self._get(Budget.MARKET, "products", call, path, rest_answers.products, product_ids=ids)

    async def portfolio_breakdown(self, uuid: str, call: Call = ANY) -> Mapping[str, Any]:
        """Return the breakdown of a portfolio as the exchange describes it, every number as a `Decimal`.

        Raises:
            ConfigError: `uuid` is none; nothing was asked.
            RestError: No usable answer; RestRefused with status 404 where the key has no such portfolio.
        """
        if _UUID.fullmatch(uuid) is None:
            raise ConfigError("portfolio uuid", uuid, "expected hexadecimal digits in groups of 8-4-4-4-12")
        path = f"/portfolios/{uuid}"
        return await self._get(Budget.PRIVATE, "portfolio_breakdown", call, path, rest_answers.breakdown)

    # -- how it is asked -----------------------------------------------------------------------------------------

    async def _wallets(self, call: Call) -> list[rest_answers.Wallet]:
        """Return all pages, up to a cursor that repeats (ccxt issues 16944, 22780): there is no way on from there.

        Wallets behind it are not told of; nobody takes that for an empty wallet.
        """
        wallets: list[rest_answers.Wallet] = []
        cursor, seen = "", set[str]()
        for _ in range(_MAX_PAGES):
            asked = {"limit": _PAGE, "cursor": cursor or None}
            page = await self._get(
                Budget.PRIVATE, "accounts", call, "/accounts", rest_answers.accounts_page, **asked
            )
            wallets += page.accounts
            if not page.has_next:
                return wallets
            seen.add(cursor)
            cursor = page.cursor
            if cursor in seen:
                return wallets
        raise self._useless("accounts", f"more than {_MAX_PAGES} pages")

    def _useless(self, route: str, why: str) -> RestUnavailable:
        self.counts.failures += 1
        return RestUnavailable(route, why)

    async def _get(
        self, budget: Budget, route: str, call: Call, path: str, decode: Callable[[bytes], T], **params: Any
    ) -> T:
        """Ask one thing: one request, or several where the gate tries again."""

        def work(client: Client) -> T:
            return client.ask(path, decode, **params)

        return await self._gate.run(budget, route, call, lambda: self._send(route, work))

    async def _send(self, route: str, work: Callable[[Client], T]) -> T:
        """Make one request. The clock is asked and told here only, because the feeds do so from this thread."""
        client = self._idle.pop() if self._idle else self._client()
        now_s = time.time()
        client.start(route, ahead_s=self._clock.now(now_s) - now_s)
        self.counts.made(route, time.monotonic())
        try:
            answer = await in_thread(client, work)
        except RestError as exc:
            self.counts.failures += 1
            if isinstance(exc, RestUnauthorized):
                self._clock.forget()  # our idea of the exchange's time may be what it refused; the refusal is dated
            self._learn(client)
            raise
        self._learn(client)
        self._idle.append(client)
        return answer

    def _client(self) -> Client:
        return Client(self._base_url, self._signer, self._tls)

    def _learn(self, client: Client) -> None:
        for told, at in list(client.dates):  # whom nobody waits for any more may still add one
            self._clock.saw(told, at, resolution_s=1.0)
        if client.is_simulator:
            self.source = Source.SIMULATOR
