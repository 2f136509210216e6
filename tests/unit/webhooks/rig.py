"""Senders of every scheme, written from their documentation and not from our code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from streamer.webhooks.delivery import Posted
from streamer.webhooks.schemes import OF_PROVIDER, STANDARD, Scheme, Sender
from streamer.webhooks.tradingview import ADDRESSES

NOW_S = 1_795_186_807
ID = "msg_2sampleBtcUsd0001"
SECRETS = {
    "binance": "whsec_" + base64.b64encode(bytes(range(32))).decode(),
    "coingecko": "whsec_ofAnEndpointOfCoinGecko",
    "coinbase": "0d6f7a52-of-a-subscription-0001",
    "tradingview": "a-token-for-alerts-0001",
}
"""One of each scheme; `binance` stands for all relays."""
OTHER_SECRETS = {
    "binance": "whsec_" + base64.b64encode(bytes(range(100, 132))).decode(),
    "coingecko": "whsec_ofAnotherEndpoint0002",
    "coinbase": "another-secret-of-a-subscription",
    "tradingview": "another-token-for-alerts",
}
PRICE = {"symbol": "BTC-USD", "price": "91320.01", "as_of": "2026-11-20T15:00:04.880Z", "source": "relay"}
BODIES: dict[str, dict[str, Any]] = {
    "binance": {"type": "price.updated", "timestamp": "2026-11-20T15:00:05Z", "data": PRICE},
    "coingecko": {"event_type": "cg.coin.price.moved", "data": {"id": "bitcoin", "price_usd": 91320.01}},
    "coinbase": {"eventType": "onchain.activity.detected", "data": {"network": "base-mainnet"}},
    "tradingview": {"symbol": "BINANCE:BTCUSDT", "interval": "5", "time": "2026-11-20T15:00:00Z", "close": "1"},
}


@dataclass(frozen=True, slots=True)
class Signed:
    """A request as a sender makes it."""

    headers: tuple[tuple[str, str], ...]
    body: bytes

    def posted(self, remote: str = min(ADDRESSES)) -> Posted:
        """Return it as it arrives, from where alerts come from."""
        return Posted(self.headers, self.body, remote)

    def changed(self, **headers: str | None) -> Signed:
        """Return it with headers set, or without those that are None; `_` stands for "-"."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = tuple(pair for pair in self.headers if pair[0] not in named)
        more = tuple((name, value) for name, value in named.items() if value is not None)
        return replace(self, headers=kept + more)


def standard(secret: str, body: bytes, at_s: object = NOW_S, id_: str = ID) -> Signed:
    """Sign as Standard Webhooks has it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{id_}.{at_s}.".encode("latin-1") + body, hashlib.sha256).digest()
    return Signed(
        (
            ("content-type", "application/json"),
            ("webhook-id", id_),
            ("webhook-timestamp", str(at_s)),
            ("webhook-signature", "v1," + base64.b64encode(digest).decode()),
        ),
        body,
    )


def coingecko(secret: str, body: bytes, at_s: object = NOW_S, id_: str = ID) -> Signed:
    """Sign as CoinGecko does."""
    digest = hmac.new(secret.encode(), f"{at_s}:{id_}:".encode("latin-1") + body, hashlib.sha256)
    return Signed(
        (
            ("content-type", "application/json"),
            ("x-cg-timestamp", str(at_s)),
            ("x-cg-event-id", id_),
            ("x-cg-signature", digest.hexdigest()),
        ),
        body,
    )


def hook0(
    secret: str,
    body: bytes,
    at_s: object = NOW_S,
    id_: str = ID,
    kind: str = "onchain.activity.detected",
    names: str = "content-type x-event-id x-event-type",
    **more: str,
) -> Signed:
    """Sign as Hook0 does for Coinbase's platform; `more` are further headers, `_` standing for "-"."""
    headers = {"content-type": "application/json", "x-event-id": id_, "x-event-type": kind}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    values = ".".join(headers[name] for name in names.split(" ") if name in headers)
    signed = f"{at_s}.{names}.{values}.".encode("latin-1") + body
    v1 = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return Signed((*headers.items(), ("x-hook0-signature", f"t={at_s},h={names},v1={v1}")), body)


def tradingview(secret: str, body: bytes, at_s: object = NOW_S, id_: str = ID) -> Signed:
    """Put the token into an alert; the id becomes its interval, so that ids tell alerts apart here too."""
    try:
        told = json.loads(body)
        body = json.dumps({"token": secret} | told | {"interval": id_}).encode()
    except (ValueError, TypeError, RecursionError):
        pass
    return Signed((("content-type", "application/json; charset=utf-8"),), body)


SIGNERS: dict[str, Callable[..., Signed]] = {
    "binance": standard,
    "coingecko": coingecko,
    "coinbase": hook0,
    "tradingview": tradingview,
}


def signed(provider: str, secret: str | None = None, **how: Any) -> Signed:
    """Return a delivery of a provider that is as it should be."""
    body = how.pop("body", json.dumps(BODIES[provider]).encode())
    return SIGNERS[provider](SECRETS[provider] if secret is None else secret, body, **how)


def scheme_of(provider: str) -> Scheme:
    """Return how a provider's deliveries are proved."""
    return OF_PROVIDER.get(provider, STANDARD)


def sender_of(provider: str, *secrets: str) -> Sender:
    """Return a provider that is let in, with the secret from above unless others are given."""
    scheme = scheme_of(provider)
    return Sender(provider, scheme, tuple(scheme.key(secret) for secret in secrets or (SECRETS[provider],)))
