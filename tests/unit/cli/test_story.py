"""`streamer explain --symbol`: what became of each provider's turn."""

from __future__ import annotations

import json

import pytest

from streamer.cli import explain, story
from streamer.errors import ConfigError, StoreUnavailable, StreamerError, UnknownSymbol
from tests.unit.cli.test_ohlcv import barred
from tests.unit.cli.test_price import BTC, URL, Desk, miss, parsed, priced


def told(monkeypatch: pytest.MonkeyPatch, answer: object, *words: str) -> int:
    """Run the command on a desk that answers just that."""
    Desk(answer if isinstance(answer, StreamerError) else {BTC: answer}).at(monkeypatch, story)
    return explain.execute(parsed(explain, "--symbol", "BTC-USD", *words))


def test_each_turn_has_a_row_and_the_last_line_says_what_is_served(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order in which they ended, with what each took; whoever was not asked comes after."""
    assert told(monkeypatch, priced(reason="binance was asked first")) == 0
    head, *rows, order, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["provider", "what", "became", "of", "it", "took", "why"]
    assert [" ".join(row.split()) for row in rows] == [
        "binance failed 1200.0 ms RestUnavailable: no answer",
        "coinbase served 500.0 ms rest",
        "coingecko not asked one before it had answered",
    ]
    assert order == "price BTC-USD: order coinbase, binance, coingecko"
    assert last == (
        "price BTC-USD: 84210.370 from coinbase served (spot, rest, 0.2 s old): binance was asked first"
    )


def test_bars_have_a_story_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """How many came, of what."""
    assert told(monkeypatch, barred(), "--interval", "1h") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("bars BTC-USD 1h: 3 bars from coinbase served")


def test_a_failure_has_a_story(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Why nobody could answer, provider by provider, and status 1; as JSON nothing is served."""
    assert told(monkeypatch, miss()) == 1
    _, *rows, _, last = capsys.readouterr().out.splitlines()
    assert [" ".join(row.split()) for row in rows] == [
        "coinbase no answer it has none",
        "binance no answer not sent: ?[2J",
    ]
    assert last == "price BTC-USD: nobody has anything that may be served"
    assert told(monkeypatch, miss(), "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["served"] is None and answer["story"][0]["why"] == "it has none"


def test_a_symbol_that_nobody_knows_has_a_story(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is served, and why is said, with status 1."""
    assert told(monkeypatch, UnknownSymbol("data symbol", "none has BTC-USD"), "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["served"] is None and answer["story"][0]["why"] == "none has BTC-USD"


def test_json_has_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Turns, order, and the answer in the shape of the route."""
    assert told(monkeypatch, priced(), "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["what"] == "price BTC-USD"
    assert [turn["fate"] for turn in answer["story"]] == ["failed", "served", "not asked"]
    assert answer["served"]["price"] == "84210.370"


def test_without_redis_it_cannot_tell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and status 3."""
    assert told(monkeypatch, StoreUnavailable(URL, "gone")) == 3
    assert capsys.readouterr().err == f"error: Redis at {URL} is unavailable: gone\n"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("BTC-USD", "--symbol", "BTC-USD"),
        ("BTC-USD", "--provider", "binance"),
        ("BTC-USD", "--interval", "1h"),
        ("BTC-USD", "--trading"),
        ("--symbol", "SPY", "--interval", "2h"),
    ],
)
def test_what_does_not_go_together_is_bad_input(words: tuple[str, ...]) -> None:
    """A product or a symbol, and what belongs to a symbol with one only."""
    with pytest.raises(ConfigError):
        explain.execute(parsed(explain, *words))
