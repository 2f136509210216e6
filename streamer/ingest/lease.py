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
        data_lost: Whether Redis turned out to have lost the epoch counter, and so everything, when we last asked.
    """

    def __init__(self, store: Store, keys: Keys, shard: str, *, name: str, ttl_s: float) -> None:
        self._hold = Script(store, "hold_lease")
        self._release = Script(store, "release_lease")
        self._keys = [keys.lease(shard), keys.epoch(shard)]
        self._name, self._ttl_s = name, ttl_s
        self._held_until = 0.0
        self._last_epoch = 0
        self.epoch = 0
        self.owner: str | None = None
        self.data_lost = False

    async def hold(self, now: float) -> bool:
        """Take or renew the lease; `now` is a monotonic time taken before the call.

        Returns:
            Whether we own the shard under another epoch than before: then everything must be written again.

        Raises:
            StoreUnavailable: Redis does not answer; we own the shard until the lease would have run out.
        """
        reply = await self._hold(list(self._keys), [self._name, int(self._ttl_s * 1000), self._last_epoch])
        epoch, self.owner, self.data_lost = int(reply[0]), reply[1].decode(), bool(reply[2])
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

    @property
    def was_ours(self) -> bool:
        """Whether we owned the shard when we last asked; that may have been a while ago where Redis is away."""
        return self.owner == self._name

    def lost(self, found: int) -> None:
        """Step down: a write was refused because epoch `found` is newer. The next epoch of ours is above it."""
        self.epoch = 0
        self._last_epoch = max(self._last_epoch, found)

    async def release(self) -> None:
        """Give the shard up so that a standby need not wait; it stays ours where someone else holds it."""
        if self.epoch:
            await self._release([self._keys[0]], [self._name])
            self.epoch = 0
