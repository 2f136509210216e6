"""How the simulated exchange behaves. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from streamer.errors import ConfigError
from streamer.simulator.faults import BODIES_OF_429

UNKNOWN_PRODUCTS = ("leave_out", "400", "404")
"""What may become of product ids that the exchange does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """How the exchange behaves. Times are the real one's; tests shorten them.

    Attributes:
        host: Address to listen on.
        port: Port of the market host, 0 for any free one.
        user_port: Port of the user host, 0 for any free one, None for no user host.
        rest_port: Port of REST, 0 for any free one, None for no REST.
        ticks_per_s: Ticks a second over all products; 0 for none, `math.inf` for as many as a core can.
        client_id: Whether envelopes carry `client_id` (captures do, the AsyncAPI file does not).
        subscribe_deadline_s: A connection without an accepted subscription is dropped after this long.
        idle_after_s: A connection without updates and heartbeats is dropped after this long.
        drop_code: Close code of those two drops; the real one is not known. 1000 is the hardest for clients.
        heartbeat_s: Time between heartbeats.
        batch_s: Time between `ticker_batch` updates.
        max_buffer_bytes: What may wait for a slow consumer.
        slow_consumer_s: How long a client may exceed that before it is closed.
        status_s: Time between updates of the `status` channel.
        candles_snapshot: Candles a product in the snapshot of the `candles` channel; the real number is not known.
        trades_snapshot: Trades a product in the snapshot of `market_trades`; the real number is about this.
        fill_candles: Whether REST sends flat candles for buckets without trades, rather than none.
        unknown_products: What `GET /products` does with ids in `product_ids` that it does not know: "leave_out", or
            refuse the whole with "400" or "404"; what the real one does is not known.
        rest_history: How many REST requests `{"query": "rest"}` lists, the newest.
        private_per_s: REST requests a second that a key may make; None for no limit.
        public_per_s: REST requests a second without a key, of an address; None for no limit.
        rate_headers: Whether REST answers carry `x-ratelimit-*`.
        body_of_429: Body of a 429 for a limit exceeded: "empty", "html", "json", or "rotate" for each in turn.
        retry_after_s: `Retry-After` of such a 429; None, as seen live, for none.
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
    rest_port: int | None = 0
    status_s: float = 5.0
    candles_snapshot: int = 100
    trades_snapshot: int = 100
    fill_candles: bool = False
    unknown_products: str = "leave_out"
    rest_history: int = 2000
    private_per_s: int | None = 30
    public_per_s: int | None = 10
    rate_headers: bool = True
    body_of_429: str = "rotate"
    retry_after_s: int | None = None

    def __post_init__(self) -> None:
        if not self.ticks_per_s >= 0:
            raise ConfigError("ticks_per_s", self.ticks_per_s, "must be 0 or more")
        positive = (
            *("subscribe_deadline_s", "idle_after_s", "heartbeat_s", "batch_s", "slow_consumer_s", "status_s"),
            *("candles_snapshot", "trades_snapshot", "private_per_s", "public_per_s", "rest_history"),
        )
        for name in positive:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(name, value, "must be positive")
        if self.unknown_products not in UNKNOWN_PRODUCTS:
            rule = f"must be one of {', '.join(UNKNOWN_PRODUCTS)}"
            raise ConfigError("unknown_products", self.unknown_products, rule)
        if self.body_of_429 not in BODIES_OF_429:
            raise ConfigError("body_of_429", self.body_of_429, f"must be one of {', '.join(BODIES_OF_429)}")
