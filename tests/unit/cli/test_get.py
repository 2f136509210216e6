"""`streamer get`: what is printed, and what its exit status says."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from streamer.cli import get
from streamer.errors import ConfigError, StoreUnavailable, StreamerError, Unavailable, UnknownProduct
from streamer.model import Answers, Balance, Basis, ProductId, Reading, Ticker, Tier
from streamer.reader.reader import AsyncReader

BTC, ETH = ProductId("BTC-USD"), ProductId("ETH-USD")
URL = "redis://127.0.0.1:1"


def read(source: str = "coinbase", reason: str | None = None) -> Reading[Ticker]:
    """A reading with words of somebody who can write to Redis."""
    at = datetime(2026, 11, 20, 15, 4, 6, tzinfo=UTC)
    ticker = Ticker(BTC, Decimal("84210.37"), at)
    return Reading(ticker, Tier.STALE if reason else Tier.REALTIME, 0.1, 0.2, at, source, reason)


def arguments(url: str | None = URL, **changed: Any) -> argparse.Namespace:
    """What the command line gives."""
    given: dict[str, Any] = {"products": [BTC], "redis_url": url, "json": False, "balances": False, "all": False}
    return argparse.Namespace(**given | {"no_rest": True, "max_age_s": None} | changed)


def held(amount: str) -> Reading[Balance]:
    """A balance of Bitcoin."""
    at = datetime(2026, 11, 20, 15, 4, 6, tzinfo=UTC)
    balance = Balance("BTC", Decimal(amount), Decimal(0), Decimal(amount), Basis.CONFIRMED, at)
    return Reading(balance, Tier.REALTIME, 0.1, 0.2, at, "coinbase")


def miss(what: str = "ticker BTC-USD") -> Unavailable:
    """Nothing is there."""
    return Unavailable(what, {"realtime": "it is not streamed", "cache": "no copy"})


def outage() -> Unavailable:
    """Redis does not answer."""
    gone = StoreUnavailable(URL, "gone")
    error = Unavailable("ticker BTC-USD", {"realtime": str(gone)})
    error.__cause__ = gone
    return error


class Told:
    """Makes every reader answer by plan, and keeps how it was made and asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: Mapping[Any, Reading[Any] | StreamerError]) -> None:
        self.how: dict[str, Any] = {}
        self.made: dict[str, Any] = {}
        readings = {p: one for p, one in found.items() if isinstance(one, Reading)}
        missing = {p: one for p, one in found.items() if isinstance(one, StreamerError)}
        told, real = self, AsyncReader

        async def answer(self: AsyncReader, *what: Any, **how: Any) -> Answers[Any, Any]:
            told.how = how
            return Answers(readings, missing)

        def make(url: str, **made: Any) -> AsyncReader:
            told.made = made
            return real(url, **made)

        async def tend(self: AsyncReader) -> None:
            """There is no Redis to close."""

        monkeypatch.setattr(real, "tickers", answer)
        monkeypatch.setattr(real, "balances", answer)
        monkeypatch.setattr(real, "close", tend)
        monkeypatch.setattr(get, "AsyncReader", make)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        pytest.param({BTC: read()}, 0, id="there"),
        pytest.param({BTC: miss()}, 1, id="missing"),
        pytest.param({BTC: read(), ETH: UnknownProduct(ETH)}, 1, id="one missing"),
        pytest.param({BTC: outage()}, 3, id="no Redis"),
        pytest.param({BTC: outage(), ETH: outage()}, 3, id="no Redis, several"),
        pytest.param({BTC: UnknownProduct(BTC)}, 1, id="no such product"),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: Any, code: int, as_json: bool
) -> None:
    """A miss is 1; where Redis does not answer nothing is known, and that is 3."""
    Told(monkeypatch, found)
    assert get.execute(arguments(products=list(found), json=as_json)) == code
    printed = capsys.readouterr()
    assert (printed.err.count("error: ") == 1 and "Redis at" in printed.err and not printed.out) is (code == 3)


