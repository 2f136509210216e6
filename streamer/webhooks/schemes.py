"""Which scheme a provider's deliveries come by, and the keys of those that are let in. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from streamer.webhooks import coingecko, hook0, standard, tradingview
from streamer.webhooks.delivery import Delivery, Posted

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
_MOST_KEYS: Final = 4
_NOT_MARKET_DATA: Final = frozenset({"binance-pay", "coinbase-commerce"})
"""Payments, by schemes of their own that are not here; nobody may believe that they are let in by another."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How deliveries are proved.

    Attributes:
        key: Returns the bytes that a secret stands for; a ValueError says the rule that it breaks, not the secret.
        verify: Returns a delivery that is proved and of now, or raises `Refused`.
    """

    name: str
    key: Callable[[str], bytes]
    verify: Callable[[Posted, Sequence[bytes], float], Delivery]


STANDARD: Final = Scheme("standard", standard.key, standard.verify)
OF_PROVIDER: Final[Mapping[str, Scheme]] = MappingProxyType(
    {
        "coingecko": Scheme("coingecko", coingecko.key, coingecko.verify),
        "coinbase": Scheme("hook0", hook0.key, hook0.verify),
        "tradingview": Scheme("tradingview", tradingview.key, tradingview.verify),
    }
)
"""Providers with schemes of their own; every other sends by Standard Webhooks."""


@dataclass(frozen=True, slots=True)
class Sender:
    """A provider that is let in.

    Attributes:
        keys: Any of them will do: while a secret is changed there are two.
    """

    provider: str
    scheme: Scheme
    keys: tuple[bytes, ...] = field(repr=False)

    def verify(self, posted: Posted, now_s: float) -> Delivery:
        """Return what was delivered.

        Raises:
            Refused: It is not taken.
        """
        return self.scheme.verify(posted, self.keys, now_s)


def parse_secrets(text: str) -> dict[str, Sender]:
    """Return who is let in, by provider: "binance:whsec_…,coingecko:whsec_…"; named again with a second secret.

    Raises:
        ValueError: An entry breaks a rule; says which one by its place, since any part of it could be the secret.
    """
    senders: dict[str, Sender] = {}
    for number, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), 1):
        provider, found, secret = (part.strip() for part in entry.partition(":"))
        if not found or not _NAME.fullmatch(provider):
            raise ValueError(f"entry {number}: expected provider:secret, such as binance:whsec_...")
        if provider in _NOT_MARKET_DATA:
            raise ValueError(f"entry {number}: there is no scheme for that provider")
        scheme = OF_PROVIDER.get(provider, STANDARD)
        try:
            key = scheme.key(secret)
        except ValueError as exc:
            raise ValueError(f"entry {number}: {exc}") from None
        held = senders[provider].keys if provider in senders else ()
        if key in held or len(held) == _MOST_KEYS:
            raise ValueError(f"entry {number}: expected at most {_MOST_KEYS} secrets a provider, each another")
        senders[provider] = Sender(provider, scheme, (*held, key))
    return senders
