"""How the simulated providers are asked without a server, and the recorded answers they are held to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from streamer.simulator.providers.fake import Fake
from streamer.simulator.providers.wire import Reply

SAMPLES = Path(__file__).parents[3] / "data" / "providers"
NOW_S = datetime(2026, 11, 20, 15, 0, 7, 123_000, UTC).timestamp()
"""The moment all samples share: a Friday, and New York's exchanges are open."""
ORIGIN = "http://127.0.0.1:8099"
HOSTS = {
    "fapi.binance.com": "binance",
    "api.massive.com": "polygon",
    "api.coingecko.com": "coingecko",
    "pro-api.coingecko.com": "coingecko",
    "pro-api.coinmarketcap.com": "coinmarketcap",
    "www.alphavantage.co": "alphavantage",
    "eodhd.com": "eodhd",
}


def sample(provider: str, name: str) -> dict[str, Any]:
    """Return a sample: what was asked, and what came back."""
    found: dict[str, Any] = json.loads((SAMPLES / provider / f"{name}.json").read_text())
    return found


def ask(
    fake: Fake,
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    now_s: float = NOW_S,
    address: str = "10.0.0.1",
) -> Reply:
    """Ask for "/binance/fapi/v1/ping", or for a URL of the real provider; fail if there is no answer."""
    parts = urlsplit(url)
    path = f"/{HOSTS[parts.netloc]}{parts.path}" if parts.netloc in HOSTS else parts.path
    given = {name.lower(): value for name, value in (headers or {}).items()}
    params = dict(parse_qsl(parts.query, keep_blank_values=True))
    visit = fake.arrived(path, params, given, ORIGIN, address, now_s)
    assert visit is not None and not visit.is_cut
    reply = fake.answer(visit)
    fake.left(visit, reply.status)
    return reply


def body(fake: Fake, url: str, headers: Mapping[str, str] | None = None, *, now_s: float = NOW_S) -> Any:
    """Return the parsed body of a good answer."""
    reply = ask(fake, url, headers, now_s=now_s)
    assert reply.status == 200, reply
    return json.loads(reply.body)


def unlimited(plan: str = "paid") -> Fake:
    """Return providers without limits."""
    fake = Fake(plan=plan)
    fake.command({"limits": "off"}, NOW_S)
    return fake
