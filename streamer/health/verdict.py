"""Facts in, verdict out: is the stream healthy, degraded or down, and what can a person do about it. Pure.

Imports nothing: a probe may run it every second.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own constant costs its import; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Literal

    Level = Literal["healthy", "degraded", "down"]
    Status = Mapping[str, Any]

STALE_AFTER_MS = 5_000
SINK_LAG_MS = 5_000
SKEW_S = 5.0
"""A clock this far from the exchange's is worth mending; what is less, backdated tokens bear."""
PRESSED_S = 3.0
"""So long calls have to wait for a spent budget before that is worth a word: a rush passes sooner."""
_NAMED = 5  # ids shown in one reason; more would hide the sentence


class Reason(str):
    """A sentence a person can act on: what is wrong, and after a semicolon what to do about it.

    Attributes:
        code: Names the reason while the figures in the sentence move, such as "feed_silent".
        advice: What to do about it.
        subject: The feed it is about, "" where it is about the whole.
    """

    __slots__ = ("advice", "code", "subject")
    code: str
    advice: str
    subject: str

    def __new__(cls, code: str, what: str, advice: str, subject: str = "") -> Reason:
        """Put the sentence together."""
        reason = super().__new__(cls, f"{what}; {advice}")
        reason.code, reason.advice, reason.subject = code, advice, subject
        return reason


class Verdict:
    """A level and the reasons for it; a healthy one has no reasons.

    Attributes:
        level: "healthy", "degraded" or "down".
        reasons: The gravest first.
    """

    __slots__ = ("level", "reasons")

    def __init__(self, level: Level, reasons: Iterable[Reason] = ()) -> None:
        self.level: Level = level
        self.reasons = tuple(reasons)

    def __repr__(self) -> str:
        return f"Verdict({self.level!r}, {self.reasons!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verdict) and (self.level, self.reasons) == (other.level, other.reasons)

    def __hash__(self) -> int:
        return hash((self.level, self.reasons))


def judge(status: Status | None, now_ms: int) -> Verdict:
    """Return the verdict on what the ingester last reported.

    Args:
        status: Parsed JSON of `stream:status`; None where the key is absent.
        now_ms: Redis TIME in ms, the clock `written_ms` and `alive_ms` were read from.

    Raises:
        KeyError, TypeError: `status` does not have the shape of a status.
    """
    if status is None:
        advice = "run start-stream, or see its log"
        return Verdict("down", [Reason("no_report", "no ingester has reported", advice)])
    stale_after_ms = status.get("stale_after_ms", STALE_AFTER_MS)  # the setting that readers go by
    age_ms = now_ms - status["written_ms"]
    if age_ms > stale_after_ms:
        what = f"the ingester last reported {age_ms / 1000:.1f} s ago (process frozen, or cut off from Redis)"
        who = f"pid {status['pid']} on {status['host']}"
        return Verdict("down", [Reason("report_old", what, f"look at {who}, and start it again if it is gone")])
    minor: list[Reason] = []
    if age_ms < -stale_after_ms:
        what = f"the last report is stamped {-age_ms / 1000:.1f} s in the future: the clock of Redis went back"
        minor.append(Reason("clock_back", what, "set that host's clock (NTP); it passes with the next report"))
        # Against the new clock everything would look alive; the report's own clock still orders its facts.
        now_ms = status["written_ms"]
    dead, alive = _feed_reasons(status, now_ms, stale_after_ms)
    minor += _role_reasons(status)
    if status["products"]["wanted"] == 0:
        minor.append(Reason("no_products", "no products wanted", "streamer wanted add BTC-USD"))
        # Without products a feed has nothing to be connected for.
        down = bool(dead) and not alive and any(feed["state"] != "stopped" for feed in status["feeds"])
    else:
        down = not alive
        if not status["feeds"]:
            what = "no feed is open: the ingester has not connected to the exchange yet"
            dead.append(Reason("no_feed", what, "if this lasts, see its log"))
    minor += _product_reasons(status["products"]) + _sink_reasons(status["sink"])
    minor += _waiting_reasons(status) + _rest_reasons(status) + _gateway_reasons(status.get("gateway") or {})
    minor += _side_reasons(status)
    if down:
        return Verdict("down", dead + minor)
    return Verdict("degraded" if dead or minor else "healthy", dead + minor)


def summary(status: Status | None, verdict: Verdict, now_ms: int) -> str:
    """Return the verdict on one line: the level, what is live, who reports it and how long ago."""
    if status is None:
        return f"{verdict.level}: no report from any ingester"
    products, feeds = status["products"], status["feeds"]
    source = "SIMULATED prices" if status["source"] == "simulator" else str(status["source"])
    age_s = max(0, now_ms - status["written_ms"]) / 1000
    return (
        f"{verdict.level}: {products['live']} of {_count(products['wanted'], 'product')} live"
        f" on {_count(len(feeds), 'feed')}, {status['frames']['per_s']:.0f} frames/s, {source},"
        f" reported {age_s:.1f} s ago by pid {status['pid']} on {status['host']}"
    )


