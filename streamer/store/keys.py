"""Every Redis key name, its TTL and its limits: the one home of these facts. Pure.

The names are a contract that consumers in any language read; `docs/architecture.md` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamer.model import ProductId

TICKER_TTL_S = 60
"""Life of `ticker_realtime:<product>` after its last write; the sink renews it while the feed lives."""
PORTFOLIO_TTL_S = 300
"""Life of `portfolio_realtime:<currency>`, renewed likewise."""
CANDLES_TTL_S = 900
"""Life of `candles_realtime:<product>`, renewed likewise."""
PRODUCTS_TTL_S = 3600
"""Life of `products:all`."""
PRODUCTS_STALE_TTL_S = 24 * 3600
"""Life of its stale copy."""
STALE_TTL_S = 24 * 3600
"""Life of a stale shadow of a realtime hash."""
STATUS_TTL_S = 15
"""Life of `stream:status`; its absence means that no ingester reports."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Builds key names.

    Args:
        prefix: Goes before every key and channel (`STREAMER_KEY_PREFIX`).
        cluster: Wrap the part that must share a slot in braces, as Redis Cluster needs.
    """

    prefix: str = ""
    cluster: bool = False

    def _tagged(self, kind: str, tag: str) -> str:
        return f"{self.prefix}{kind}:{{{tag}}}" if self.cluster else f"{self.prefix}{kind}:{tag}"

    def ticker(self, product_id: ProductId) -> str:
        """The newest ticker of a product (hash)."""
        return self._tagged("ticker_realtime", product_id)

    def ticker_stale(self, product_id: ProductId) -> str:
        """Its stale shadow (hash, the same fields)."""
        return self.ticker(product_id) + ":stale"

    def balance(self, currency: str) -> str:
        """The newest balance of a currency (hash)."""
        return self._tagged("portfolio_realtime", currency)

    def balance_stale(self, currency: str) -> str:
        """Its stale shadow (hash, the same fields)."""
        return self.balance(currency) + ":stale"

    @property
    def currencies(self) -> str:
        """Currencies that have a balance hash (set)."""
        return f"{self.prefix}portfolio_realtime"

    def candles(self, product_id: ProductId) -> str:
        """The newest five-minute candles of a product (hash: bucket start to JSON)."""
        return self._tagged("candles_realtime", product_id)

    def candles_meta(self, product_id: ProductId) -> str:
        """Who wrote them, when, and from where on they are complete (hash)."""
        return self.candles(product_id) + ":meta"

    @property
    def products(self) -> str:
        """The facts of every product (JSON)."""
        return f"{self.prefix}products:all"

    @property
    def products_stale(self) -> str:
        """Their stale copy (JSON)."""
        return self.products + ":stale"

    @property
    def feeds(self) -> str:
        """Feed id to its proof of life (hash of JSON)."""
        return f"{self.prefix}stream:feeds"

    @property
    def wanted(self) -> str:
        """Product id to who wants it (hash of JSON)."""
        return f"{self.prefix}stream:wanted"

    @property
    def status(self) -> str:
        """What `stream-status` prints (JSON)."""
        return f"{self.prefix}stream:status"

    def lease(self, shard: str) -> str:
        """Who owns a shard of products (string with a TTL)."""
        return self._tagged("stream:lease", shard)

    def epoch(self, shard: str) -> str:
        """The newest fencing epoch of a shard (counter)."""
        return self._tagged("stream:epoch", shard)

    @property
    def ticker_updates(self) -> str:
        """Pub/sub channel: one MessagePack list of changed ticker records a flush."""
        return f"{self.prefix}stream:updates:ticker"

    @property
    def balance_updates(self) -> str:
        """Pub/sub channel: one MessagePack list of changed balance records a flush."""
        return f"{self.prefix}stream:updates:portfolio"
