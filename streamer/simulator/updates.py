"""What the exchange says on the `user` channel, and what of it is hushed up, lost or said again. Pure."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, replace

_MAX_SENT = 10_000


@dataclass(frozen=True, slots=True)
class Update:
    """What the `user` channel says about one order.

    Attributes:
        key_name: Whose connections get it.
        product_ids: Ids a subscription's filter may know the order by.
        event: The event, JSON source.
        is_lost: It takes a sequence number and is not sent.
    """

    key_name: str
    product_ids: frozenset[str]
    event: bytes
    is_lost: bool = False


class Outbox:
    """Updates on their way out.

    Args:
        seed: Makes shuffles repeatable; None for any.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.is_hushed = False
        """What happens is told to nobody: no update, no sequence number."""
        self.to_lose = 0
        """So many of the next updates take a sequence number and are not sent."""
        self._random = random.Random(seed)
        self._waiting: list[Update] = []
        self._told: dict[str, deque[Update]] = {}

    def tell(self, update: Update) -> None:
        """Let an update out, unless hushed, and remember it for `replay`."""
        if not self.is_hushed:
            self._told.setdefault(update.key_name, deque(maxlen=_MAX_SENT)).append(update)
            self._let_out(update)

    def replay(self, key_name: str, n: int, *, is_shuffled: bool = False) -> int:
        """Let the last updates of a key out again, as new messages; return how many there were.

        Args:
            key_name: Whose.
            n: How many; fewer if there were fewer.
            is_shuffled: In an order that is not theirs, rather than in theirs.
        """
        again = list(self._told.get(key_name, ()))[-n:]
        if is_shuffled:
            before = list(again)
            self._random.shuffle(again)
            if again == before:
                again.reverse()
        if not self.is_hushed:
            for update in again:
                self._let_out(update)
        return len(again)

    def _let_out(self, update: Update) -> None:
        if self.to_lose:
            self.to_lose -= 1
            update = replace(update, is_lost=True)
        self._waiting.append(update)

    def heal(self) -> None:
        """Hush up and lose nothing more."""
        self.is_hushed, self.to_lose = False, 0

    def take(self) -> list[Update]:
        """Return what is to be sent, and forget it."""
        taken, self._waiting = self._waiting, []
        return taken