def feed_alive(feed: Status, now_ms: int, stale_after_ms: int = STALE_AFTER_MS) -> bool:
    """Whether the feed is live and has proved it recently: state alone is a claim, a frame is proof."""
    alive_ms = feed["alive_ms"]
    return feed["state"] == "live" and alive_ms is not None and now_ms - alive_ms <= stale_after_ms


def _feed_reasons(status: Status, now_ms: int, stale_after_ms: int) -> tuple[list[Reason], int]:
    """Return why feeds are dead, and how many that carry prices are alive (of all feeds where none carries any)."""
    feeds = status["feeds"]
    dead = [feed for feed in feeds if not feed_alive(feed, now_ms, stale_after_ms)]
    carriers = [feed for feed in feeds if feed.get("channel", "ticker") == "ticker"] or feeds
    alive = sum(1 for feed in carriers if feed_alive(feed, now_ms, stale_after_ms))
    refused_key = _key_refused(status)
    reasons = [_why_dead(feed, now_ms) for feed in dead if not (refused_key and feed["state"] == "unauthenticated")]
    return ([refused_key] if refused_key else []) + reasons, alive


def _key_refused(status: Status) -> Reason | None:
    """One reason for whatever a refused key has cost."""
    portfolio, mend = status.get("portfolio"), "check COINBASE_API_KEY and COINBASE_API_SECRET; prices go on"
    if off := _clock_off(status):  # which is reason enough to refuse a good key
        mend = f"{off}: set it (NTP), then {mend}"
    if portfolio is not None and portfolio["unauthorized"]:
        what = f"no true balances: the exchange refuses the API key ({portfolio['why']})"
        return Reason("key_refused", what, mend)
    if any(feed["state"] == "unauthenticated" for feed in status["feeds"]):
        return Reason("key_refused", "no true balances: the exchange refuses our tokens", mend)
    return None


def _why_dead(feed: Status, now_ms: int) -> Reason:
    name, state, why = f"feed {feed['id']}", feed["state"], feed["why"]
    cause = f": {why}" if why else ""
    code, what, advice = f"feed_{state}", f"{name} is {state}{cause}", "start it again with start-stream"
    if state == "live" and feed["alive_ms"] is None:
        code, what = "feed_silent", f"{name} is connected but the exchange has sent nothing yet"
        advice = "it reconnects by itself"
    elif state == "live":
        silent_s = (now_ms - feed["alive_ms"]) / 1000
        code = "feed_silent"
        what = f"{name} has received nothing for {silent_s:.1f} s (silent or half-open connection){cause}"
        advice = "it reconnects by itself; if this lasts, streamer doctor looks at the way to the exchange"
    elif state == "connecting":
        what = f"{name} is connecting to the exchange" + (f", last failure: {why}" if why else "")
        advice = "if this lasts, streamer doctor looks at the way to the exchange"
    elif state == "backoff":
        what = f"{name} is waiting to reconnect{cause or ' to the exchange'}"
        advice = "it goes on trying; streamer doctor looks at the way to the exchange"
    elif state == "refused":
        what = f"{name} is refused by the exchange{cause}"
        advice = "it goes on trying; see status.exchange.coinbase.com"
    return Reason(code, what, advice, subject=feed["id"])


def _role_reasons(status: Status) -> list[Reason]:
    if status["role"] == "stopping":
        return [Reason("stopping", "the ingester is stopping", "start it again with start-stream")]
    if status["role"] == "standby":
        what = "only a standby reports: no ingester owns the stream at the moment"
        return [Reason("standby", what, "it takes over within seconds; if it does not, see its log")]
    return []


def _product_reasons(products: Status) -> list[Reason]:
    reasons = []
    if names := _names(products, "suspect"):
        what = f"{names}: frames were lost; values are marked suspect until a new snapshot arrives"
        reasons.append(Reason("gap", what, "it is asked for already"))
    if names := _names(products, "silent"):
        them = "it" if _number(products, "silent") == 1 else "them"
        why = "unknown product, or no trades yet since we subscribed"
        what = f"{names}: the exchange sends nothing for {them}: {why}"
        reasons.append(Reason("product_silent", what, "streamer wanted remove takes out what does not exist"))
    if names := _names(products, "unconfirmed"):
        what = f"{names}: subscription not confirmed by the exchange"
        reasons.append(Reason("product_unconfirmed", what, "if this lasts, check the id"))
    return reasons


