"""`streamer explain --symbol`: one question to other providers, asked now, and what became of each one's turn."""

from __future__ import annotations

import argparse
from typing import Any, Final

from streamer.cli.common import EXIT_FAILED, need_redis_url, run_async, words
from streamer.cli.data import desk_at, how_of, print_json, seconds, show, table_of, unknown
from streamer.cli.plain import plain
from streamer.data.ask import Ask, Served, parse_interval
from streamer.data.desk import DataDesk
from streamer.data.manager import How
from streamer.data.shown import price_json, series_json, story_json
from streamer.data.story import Fate
from streamer.errors import Unavailable, UnknownSymbol
from streamer.providers.shape import Interval, Price, Symbol
from streamer.providers.symbols import parse_symbol

_STYLES: Final = {
    Fate.SERVED.value: "green",
    Fate.FAILED.value: "red",
    Fate.REFUSED.value: "red",
    Fate.LATE.value: "yellow",
}
NOT_ASKED: Final = "not asked"


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    symbol = parse_symbol(arguments.symbol)
    interval = parse_interval(arguments.interval) if arguments.interval is not None else None
    how, url = how_of(arguments), need_redis_url(arguments.redis_url)
    return run_async(_explain(symbol, interval, how, url, as_json=arguments.json))


async def _explain(symbol: Symbol, interval: Interval | None, how: How, url: str, *, as_json: bool) -> int:
    async with desk_at(url) as desk:
        try:
            answer: Served[Any] | Unavailable = await _answer(desk, symbol, interval, how)
        except Unavailable as exc:
            answer = exc
        except UnknownSymbol as exc:
            ask = Ask(symbol, interval)
            answer = unknown(exc, ask.what)
        told = story_of(answer, _order(desk, symbol, how), desk)
    if as_json:
        print_json(told)
    else:
        _print(told)
    return EXIT_FAILED if isinstance(answer, Unavailable) else 0


async def _answer(desk: DataDesk, symbol: Symbol, interval: Interval | None, how: How) -> Served[Any]:
    if interval is None:
        return await desk.price(symbol, how)
    return await desk.bars(symbol, interval, how=how)


def _order(desk: DataDesk, symbol: Symbol, how: How) -> list[str]:
    return [how.provider] if how.provider is not None else list(desk.settings.order(symbol.asset))


def story_of(answer: Served[Any] | Unavailable, order: list[str], desk: DataDesk) -> dict[str, Any]:
    """Return a story as JSON: turns in the order in which they ended, then whoever has not been asked at all.

    `served` is null where nothing is; a fate is null where only the reason is known.
    """
    if isinstance(answer, Unavailable):
        turns = [_turn(provider, None, why) for provider, why in answer.tiers.items()]
        return {"what": answer.what, "order": order, "story": turns, "served": None}
    turns = story_json(answer.story)
    asked = {turn["provider"] for turn in turns}
    turns += [_turn(name, NOT_ASKED, "one before it had answered") for name in order if name not in asked]
    is_price = isinstance(answer.found.value, Price)
    served = (price_json if is_price else series_json)(answer, desk.score(answer))
    del served["story"]  # it is told above
    what = f"price {answer.asked}" if is_price else f"bars {answer.asked} {served['interval']}"
    return {"what": what, "order": order, "story": turns, "served": served}


def _turn(provider: str, fate: str | None, why: str) -> dict[str, Any]:
    return {"provider": provider, "fate": fate, "why": why, "took_ms": 0.0, "error": None}


def _print(told: dict[str, Any]) -> None:
    table = table_of("provider,what became of it,took", right=frozenset(("took",)))
    table.add_column("why", overflow="fold")
    for turn in told["story"]:
        took = f"{turn['took_ms']:.1f} ms" if turn["took_ms"] else ""
        error = f"{turn['error']}: " if turn["error"] else ""
        fate = words(turn["fate"] or "no answer", _STYLES.get(turn["fate"], ""))
        table.add_row(words(turn["provider"]), fate, took, words(error + turn["why"]))
    show(table)
    print(plain(f"{told['what']}: order {', '.join(told['order'])}"))
    print(plain(f"{told['what']}: {_served(told['served'])}"))


def _served(served: dict[str, Any] | None) -> str:
    if served is None:
        return "nobody has anything that may be served"
    value = served["price"] if "price" in served else f"{served['count']} bars"
    of = "" if served["symbol"] == served["asked"] else f" of {served['symbol']}"
    reason = f": {served['reason']}" if served["reason"] else ""
    known = f"{served['instrument']}, {served['tier']}, {seconds(served['age_s'])} old"
    return f"{value}{of} from {served['provider']} served ({known}){reason}"
