"""A visitor of the exchange's REST made of plain `requests`, with tokens as the official SDK makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import requests
from coinbase import jwt_generator

from streamer.simulator.account import Bank
from streamer.simulator.exchange_ws import ExchangeServer
from streamer.simulator.faults import parse_command
from streamer.simulator.keys import load_public_key, make_key_file
from streamer.simulator.market import RandomWalkMarket
from streamer.simulator.settings import ExchangeSettings
from tests.integration.simulator.helpers import read_key

PREFIX = "/api/v3/brokerage"


class Visitor:
    """Asks one exchange, in threads of its own, so that the exchange's loop goes on."""

    def __init__(self, server: ExchangeServer, key: tuple[str, str], session: requests.Session) -> None:
        assert server.rest_url is not None
        self.server, self.url, self.key_name = server, server.rest_url, key[0]
        self._key, self._session = key, session

    def token(self, method: str, path: str) -> str:
        """A good token for one request."""
        uri = f"{method} {self.url.partition('//')[2]}{PREFIX}{path}"
        token: str = jwt_generator.build_rest_jwt(uri, *self._key)
        return token

    async def ask(
        self, path: str, method: str = "GET", *, token: str | None = "", timeout_s: float = 10, **params: Any
    ) -> requests.Response:
        """Send a request; with a good token unless another one, or None for none, is given."""
        token = self.token(method, path) if token == "" else token
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}

        def send() -> requests.Response:
            return self._session.request(
                method, f"{self.url}{PREFIX}{path}", params=params, headers=headers, timeout=timeout_s
            )

        return await asyncio.to_thread(send)

    async def get(self, path: str, **params: Any) -> Any:
        """Return the body of a good answer."""
        response = await self.ask(path, **params)
        assert response.status_code == 200, (response.status_code, response.text)
        return response.json()

    def tell(self, **command: Any) -> dict[str, Any]:
        """Give a command."""
        return self.server.command(parse_command(command))


@asynccontextmanager
async def visit(
    folder: Path,
    products: tuple[str, ...] = ("BTC-USD", "ETH-USD"),
    *,
    bank: Bank | None = None,
    **settings: Any,
) -> AsyncIterator[Visitor]:
    """A quiet exchange with one key, and a visitor who has it."""
    file = folder / "key.json"
    make_key_file(file)
    settings = {"ticks_per_s": 0.0, "private_per_s": None, "public_per_s": None, **settings}
    keys = dict([load_public_key(file)])
    market, behaviour = RandomWalkMarket(products), ExchangeSettings(**settings)
    async with ExchangeServer(market, behaviour, keys=keys, bank=bank) as server:
        with requests.Session() as session:
            session.trust_env = False  # no proxy, no CA bundle of the tester's
            yield Visitor(server, read_key(file), session)
