"""Who goes through the coordinated calls: switches in Redis that take effect within seconds, without a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from streamer.errors import ConfigError
from streamer.store.connect import Store
from streamer.store.keys import Keys

USE: Final = "USE_COORDINATED_API_CALLS"
BOTS: Final = "COORDINATED_BOT_IDS"
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
_LONGEST_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class Flags:
    """Which callers are coordinated; everybody else goes straight to the exchange, as before.

    Attributes:
        use: Whether anybody is; the switch to roll all of it back.
        bots: The callers that are.
        share: Part of the other callers that are, 0 to 1; which ones stays the same. None where no part is named:
            then nobody else is, or all are where no caller is named either.
    """

    use: bool = True
    bots: frozenset[str] = frozenset()
    share: float | None = None

    @property
    def is_partial(self) -> bool:
        """Whether callers are being moved over: some are coordinated, and others may not be."""
        return self.use and (bool(self.bots) or self.share is not None)

    def covers(self, caller: str) -> bool:
        """Whether a caller is coordinated."""
        if not self.use:
            return False
        if self.share is None:
            return not self.bots or caller in self.bots
        return caller in self.bots or _place_of(caller) < self.share

    def as_texts(self) -> dict[str, str]:
        """Return the flags as they are written down."""
        share = [] if self.share is None else [f"{100 * self.share:g}%"]
        return {USE: "true" if self.use else "false", BOTS: ",".join(sorted(self.bots) + share)}


def _place_of(caller: str) -> float:
    """Where a caller stands between 0 and 1: the same in every process, and evenly spread."""
    return int.from_bytes(blake2b(caller.encode(), digest_size=8).digest()) / 2**64


def parse_flags(texts: Mapping[str, str], fallback: Flags | None = None) -> Flags:
    """Return flags as written: `USE_COORDINATED_API_CALLS` true or false, `COORDINATED_BOT_IDS` "bot-1,bot-7,25%".

    "all", or nothing, is everybody; "0%" is nobody but who is named.

    Args:
        fallback: Holds for what is not given.

    Raises:
        ConfigError: A value breaks a rule.
    """
    given = fallback or Flags()
    use, bots, share = given.use, given.bots, given.share
    if USE in texts:
        word = texts[USE].strip().lower()
        if word not in _TRUE | _FALSE:
            raise ConfigError(USE, texts[USE], "expected true or false")
        use = word in _TRUE
    if BOTS in texts:
        names: set[str] = set()
        parts: list[float] = []
        for text in filter(None, (part.strip() for part in texts[BOTS].split(","))):
            if text.endswith("%"):
                parts.append(_part(text))
            elif len(text) > _LONGEST_NAME or "%" in text:
                raise ConfigError(BOTS, text, f"expected names of at most {_LONGEST_NAME} characters, without %")
            else:
                names.add(text)
        bots, share = frozenset(names - {"all"}), max(parts, default=None)
        if "all" in names:
            bots, share = frozenset(), None
    return Flags(use, bots, share)


def _part(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(BOTS, text, "expected a percentage from 0% to 100%")
    return share


class FlagStore:
    """Reads and changes the flags. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, store: Store, keys: Keys, fallback: Flags) -> None:
        self._store, self._key, self._fallback = store, keys.flags, fallback

    async def read(self) -> Flags:
        """Return the flags in force: those in Redis, else those of the environment."""
        raw: Any = await self._store.answer(self._store.client.hgetall(self._key))
        return flags_of(raw, self._fallback)

    async def change(self, **texts: str) -> Flags:
        """Set flags by their names, leave the others as they are; return those in force from now on.

        Raises:
            ConfigError: A value breaks a rule; then nothing is changed.
        """
        changed = parse_flags(texts, await self.read())
        chosen: dict[Any, Any] = {name: text for name, text in changed.as_texts().items() if name in texts}
        if chosen:
            await self._store.answer(self._store.client.hset(self._key, mapping=chosen))
        return changed

    async def reset(self) -> Flags:
        """Forget what was set in Redis: the environment's flags are in force again."""
        await self._store.answer(self._store.client.delete(self._key))
        return self._fallback


def flags_of(raw: Mapping[bytes, bytes], fallback: Flags) -> Flags:
    """Return the flags that a hash of Redis holds; what somebody else has written there is passed over."""
    texts = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in raw.items()}
    flags = fallback
    for name in (USE, BOTS):
        if name in texts:
            try:
                flags = parse_flags({name: texts[name]}, flags)
            except ConfigError:
                continue
    return flags
