"""How the simulated exchange behaves. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from streamer.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """How the exchange behaves. Times are the real one's; tests shorten them.

    Attributes:
        host: Address to listen on.
        port: Port of the market host, 0 for any free one.
        user_port: Port of the user host, 0 for any free one, None for no user host.
        ticks_per_s: Ticks a second over all products; 0 for none, `math.inf` for as many as a core can.
        client_id: Whether envelopes carry `client_id` (captures do, the AsyncAPI file does not).
        subscribe_deadline_s: A connection without an accepted subscription is dropped after this long.
        idle_after_s: A connection without updates and heartbeats is dropped after this long.
        drop_code: Close code of those two drops; the real one is not known. 1000 is the hardest for clients.
        heartbeat_s: Time between heartbeats.
        batch_s: Time between `ticker_batch` updates.
        max_buffer_bytes: What may wait for a slow consumer.
        slow_consumer_s: How long a client may exceed that before it is closed.
    """

    host: str = "127.0.0.1"
    port: int = 0
    user_port: int | None = 0
    ticks_per_s: float = 20.0
    client_id: bool = True
    subscribe_deadline_s: float = 5.0
    idle_after_s: float = 75.0
    drop_code: int = 1000
    heartbeat_s: float = 1.0
    batch_s: float = 5.0
    max_buffer_bytes: int = 8 << 20
    slow_consumer_s: float = 5.0

    def __post_init__(self) -> None:
        if not self.ticks_per_s >= 0:
            raise ConfigError("ticks_per_s", self.ticks_per_s, "must be 0 or more")
        for name in ("subscribe_deadline_s", "idle_after_s", "heartbeat_s", "batch_s", "slow_consumer_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "must be positive")
