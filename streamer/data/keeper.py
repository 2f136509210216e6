"""Keeps what is known of providers' quality in Redis, for all processes, and raises alerts of what cannot be.

What is heard is written a second later, so that no answer waits for it, and entered only into what was read: where
another process has entered something in between, it is read again.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import msgspec
import structlog

from streamer.data.ask import Ask, Found
from streamer.data.verification import Verification
from streamer.errors import CallNotMade, RestRateLimited, RestUnavailable, StoreUnavailable, StreamerError
from streamer.model import Tier
from streamer.providers.shape import Price, Series
from streamer.quality.alerts import Alert, Alerts
from streamer.quality.findings import Finding
from streamer.quality.score import Observed, Score, score
from streamer.quality.validation import validate
from streamer.store.connect import Script, Store
from streamer.store.journal import Journal, Trouble
from streamer.store.keys import Keys
from streamer.store.records import parse_json

log = structlog.get_logger(__name__)

DUE_S: Final = 60.0
"""A price that is no older than this counts as fresh for the score."""
_SOON_S: Final = 1.0
_LIFE_S: Final = 24 * 3600
_MOST: Final = 1000
_MOST_JUDGED: Final = 1000
"""Of a longer series the newest bars are checked: all of them would hold the event loop up for seconds."""
_QUIET_S: Final = 900.0
_TRIES: Final = 20
"""Of as many processes that enter the same at once, one gets through each time."""
_Step = Callable[[Observed], Observed]


@dataclass(frozen=True, slots=True)
class Scored:
    """A provider's quality for one symbol, as all processes have seen it."""

    provider: str
    symbol: str
    score: Score
    seen_s: float


