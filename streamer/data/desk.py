"""All providers of one process, put together from the settings: made when first needed, closed with the process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from streamer.data.alarm import Alarm
from streamer.data.ask import Ask, Served, bars_of
from streamer.data.holds import parse_hold
from streamer.data.keeper import Keeper, Scored
from streamer.data.manager import How, Manager
from streamer.data.provider import Provider
from streamer.data.roster import Roster
from streamer.data.settings import DataSettings, adapter_of, load_data
from streamer.data.verification import Verification
from streamer.errors import StoreUnavailable
from streamer.providers.base import Budget
from streamer.providers.registry import ADAPTERS
from streamer.providers.shape import AssetClass, Instrument, Interval, Price, Series, Symbol
from streamer.reader.reader import AsyncReader
from streamer.settings import Settings
from streamer.store.connect import Store
from streamer.store.keys import Keys
from streamer.webhooks.prices import PriceUpdate

LIMIT: Final = 100
"""How many bars are given, where nothing else is said."""
_SCORES_S: Final = 5.0
"""So long an order by scores stands, before they are read again."""


class DataDesk:
    """What routes, commands and tests ask for other providers' data.

    Everything belongs to the event loop of the first question.

    Args:
        reader: Reads what is streamed; stays open.
        settings: Of the process; those of the providers are read from the environment here.

    Raises:
        ConfigError: A setting of a provider breaks a rule.
    """

    def __init__(
        self, reader: AsyncReader, store: Store, settings: Settings, data: DataSettings | None = None
    ) -> None:
        self.settings = data if data is not None else load_data()
        self._store = store
        self._roster = Roster(reader, store, settings)
        self._scored_at = -_SCORES_S
        self.alarm = Alarm(self.settings)
        self.keeper = Keeper(store, Keys(settings.key_prefix), self.alarm.tell)
        self.manager = Manager(
            store,
            self.settings,
            self.providers,
            heard=self.keeper.heard,
            scores=self.keeper.known,
            compared=self.keeper.compared,
        )

    @property
    def providers(self) -> Mapping[str, Provider]:
        """All providers, by name; the exchange only once something has been asked."""
        return self._roster.providers

    async def price(self, symbol: Symbol, how: How = How()) -> Served[Price]:  # noqa: B008 - immutable
        """Return a price.

        Raises:
            ConfigError: There is no such provider.
            Unavailable: Nobody has one that may be served; says why, provider by provider.
        """
        return await self._ask(Ask(symbol), how)

    async def verified_price(self, symbol: Symbol, how: How = How()) -> tuple[Served[Price], Verification]:  # noqa: B008
        """Return a price that several providers were asked for, and what they say.

        Raises:
            ConfigError: There is no such provider.
            Unavailable: None of them answers.
        """
        await self._ready(how)
        return await self.manager.verify(Ask(symbol), how)

    async def bars(
        self,
        symbol: Symbol,
        interval: Interval,
        *,
        start_s: int | None = None,
        end_s: int | None = None,
        limit: int = LIMIT,
        how: How = How(),  # noqa: B008 - immutable
    ) -> Served[Series]:
        """Return bars, oldest first: the newest, or those of a range; of one provider, never of several.

        Raises:
            ConfigError: As above, or a range that makes no sense.
            Unavailable: As above.
        """
        now_s = int(time.time())
        ask = bars_of(symbol, interval, start_s=start_s, end_s=end_s, limit=limit, now_s=now_s)
        return await self._ask(ask, how)

    async def take_price(self, provider: str, update: PriceUpdate) -> None:
        """Keep a price that a webhook has brought as that provider's newest; one older than is kept is let go.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        await self._roster.know()
        taker = self.providers.get(provider)
        if taker is None:
            return  # a relay of another name: its events can be read in Redis
        symbol = update.symbol
        market = taker.adapter.market if symbol.asset is AssetClass.CRYPTO else Instrument.STOCK
        note = f"sent by {update.source}"
        price = Price(symbol, update.price, market, update.as_of_ms, note=note)
        await taker.take(price, provider)

    def score(self, served: Served[Any]) -> float | None:
        """Return how good whoever has answered has been for that symbol, None where that is not known here."""
        return self.keeper.known(served.found.provider, served.found.value.symbol)

    async def standing(self) -> dict[str, Any]:
        """Return all providers as JSON: whether they can be asked, their budgets over all processes, their scores.

        Raises:
            StoreUnavailable: Redis cannot tell.
        """
        await self._roster.know()
        scores = await self.keeper.scores()
        rows = [await self._row(name, [one for one in scores if one.provider == name]) for name in ADAPTERS]
        order = {asset.value: list(self.settings.order(asset)) for asset in AssetClass}
        return {"providers": rows, "order": order, "by_score": self.settings.providers_by_score}

    async def _row(self, name: str, scored: Sequence[Scored]) -> dict[str, Any]:
        provider = self.providers[name]
        raw = await self._store.answer(self._store.client.get(provider.held_key))
        now_ms = int(time.time() * 1000)
        hold, adapter = parse_hold(raw, now_ms), provider.adapter
        snapshot = await provider.snapshot()
        (state,) = (snapshot.budgets[Budget.MARKET],)
        return {
            "name": name,
            "title": provider.title,
            "assets": sorted(adapter.assets),
            "intervals": [interval.value for interval in Interval if interval in adapter.intervals],
            "needs_key": adapter.needs_key,
            "has_key": bool(adapter.access.key),
            "held": {"kind": hold.kind, "why": hold.why, "left_s": round((hold.until_ms - now_ms) / 1000, 1)}
            if hold is not None
            else None,
            "breaker": snapshot.breaker,
            "blocked_s": round(state.blocked_s, 1),
            "windows": [
                {"used": used, "allowed": allowed, "length_s": window.length_s}
                for (used, allowed), window in zip(
                    state.windows, provider.admission.windows[Budget.MARKET], strict=True
                )
            ],
            "calls": sum(provider.admission.statistics.calls.values()),
            "scores": [
                {
                    "symbol": one.symbol,
                    "score": round(one.score.value, 1) if one.score.value is not None else None,
                    "parts": {part: round(value, 3) for part, value in one.score.parts.items()},
                }
                for one in scored
            ],
        }

    async def close(self) -> None:
        """End all that is under way."""
        await self.keeper.close()
        await self.alarm.close()
        await self._roster.close()

    async def _ask(self, ask: Ask, how: How) -> Served[Any]:
        await self._ready(how)
        return await self.manager.ask(ask, how)

    async def _ready(self, how: How) -> None:
        if how.provider is not None:
            adapter_of(how.provider)
        await self._roster.know()
        if self.settings.providers_by_score and time.monotonic() - self._scored_at > _SCORES_S:
            self._scored_at = time.monotonic()
            with suppress(StoreUnavailable):
                await self.keeper.scores()
