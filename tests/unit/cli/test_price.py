"""`streamer price`: what is printed, and what its exit status says."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from types import ModuleType
from typing import Any, cast

import pytest

from streamer.cli import price
from streamer.data.ask import Ask, Found, Served
from streamer.data.desk import DataDesk
from streamer.data.manager import How
from streamer.data.settings import DataSettings
from streamer.data.story import Fate, Story
from streamer.data.verification import Verification
from streamer.errors import ConfigError, StoreUnavailable, StreamerError, Unavailable, UnknownSymbol
from streamer.model import Priority, Tier
from streamer.providers.shape import Instrument, Interval, Price, Series, Symbol
from streamer.providers.symbols import parse_symbol
from streamer.quality.agreement import compare

URL = "redis://127.0.0.1:1"
BTC, SPY = parse_symbol("BTC-USD"), parse_symbol("SPY")


def priced(
    symbol: Symbol = BTC,
    value: str = "84210.370",
    provider: str = "coinbase",
    *,
    of: Symbol | None = None,
    is_live: bool = True,
    source: str | None = None,
    reason: str | None = None,
) -> Served[Price]:
    """A price of a provider, and the story of how it came."""
    price = Price(of or symbol, Decimal(value), Instrument.SPOT, 1_790_000_000_000, is_live)
    found = Found(price, provider, Tier.REST, 0.25, source or provider)
    story = Story()
    story.tell("binance", Fate.FAILED, "no answer", 1.2, "RestUnavailable")
    story.tell(provider, Fate.SERVED, "rest", 0.5)
    return Served(symbol, found, provider.capitalize(), 1.5, reason, story)


def miss(symbol: Symbol = BTC) -> Unavailable:
    """Nobody has it."""
    return Unavailable(f"price {symbol}", {"coinbase": "it has none", "binance": "not sent: \x1b[2J"})


def verified(prices: Mapping[str, str]) -> tuple[Served[Price], Verification]:
    """What several providers say."""
    found = {name: priced(value=value, provider=name).found for name, value in prices.items()}
    comparison = compare({name: one.value for name, one in found.items()})
    return priced(value=next(iter(prices.values()))), Verification(found, comparison)


class Desk:
    """A desk that answers by plan, and keeps how it was asked."""

    def __init__(self, answers: Mapping[Symbol, Any] | StreamerError, score: float | None = 98.6) -> None:
        self._answers, self._score = answers, score
        self.settings = DataSettings(providers_crypto=("coinbase", "binance", "coingecko"))
        self.asked: list[Ask] = []
        self.how = How()

    async def price(self, symbol: Symbol, how: How) -> Any:
        """Answer a price."""
        return self._answer(Ask(symbol), how)

    async def verified_price(self, symbol: Symbol, how: How) -> Any:
        """Answer a price, and what others say."""
        return self._answer(Ask(symbol), how)

    async def bars(
        self,
        symbol: Symbol,
        interval: Interval,
        *,
        start_s: int | None = None,
        end_s: int | None = None,
        limit: int = 100,
        how: How,
    ) -> Served[Series]:
        """Answer bars."""
        answer: Served[Series] = self._answer(Ask(symbol, interval, limit, start_s, end_s), how)
        return answer

    def score(self, served: Served[Any]) -> float | None:
        """Return the score that it was made with."""
        return self._score

    def _answer(self, ask: Ask, how: How) -> Any:
        self.asked.append(ask)
        self.how = how
        answer = self._answers if isinstance(self._answers, Exception) else self._answers[ask.symbol]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def at(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> Desk:
        """Have a command ask this one."""

        @asynccontextmanager
        async def desk_at(url: str) -> AsyncIterator[DataDesk]:
            assert url == URL
            yield cast("DataDesk", self)

        monkeypatch.setattr(module, "desk_at", desk_at)
        return self


def parsed(module: ModuleType, *words: str) -> argparse.Namespace:
    """What the command line gives."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args([*words, "--redis-url", URL])


def ran(monkeypatch: pytest.MonkeyPatch, answers: Mapping[Symbol, Any] | StreamerError, *words: str) -> int:
    """Run the command on a desk that answers just that."""
    Desk(answers).at(monkeypatch, price)
    return price.execute(parsed(price, *words))


