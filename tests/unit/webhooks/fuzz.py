"""Deliveries as an attacker, a proxy or a broken sender would make them, of every scheme, from one seed each.

What is taken must be what a holder of the secret has signed: the same id, time, kind and content, to the byte.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final

from streamer.webhooks.delivery import Delivery, Refused
from streamer.webhooks.prices import price_of
from streamer.webhooks.tradingview import ADDRESSES
from tests.unit.webhooks.rig import BODIES, NOW_S, SECRETS, Signed, sender_of, signed

ID_LETTERS: Final = "abcXYZ019_.:-"
_BYTES: Final = (
    b"{",
    b"}",
    b'"',
    b".",
    b":",
    b",",
    b" ",
    b"\x00",
    b"\xff",
    b"\\u0000",
    b"1",
    b"1795186807",
    b"v1,",
    b"[",
)
_TEXTS: Final = (
    "",
    ".",
    ":",
    ",",
    " ",
    "v1",
    "v1,",
    "=",
    "t=",
    "v0=",
    "h=",
    "\x00",
    "\xff",
    "{",
    "0",
    "1795186807",
    "9" * 30,
)
_PROOF: Final = frozenset(
    {"webhook-id", "webhook-timestamp", "webhook-signature", "x-hook0-signature", "x-event-id"}
)
_NAMES: Final = sorted(
    _PROOF | {"x-event-type", "x-cg-timestamp", "x-cg-event-id", "x-cg-signature", "content-type"}
)


class Fuzz:
    """Plays cases of one provider and judges each.

    Attributes:
        outcomes: How many cases were taken, and refused for which reason.
        wrong: Cases that were taken without having been signed, in words. Must stay empty.
    """

    def __init__(self, provider: str) -> None:
        self.provider, self._sender = provider, sender_of(provider)
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    def play(self, random: Random) -> None:
        """Make one case and have it judged; any error but a refusal passes through."""
        how: Callable[[Random, Signed], Signed] = random.choice((_noise, _changed, _changed, _recut, _unchanged))
        true = _true(self.provider, random)
        sent = how(random, true)
        remote = random.choice(sorted(ADDRESSES)) if random.random() < 0.95 else "192.0.2.1"
        try:
            delivery = self._sender.verify(sent.posted(remote), NOW_S)
            price_of(delivery, NOW_S)
        except Refused as exc:
            self.outcomes[exc.reason] += 1
            return
        self.outcomes["taken"] += 1
        if not self._is_signed(delivery, true):
            self.wrong.append(f"{self.provider}: {how.__name__} {sent!r} of {true!r}")

    def _is_signed(self, delivery: Delivery, true: Signed) -> bool:
        """Whether a delivery is the one that was signed; of alerts only the token proves anything."""
        if self.provider == "tradingview":
            return SECRETS["tradingview"].encode() in true.body
        headers = dict(true.headers)
        id_ = next(headers[name] for name in ("webhook-id", "x-cg-event-id", "x-event-id") if name in headers)
        kind = headers.get("x-event-type", delivery.type)
        is_of_then = any(str(delivery.timestamp_s) in value for value in headers.values())
        return is_of_then and (delivery.id, delivery.type, delivery.payload) == (id_, kind, true.body)


def _true(provider: str, random: Random) -> Signed:
    """Return what a holder of the secret signs: mostly an event, sometimes any other JSON, or none."""
    body: Any = json.dumps(BODIES[provider] | {"more": _value(random, 0)}, ensure_ascii=random.random() < 0.5)
    if random.random() < 0.2:
        body = json.dumps(_value(random, 0))
    elif random.random() < 0.1:
        body = _text(random)
    how: dict[str, Any] = {"body": body.encode("utf-8", "replace")}
    if random.random() < 0.5:
        # Ids of Hook0 are UUIDs: with points in them its text could be cut in two ways, and is refused as it is.
        letters = ID_LETTERS.replace(".", "") if provider == "coinbase" else ID_LETTERS
        how["id_"] = "".join(random.choices(letters, k=random.randint(1, 20)))
    if random.random() < 0.2:
        how["at_s"] = NOW_S + random.choice((-301, -300, -1, 1, 300, 301, 10**10))
    if provider == "coinbase" and random.random() < 0.5:
        how["kind"] = "".join(random.choices(ID_LETTERS, k=random.randint(1, 20)))
    return signed(provider, **how)


def _unchanged(random: Random, true: Signed) -> Signed:
    return true


def _noise(random: Random, true: Signed) -> Signed:
    """Nothing of the signed one but the names of its headers."""
    headers = [(name, _text(random)) for name in random.choices(_NAMES, k=random.randint(0, 6))]
    return Signed(tuple(headers), random.randbytes(random.randint(0, 60)))


def _changed(random: Random, true: Signed) -> Signed:
    """One to three changes anywhere: a letter, a header that is missing, repeated or has the value of another."""
    headers, body = list(true.headers), true.body
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(headers) + 1)
        if place == len(headers) or random.random() < 0.3:
            body = _cut(random, body, random.choice(_BYTES))
        elif (kind := random.random()) < 0.6:
            name, value = headers[place]
            headers[place] = name, _cut(random, value, random.choice(_TEXTS))
        elif kind < 0.7:
            headers.append(headers[place])
        elif kind < 0.8:
            headers[place] = headers[place][0], random.choice(headers)[1]
        elif len(headers) > 1:
            del headers[place]
    return Signed(tuple(headers), body)


def _recut(random: Random, true: Signed) -> Signed:
    """Cut the signed text into other parts: other ids, times and bodies under a signature that may still hold."""
    is_covered = any(name == "x-event-id" for name, _ in true.headers)
    places = [
        place
        for place, (name, _) in enumerate(true.headers)
        if "signature" not in name and (is_covered or name != "content-type")
    ]
    mark = random.choice((b".", b".", b":"))
    text = mark.join([*(true.headers[place][1].encode("latin-1") for place in places), true.body])
    borders = [at for at, byte in enumerate(text) if byte == mark[0]]
    chosen = sorted(random.sample(borders, len(places)))
    starts = [0, *(at + 1 for at in chosen)]
    pieces = [text[start:end] for start, end in zip(starts, [*chosen, len(text)], strict=True)]
    headers = list(true.headers)
    for place, piece in zip(places, pieces[:-1], strict=True):
        headers[place] = headers[place][0], piece.decode("latin-1")
    return Signed(tuple(headers), pieces[-1])


def _cut(random: Random, text: Any, more: Any) -> Any:
    """Replace, insert or drop something in a text or in bytes."""
    start = random.randint(0, len(text))
    end = start + random.choice((0, 0, 1, 1, 1, 5, len(text)))
    if random.random() < 0.3:
        more = more[:0]
    return text[:start] + more + text[end:]


def _text(random: Random) -> str:
    """Return letters as they can be in a header."""
    return "".join(chr(random.randrange(256)) for _ in range(random.randint(0, 40)))


def _value(random: Random, depth: int) -> Any:
    """Return any JSON."""
    kind = random.randrange(7 if depth < 3 else 5)
    if kind == 5:
        return [_value(random, depth + 1) for _ in range(random.randrange(4))]
    if kind == 6:
        return {_text(random): _value(random, depth + 1) for _ in range(random.randrange(4))}
    return (
        None,
        True,
        random.randrange(-(10**30), 10**30),
        random.random() * 10 ** random.randrange(-20, 20),
        _text(random),
    )[kind]
