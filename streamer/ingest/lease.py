"""Ownership of a shard with fencing: at most one ingester writes, and a paused old owner cannot overwrite."""

from __future__ import annotations

from streamer.store.connect import Script, Store
from streamer.store.keys import Keys

_MARGIN = 0.2
"""Part of the lease after which its holder stops by its own clock, before Redis would say so."""


class Lease:
    """One ingester's claim on a shard. Call `hold` a few times in each `ttl_s`.

    Attributes:
        epoch: The fencing epoch while we own the shard, else 0. Every write carries it; scripts refuse lower ones.
        owner: Who owned the shard when we last asked.
    """

    def __init__(self, store: Store, keys: Keys, shard: str, *, name: str, ttl_s: float) -> None:
        self._hold = Script(store, "hold_lease")
        self._keys = [keys.lease(shard), keys.epoch(shard)]
        self._store, self._name, self._ttl_s = store, name, ttl_s
        self._held_until = 0.0
        self._last_epoch = 0
        self.epoch = 0
        self.owner: str | None = None

    async def hold(self, now: float) -> bool:
        """Take or renew the lease; `now` is a monotonic time taken before the call.

        Returns:
            Whether we own the shard under another epoch than before: then everything must be written again.

        Raises:
            StoreUnavailable: Redis does not answer; we own the shard until the lease would have run out.
        """
        reply = await self._hold(list(self._keys), [self._name, int(self._ttl_s * 1000), self._last_epoch])
        epoch, self.owner = int(reply[0]), reply[1].decode()
        before, self.epoch = self.epoch, epoch
        if epoch:
            self._held_until = now + self._ttl_s * (1 - _MARGIN)
            self._last_epoch = epoch
        return epoch not in (0, before)

    def is_ours(self, now: float) -> bool:
        """Whether we may write. A process that was frozen finds its lease run out by its own clock."""
        if self.epoch and now >= self._held_until:
            self.epoch = 0
        return self.epoch != 0

    def lost(self) -> None:
        """Step down: a write was refused because a newer owner exists."""
        self.epoch = 0

    async def release(self) -> None:
        """Give the shard up so that a standby need not wait; it stays ours where someone else holds it."""
        if self.epoch:
            key = self._keys[0]
            held = await self._store.answer(self._store.client.get(key))
            if held in (self._name, self._name.encode()):
                await self._store.answer(self._store.client.delete(key))
            self.epoch = 0