class Keeper:
    """Hears of answers, keeps scores, raises alerts.

    Args:
        tell: Sends an alert on to whoever is configured to get it.

    Attributes:
        alerts: Raised by this process since its start, by code.
        findings: Found by this process since its start, by severity.
        dropped: Observations and alerts that Redis did not take.
    """

    def __init__(self, store: Store, keys: Keys, tell: Callable[[Alert], None] = lambda alert: None) -> None:
        self._store, self._keys, self._tell = store, keys, tell
        self._journal, self._enter = Journal(store, keys), Script(store, "enter_scores")
        self._alerts = Alerts(quiet_s=_QUIET_S)
        self._troubles: dict[tuple[str, str, str], Trouble] = {}
        self._steps: defaultdict[tuple[str, str], list[_Step]] = defaultdict(list)
        self._raised: list[Alert] = []
        self._over: list[Trouble] = []
        self._known: dict[tuple[str, str], Scored] = {}
        self._task: asyncio.Task[None] | None = None
        self.alerts: Counter[str] = Counter()
        self.findings: Counter[str] = Counter()
        self.dropped = 0

    # -- what is heard -------------------------------------------------------------------------------------------

    def heard(self, name: str, ask: Ask, outcome: Found[Any] | StreamerError) -> None:
        """Take note of how a question to a provider has ended."""
        now_s = time.time()
        if isinstance(outcome, StreamerError):
            if isinstance(outcome, RestUnavailable | RestRateLimited) and not isinstance(outcome, CallNotMade):
                self._note(name, str(ask.symbol), lambda seen: seen.failed(now_s))
            return
        value = outcome.value
        symbol = str(value.symbol)
        if outcome.tier not in (Tier.REST, Tier.REALTIME):
            return
        if isinstance(value, Price):
            as_of_s = value.as_of_ms / 1000 if value.as_of_ms is not None and value.is_live else None
            # What the stream vouches for is of now, however long ago the last trade was.
            stamped_s = now_s if outcome.tier is Tier.REALTIME else as_of_s
            self._note(name, symbol, lambda seen: seen.answered(now_s, as_of_s=stamped_s))
        elif isinstance(value, Series):
            report = validate(replace(value, bars=value.bars[-_MOST_JUDGED:]), int(now_s * 1000))
            self._note(name, symbol, lambda seen: seen.answered(now_s).checked(report, now_s))
            self._found(name, f"{symbol} {value.interval}", report.findings, now_s)

    def compared(self, checked: Verification) -> None:
        """Take note of how far a provider's price was from those of the others."""
        now_s = time.time()
        for agreement in checked.comparison.agreements:
            for name, deviation_bp in agreement.deviation_bp.items():
                if len(agreement.deviation_bp) >= 3:
                    bp, tolerance = float(deviation_bp), float(agreement.tolerance_bp)
                    self._note(
                        name,
                        str(agreement.group.symbol),
                        lambda seen, bp=bp, tolerance=tolerance: seen.compared(bp, now_s, tolerance_bp=tolerance),  # type: ignore[misc]
                    )
                if (finding := agreement.finding(name)) is not None:
                    self._found(name, str(agreement.group.symbol), [finding], now_s)

    def _found(self, name: str, symbol: str, findings: Sequence[Finding], now_s: float) -> None:
        for finding in findings:
            self.findings[finding.severity.value] += 1
        self._end(self._alerts.over(now_s), now_s)
        raised = self._alerts.take(name, symbol, findings, now_s)
        self._raised += raised
        if raised:
            self._soon()

    def _note(self, name: str, symbol: str, step: _Step) -> None:
        self._steps[name, symbol].append(step)
        self._soon()

    # -- what is known -------------------------------------------------------------------------------------------

    async def scores(self) -> list[Scored]:
        """Return the quality of every provider and symbol that was asked for within a day, the newest first.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        newest: Any = await self._store.answer(
            self._store.client.zrevrange(self._keys.scores, 0, _MOST - 1, withscores=True)
        )
        names = [(member.decode().split(" ", 1), at / 1000) for member, at in newest if b" " in member]
        if not names:
            return []
        keys = [self._keys.score(provider, symbol) for (provider, symbol), _ in names]
        raws = await self._store.answer(self._store.client.mget(keys))
        found = []
        for ((provider, symbol), seen_s), raw in zip(names, raws, strict=True):
            if raw is not None:
                found.append(Scored(provider, symbol, score(_observed(raw), due_s=DUE_S), seen_s))
        self._known = {(one.provider, one.symbol): one for one in found}
        return found

    def known(self, name: str, symbol: object) -> float | None:
        """Return a score as it was last read here, None where it is not known."""
        scored = self._known.get((name, str(symbol)))
        return None if scored is None else scored.score.value

    # -- what is written -----------------------------------------------------------------------------------------

    def _soon(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_soon(), name="data-keeper")

    async def _write_soon(self) -> None:
        while self._steps or self._raised or self._over or self._troubles:
            await asyncio.sleep(_SOON_S)
            now_s = time.time()
            self._end(self._alerts.over(now_s), now_s)
            await self.write()

    async def write(self) -> None:
        """Write what was heard; what Redis does not take is counted and let go."""
        steps, self._steps = self._steps, defaultdict(list)
        raised, self._raised = self._raised, []
        over, self._over = self._over, []
        try:
            await self._write_scores(steps)
            await self._journal.write(over)
        except StoreUnavailable:
            self.dropped += len(over)
        self.dropped += sum(map(len, steps.values()))
        for alert in raised:
            try:
                await self._raise(alert)
            except StoreUnavailable:
                self.dropped += 1

    async def _write_scores(self, steps: dict[tuple[str, str], list[_Step]]) -> None:
        """Enter observations; those that are left in `steps` were not."""
        for _ in range(_TRIES):
            if not steps:
                return
            for name in await self._entered(steps):
                del steps[name]

    async def _entered(self, steps: Mapping[tuple[str, str], Sequence[_Step]]) -> list[tuple[str, str]]:
        """Enter what was observed into what is kept; return whose was entered, and not overtaken by others."""
        keys = [self._keys.score(*name) for name in steps]
        raws = await self._store.answer(self._store.client.mget(keys))
        now_ms = int(time.time() * 1000)
        words: list[str | int | bytes] = [now_ms, _LIFE_S, _MOST]
        entered = {}
        for (name, taken), raw in zip(steps.items(), raws, strict=True):
            seen = _observed(raw)
            for step in taken:
                seen = step(seen)
            entered[name] = Scored(*name, score(seen, due_s=DUE_S), now_ms / 1000)
            words += [raw or b"", msgspec.json.encode(asdict(seen)), " ".join(name)]
        are_in = await self._enter([self._keys.scores, *keys], words)
        done = [name for name, is_in in zip(entered, are_in, strict=True) if is_in]
        if len(self._known) + len(done) > _MOST:
            self._known.clear()
        self._known |= {name: entered[name] for name in done}
        return done

    async def _raise(self, alert: Alert) -> None:
        """Raise an alert, unless another process has raised the same one lately."""
        key = self._keys.alert(alert.provider, alert.symbol, alert.code.value)
        is_first = await self._store.answer(self._store.client.set(key, b"1", nx=True, ex=int(_QUIET_S)))
        if not is_first:
            return
        subject = f"{alert.provider} {alert.symbol}"
        log.warning("data.alert", about=subject, code=alert.code.value, what=alert.what)
        self.alerts[alert.code.value] += 1
        self._tell(alert)
        trouble = Trouble(
            uuid.uuid4().hex, "market_data", f"data_{alert.code}", subject, alert.what, int(alert.since_s * 1000)
        )
        self._troubles[alert.provider, alert.symbol, alert.code.value] = trouble
        await self._journal.write([trouble])

    def _end(self, over: Sequence[Alert], now_s: float) -> None:
        for alert in over:
            trouble = self._troubles.pop((alert.provider, alert.symbol, alert.code.value), None)
            if trouble is not None:
                self._over.append(replace(trouble, ended_ms=int(now_s * 1000)))

    async def close(self) -> None:
        """Write what is left, under the command deadline."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        now_s = time.time()
        self._over += [replace(trouble, ended_ms=int(now_s * 1000)) for trouble in self._troubles.values()]
        self._troubles.clear()  # nobody would end them: this process is who watches
        await self.write()


def _observed(raw: object) -> Observed:
    """Return what is kept, or nothing seen where it is foreign."""
    seen = parse_json(raw, Observed) if isinstance(raw, bytes) else None
    return seen if seen is not None else Observed()