def test_a_row_says_who_answered_and_how_good_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Price as given, provider, instrument, tier, both ages, score; what it is not; the reason on stderr."""
    served = priced(
        of=parse_symbol("BTC-USDT"), is_live=False, source="simulator", reason="binance was asked first"
    )
    assert ran(monkeypatch, {BTC: served}, "btc/usd") == 0
    printed = capsys.readouterr()
    head, row = printed.out.splitlines()
    assert head.split() == [
        "symbol",
        "price",
        "provider",
        "instrument",
        "tier",
        "age",
        "value",
        "age",
        "score",
        "note",
    ]
    assert row.split()[:4] == ["BTC-USDT", "84210.370", "coinbase", "spot"]
    assert row.split()[4:10] == ["rest", "0.2", "s", "1.5", "s", "99"]
    assert row.rstrip().endswith("for BTC-USD, not live, simulator")
    assert printed.err == "BTC-USD: binance was asked first\n" and "\x1b" not in printed.out


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        pytest.param({BTC: priced(), SPY: priced(SPY)}, 0, id="there"),
        pytest.param({BTC: priced(), SPY: miss(SPY)}, 1, id="one missing"),
        pytest.param({BTC: miss(), SPY: miss(SPY)}, 1, id="missing"),
        pytest.param(StoreUnavailable(URL, "gone"), 3, id="no Redis"),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: Any, code: int, form: list[str]
) -> None:
    """A miss is 1; where Redis does not answer nothing is known, and that is 3 and one line."""
    assert ran(monkeypatch, answers, "BTC-USD", "SPY", *form) == code
    printed = capsys.readouterr()
    assert (printed.err.startswith("error: Redis") and not printed.out) is (code == 3)


@pytest.mark.parametrize(
    "words",
    [
        ("BTC_",),
        ("BTC-USD", "--timeout-s", "0"),
        ("BTC-USD", "--timeout-s", "nan"),
        ("BTC-USD", "--max-age-s", "-1"),
    ],
)
def test_bad_input_is_told_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """No symbol, or a time that is none."""
    with pytest.raises(ConfigError):
        ran(monkeypatch, {}, *words)


def test_what_is_missing_says_why_by_provider(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row with "none", a line a provider on stderr without escapes; as JSON by provider."""
    assert ran(monkeypatch, {BTC: miss()}, "BTC-USD") == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].split() == ["BTC-USD", "-", "none"]
    assert printed.err.splitlines() == ["BTC-USD: coinbase: it has none", "BTC-USD: binance: not sent: ?[2J"]
    assert ran(monkeypatch, {BTC: miss()}, "BTC-USD", "--json") == 1
    told = json.loads(capsys.readouterr().out)["BTC-USD"]
    assert (told["tier"], told["tiers"]["coinbase"]) == (None, "it has none")


def test_a_symbol_that_nobody_knows_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is missing like any other, with the reason on stderr and in the JSON; the prices of others are told."""
    answers = {BTC: priced(), SPY: UnknownSymbol("data symbol", "none of the providers asked has SPY")}
    assert ran(monkeypatch, answers, "BTC-USD", "SPY") == 1
    printed = capsys.readouterr()
    assert [row.split()[:2] for row in printed.out.splitlines()[1:]] == [["BTC-USD", "84210.370"], ["SPY", "-"]]
    assert printed.err == "SPY: providers: none of the providers asked has SPY\n"
    assert ran(monkeypatch, answers, "BTC-USD", "SPY", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["BTC-USD"]["price"] == "84210.370"
    assert told["SPY"]["tiers"] == {"providers": "none of the providers asked has SPY"}


def test_json_is_the_shape_of_the_route(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object by canonical symbol, however often and however it was written; prices as given."""
    assert ran(monkeypatch, {BTC: priced()}, "BTC-USD", "X:BTCUSD", "btc", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["BTC-USD"]
    assert (told["BTC-USD"]["price"], told["BTC-USD"]["score"]) == ("84210.370", 98.6)
    assert [step["fate"] for step in told["BTC-USD"]["story"]] == ["failed", "served"]


def test_how_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provider, age, time and urgency go along."""
    desk = Desk({BTC: priced()}).at(monkeypatch, price)
    words = ("--provider", "binance", "--max-age-s", "5", "--timeout-s", "2", "--trading")
    assert price.execute(parsed(price, "BTC-USD", *words)) == 0
    assert desk.how == How("binance", 5.0, 2.0, Priority.TRADING, "cli")
    assert price.execute(parsed(price, "BTC-USD")) == 0
    assert desk.how == How(caller="cli")


def test_a_liar_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each source with its distance from the median in basis points, and who disagrees, in words too."""
    answers = {BTC: verified({"coinbase": "100", "coingecko": "100.1", "eodhd": "102"})}
    assert ran(monkeypatch, answers, "BTC-USD", "--verify") == 0
    printed = capsys.readouterr()
    head, *rows = printed.out.split("\n\n")[1].splitlines()
    assert head.split()[:5] == ["symbol", "source", "price", "off", "by"]
    assert [row.split()[1:4] for row in rows] == [
        ["coinbase", "100", "-9.99"],
        ["coingecko", "100.1", "+0.00"],
        ["eodhd", "102", "+189.81"],
    ]
    assert [row.split()[-1] for row in rows] == ["disagree", "disagree", "disagrees"]
    assert printed.err == "BTC-USD: eodhd disagrees by more than 50 bp (BTC-USD spot)\n"


def test_of_two_nobody_knows_who_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are named, and it is said."""
    assert ran(monkeypatch, {BTC: verified({"coinbase": "100", "eodhd": "102"})}, "BTC-USD", "--verify") == 0
    assert capsys.readouterr().err.endswith("; who of them is wrong cannot be told\n")


def test_help_ends_with_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the providers, each on a line of its own."""
    with pytest.raises(SystemExit):
        parsed(price, "--help")
    out = capsys.readouterr().out
    assert "exit status: 0 all prices are there" in out
    assert "\n  STREAMER_<PROVIDER>_KEY " in out and "\n  FKS_<PROVIDER>_RPS " in out