def test_what_redis_withholds_is_an_outage_also_where_rest_has_told_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is there is printed, and the status is that of an outage."""
    Told(monkeypatch, {BTC: read(), ETH: outage()})
    assert get.execute(arguments(products=[BTC, ETH])) == 3
    printed = capsys.readouterr()
    assert "84210.37" in printed.out and "ETH-USD: " in printed.err and "Redis at" in printed.err


def test_what_is_missing_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A row with "none" and the reason on stderr; as JSON an object without a tier; names that look like it."""
    found = {BTC: miss(), ETH: UnknownProduct(ETH, ["ETH-EUR", "BTH-USD"])}
    Told(monkeypatch, found)
    assert get.execute(arguments(products=[BTC, ETH])) == 1
    printed = capsys.readouterr()
    assert [line.split() for line in printed.out.splitlines()[1:]] == [[BTC, "-", "none"], [ETH, "-", "none"]]
    assert printed.err.splitlines() == [
        f"BTC-USD: {miss()}; to have it streamed: streamer wanted add BTC-USD",
        "ETH-USD: the exchange has no product ETH-USD; did you mean ETH-EUR or BTH-USD?",
    ]
    assert get.execute(arguments(products=[BTC, ETH], json=True)) == 1
    assert json.loads(capsys.readouterr().out) == {p: {"tier": None, "error": str(e)} for p, e in found.items()}


def test_how_it_is_asked_reaches_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """REST is asked unless it is forbidden, and no age is asked for that was not given."""
    told = Told(monkeypatch, {BTC: read()})
    assert get.execute(arguments(no_rest=False, max_age_s=2.5)) == 0
    assert (told.made["rest"], told.how) == (True, {"max_age_s": 2.5})
    assert get.execute(arguments()) == 0
    assert (told.made["rest"], told.how) == (False, {"max_age_s": None})


def test_the_flags_are_those_of_the_manual() -> None:
    """REST by default, and an age in seconds."""
    parser = argparse.ArgumentParser()
    get.add_arguments(parser)
    given = parser.parse_args(["BTC-USD", "--no-rest", "--max-age-s", "3"])
    assert (given.no_rest, given.max_age_s) == (True, 3.0)
    given = parser.parse_args(["BTC-USD"])
    assert (given.no_rest, given.max_age_s) == (False, None)


def test_balances_missing_one_by_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are there are printed; of the others it is said why, once for all with the same reason."""
    error = miss("accounts")
    Told(monkeypatch, {"BTC": held("0.25"), "ETH": error, "SOL": error, "USD": held("0")})
    assert get.execute(arguments(products=[], balances=True)) == 1
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()[1:]] == ["BTC", "ETH", "SOL"]
    assert printed.err.splitlines() == [f"ETH, SOL: {error}", "1 empty ones not shown (--all)"]
    assert get.execute(arguments(products=[], balances=True, json=True, all=True)) == 1
    rows = json.loads(capsys.readouterr().out)
    assert list(rows) == ["BTC", "ETH", "SOL", "USD"]
    assert rows["BTC"]["total"] == "0.25" and rows["ETH"] == {"tier": None, "error": str(error)}


def test_no_balances_at_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No currency is known: that is a miss with its reason, and the output stays an object."""
    Told(monkeypatch, {"": miss("accounts")})
    assert get.execute(arguments(products=[], balances=True, json=True)) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {}
    assert printed.err.splitlines()[0] == str(miss("accounts"))
    assert "is start-stream running with a key?" in printed.err
    Told(monkeypatch, {"": outage()})
    assert get.execute(arguments(products=[], balances=True, json=True)) == 3
    assert capsys.readouterr().out == ""


def test_no_redis_at_all_is_not_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing says where Redis is, nothing is known either; a bad URL is bad input."""
    monkeypatch.setattr("streamer.cli.common.find_redis_url", lambda environ, explicit: explicit)
    assert get.execute(arguments(None)) == 3
    with pytest.raises(ConfigError):
        get.execute(arguments("redis://h?foo=bar"))


def test_words_from_redis_are_printed_as_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    """Markup in a source is no markup, and an escape in a reason does not reach the terminal."""
    found = read("[bold]x[/nonsense]\x1b[2J", "feed [red]gone[/] \x1b]0;owned\x07")
    get._print([BTC], Answers({BTC: found}, {}))
    printed = capsys.readouterr()
    assert "[bold]x[/nonsense]?[2J" in printed.out
    assert printed.err == "BTC-USD: feed [red]gone[/] ?]0;owned?\n"
