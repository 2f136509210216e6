"""Every Redis key name, its TTL and its limits: the one home of these facts. Pure.

The names are a contract that consumers in any language read; `docs/architecture.md` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from streamer.model import Granularity, ProductId

TICKER_TTL_S = 60
"""Life of `ticker_realtime:<product>` after its last write; the sink renews it while the feed lives."""
PORTFOLIO_TTL_S = 300
"""Life of `portfolio_realtime:<currency>`, renewed likewise."""
CANDLES_TTL_S = 900
"""Life of `candles_realtime:<product>`, renewed likewise."""
STALE_TTL_S = 24 * 3600
"""Life of a stale shadow of a realtime hash."""
STATUS_TTL_S = 15
"""Life of `stream:status`; its absence means that no ingester reports."""
WAY = "way"
"""Likewise, of requests of the compatible client: which way they went, and what was asked for."""
HIT, MISS, CALL, LIMITED, WAIT, WAITED_MS = "hit", "miss", "call", "429", "wait", "waited_ms"
REFRESH = "refresh"
"""The first word of the name of a counter of all processes; further words, after colons, say what of."""
WAIT_UP_TO = ("0.1", "0.5", "1.0", "2.5", "5.0", "10.0", "30.0", "60.0", "+Inf")
"""The last word of the name of a counter of waits: the least of these, in seconds, that the wait did not exceed."""


class Copy(NamedTuple):
    """Where an answer of REST is kept: twice, the second time for longer, for when nothing better is to be had.

    Attributes:
        ttl_s: For so long it counts as fresh.
        stale_ttl_s: Life of the stale copy.
    """

    key: str
    stale_key: str
    ttl_s: int
    stale_ttl_s: int


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

    # -- copies of REST answers: JSON `{"source", "fetched_ms", "value"}` ----------------------------------------

    def ticker_copy(self, product_id: ProductId) -> Copy:
        """The product as `GET /products` describes it."""
        return self._copy(self._tagged("ticker", product_id), 30, 300)

    def candles_copy(self, product_id: ProductId, granularity: Granularity, limit: int) -> Copy:
        """The newest `limit` candles of a product."""
        tagged = self._tagged("historical", product_id)
        return self._copy(f"{tagged}:{granularity.seconds}:{limit}", 300, 3600)

    @property
    def accounts_copy(self) -> Copy:
        """All accounts."""
        return self._copy(self._tagged("accounts", "global"), 120, 3600)

    def breakdown_copy(self, uuid: str) -> Copy:
        """The breakdown of a portfolio."""
        return self._copy(self._tagged("portfolio_breakdown", uuid), 30, 300)

    @property
    def products_copy(self) -> Copy:
        """The facts of every product."""
        return self._copy(self._tagged("products", "all"), 3600, 24 * 3600)

    def data_copy(self, provider: str, symbol: str, what: str) -> Copy:
        """What another provider said: `what` is "price", or an interval such as "1h", of a range with its ends."""
        return self._copy(self._tagged("data", f"{provider}:{symbol}:{what}"), 300, 24 * 3600)

    def score(self, provider: str, symbol: str) -> str:
        """What has been seen of a provider's answers about a symbol (JSON; see `quality.score.Observed`)."""
        return f"{self.prefix}quality:{provider}:{symbol}"

    @property
    def scores(self) -> str:
        """All that have such a score: "<provider> <symbol>" by when it last changed (sorted set)."""
        return f"{self.prefix}quality:all"

    def alert(self, provider: str, symbol: str, code: str) -> str:
        """There while an alert has just been raised, so that nobody raises it again (string)."""
        return f"{self.prefix}quality:alert:{provider}:{symbol}:{code}"

    def listing_copy(self, provider: str) -> Copy:
        """What a provider's own list of symbols has."""
        return self._copy(self._tagged("data", f"{provider}:listing"), 24 * 3600, 7 * 24 * 3600)

    @staticmethod
    def _copy(key: str, ttl_s: int, stale_ttl_s: int) -> Copy:
        return Copy(key, f"{key}:stale", ttl_s, stale_ttl_s)

    def parts_of(self, key: str) -> list[str]:
        """What the key of a copy is made of: the kind of data, then what tells it from others of its kind."""
        return key.removeprefix(self.prefix).replace("{", "").replace("}", "").split(":")

    # -- webhooks: in one slot, since one script writes them together ----------------------------------------------

    @property
    def webhook_events(self) -> str:
        """What was delivered (stream; see `webhooks/store.py`)."""
        return f"{self._webhooks}:events"

    def webhook_seen(self, provider: str, digest: str) -> str:
        """The digest of a delivery's content, under that of its id (string with a TTL): it has been taken."""
        return f"{self._webhooks}:seen:{provider}:{digest}"

    @property
    def webhook_updates(self) -> str:
        """Pub/sub channel: each delivery as it is stored, as JSON."""
        return f"{self._webhooks}:updates"

    @property
    def _webhooks(self) -> str:
        return f"{self.prefix}{{webhooks}}" if self.cluster else f"{self.prefix}webhooks"

    # -- the one REST caller --------------------------------------------------------------------------------------

    @property
    def hot(self) -> str:
        """Keys of the copies that are read, by when they were last read (sorted set; see `store/hot.py`)."""
        return self._tagged("gateway", "hot")

    def gateway(self, scope: str, part: str) -> str:
        """State that all callers of one exchange share; `scope` names the exchange. All in one slot."""
        return f"{self._tagged('gateway', scope)}:{part}"

    # -- counters of all processes --------------------------------------------------------------------------------

    def counters(self, length_s: int, start_s: int) -> str:
        """What all processes have counted in one stretch of time (hash: name to number)."""
        return f"{self.prefix}counters:{length_s}:{start_s}"

    @property
    def counters_total(self) -> str:
        """What all processes have ever counted (hash: name to number); lasts as long as Redis remembers."""
        return f"{self.prefix}counters:total"

    @property
    def counters_summed(self) -> str:
        """There while the sums below are fresh enough (string)."""
        return f"{self.prefix}counters:summed"

    def sums(self) -> dict[tuple[str, int], str]:
        """The sums over sliding windows, by what they sum and the window in seconds (integers)."""
        names = {
            (LIMITED, 300): "api_429_errors:last_5min",
            (LIMITED, 3600): "api_429_errors:last_hour",
            (CALL, 3600): "api_calls:last_hour",
            (HIT, 300): "cache_hits:last_5min",
            (MISS, 300): "cache_misses:last_5min",
        }
        return {what: f"{self.prefix}{name}" for what, name in names.items()}

    # -- the stream itself ---------------------------------------------------------------------------------------

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

    @property
    def flags(self) -> str:
        """Who goes through the coordinated calls (hash; see `store/flags.py`)."""
        return f"{self.prefix}migration:flags"

    @property
    def callers(self) -> str:
        """Caller to how it was last seen: its way, its time, its calls (hash of JSON)."""
        return f"{self.prefix}migration:callers"

    @property
    def comparison(self) -> str:
        """How what was served compares with REST (hash of counters and sums)."""
        return f"{self.prefix}migration:comparison"

    @property
    def journal(self) -> str:
        """What has gone wrong, and what of it is over (stream of events; see `store/journal.py`)."""
        return f"{self.prefix}stream:errors"

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