def _sink_reasons(sink: Status) -> list[Reason]:
    if sink["lag_ms"] <= SINK_LAG_MS:
        return []
    what = (
        f"writes to Redis are {sink['lag_ms'] / 1000:.1f} s behind, {_count(sink['dirty'], 'change')} waiting"
        f" ({_count(sink['failures'], 'failure')} so far): Redis is slow or does not accept writes"
    )
    return [Reason("write_lag", what, "look at its memory, its disk and its log")]


def _waiting_reasons(status: Status) -> list[Reason]:
    products = status["products"]
    names = _names(products, "waiting")
    if not names or status["role"] == "stopping":
        return []
    wanted = _count(products["wanted"], "product")
    what = f"{products['live']} of {wanted} live, waiting for the first value of {names} on this connection"
    return [Reason("product_waiting", what, "it comes with the next snapshot or trade")]


def _rest_reasons(status: Status) -> list[Reason]:
    """What only REST could tell and does not; where it fails, that is one reason, however much is missing."""
    reasons, lacks = [], []
    portfolio, candles = status.get("portfolio"), status.get("candles") or {}
    retried = "it is asked again by itself"
    if portfolio is not None and not _key_refused(status):  # that would say it all
        suspect = f"{_count(portfolio['suspect'], 'balance')} suspect" if portfolio["suspect"] else ""
        if portfolio["why"]:
            what = f"{suspect} and cannot be confirmed" if suspect else "balances cannot be confirmed"
            lacks.append(("balances_unconfirmed", what, f"REST accounts: {portfolio['why']}"))
        elif suspect:
            what = f"{suspect}: order updates may have been lost, and REST has not told since"
            reasons.append(Reason("balances_suspect", what, retried))
    if candles.get("why"):
        lacks.append(("candles_missing", "candles from before the stream are missing", candles["why"]))
    if status.get("products_why"):
        why = f"REST products: {status['products_why']}"
        lacks.append(("products_missing", "facts of products are missing", why))
    if len(lacks) > 1:
        what = "REST fails: " + ", ".join(f"{what} ({why})" for _, what, why in lacks)
        return [*reasons, Reason("rest_failing", what, retried)]
    return reasons + [Reason(code, f"{what}: {why}", retried) for code, what, why in lacks]


def _gateway_reasons(gateway: Status) -> list[Reason]:
    """How REST stands for all processes together."""
    reasons, breaker = [], gateway.get("breaker") or {}
    if breaker.get("state", "closed") != "closed":
        failures = _count(breaker["failures_in_a_row"], "failure")
        what = f"the circuit breaker of REST is {breaker['state']} after {failures} in a row"
        advice = f"tried again within {max(1, round(breaker['retry_s']))} s; streamed prices go on"
        reasons.append(Reason("breaker_open", what, advice))
    blocked_s = max((budget["blocked_s"] for budget in (gateway.get("budgets") or {}).values()), default=0)
    if (refused := gateway.get("errors_429_last_5min") or 0) or blocked_s:
        blocked = f" and lets us ask again in {blocked_s:.0f} s" if blocked_s else ""
        what = f"the exchange answered 429 {_count(refused, 'time')} in the last 5 minutes{blocked}"
        advice = "streamer calls shows what we ask; other programs on this key or address count too"
        reasons.append(Reason("rate_limited", what, advice))
    for name, budget in (gateway.get("budgets") or {}).items():
        if budget.get("pressed_s", 0) >= PRESSED_S:
            what = f"the {name} budget of REST is spent, with {_count(budget['queued'], 'call')} waiting for it"
            advice = "streamer calls shows who spends it; stream those products, or raise the limit"
            reasons.append(Reason("budget_spent", what, advice))
    return reasons


def _side_reasons(status: Status) -> list[Reason]:
    reasons = []
    if (off := _clock_off(status)) and not _key_refused(status):
        reasons.append(Reason("clock_skew", off, "set it (NTP); tokens follow the exchange's until then"))
    offline = status.get("offline") or {}
    if offline:
        shown = ", ".join(f"{product_id} is {word}" for product_id, word in list(offline.items())[:_NAMED])
        what = f"{shown}: the exchange does not trade it"
        reasons.append(Reason("product_offline", what, "its price is the last there was"))
    return reasons


def _clock_off(status: Status) -> str:
    skew_s = status.get("clock_skew_s")
    if skew_s is None or abs(skew_s) <= SKEW_S:
        return ""
    return f"the clock of this host is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the exchange's"


def _names(products: Status, kind: str) -> str:
    """The first ids of a list as words; lists are cut, their true length stands beside them."""
    shown = list(products[kind][:_NAMED])
    rest = _number(products, kind) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if shown and rest > 0 else "")


def _number(products: Status, kind: str) -> int:
    return int(products.get(f"{kind}_count", len(products[kind])))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
