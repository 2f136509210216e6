"""`streamer ohlcv`: what is printed, written and drawn, and what its exit status says."""

from __future__ import annotations

import builtins
import csv
import io
import json
import sys
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from streamer.cli import ohlcv
from streamer.cli.bars import csv_of, parquet_of
from streamer.cli.plot import ASCII, candles
from streamer.data.ask import MOST_BARS, Ask, Found, Served
from streamer.data.story import Fate, Story
from streamer.errors import ConfigError, StoreUnavailable, StreamerError, Unavailable, UnknownSymbol
from streamer.model import Tier
from streamer.providers.shape import Bar, Instrument, Interval, Series
from tests.unit.cli.test_price import BTC, URL, Desk, miss, parsed

START_S = 1_789_995_600
START = "2026-09-21T13:00:00+00:00"
BARS = (
    Bar(START_S, Decimal("10.50"), Decimal(12), Decimal("10.1"), Decimal("11.9"), Decimal("1.5")),
    Bar(START_S + 3600, Decimal("11.9"), Decimal("11.95"), Decimal(9), Decimal("9.000001"), None),
    Bar(START_S + 7200, Decimal("9.000001"), Decimal(10), Decimal(9), Decimal(10), Decimal("1E+3"), False),
)


def barred(bars: tuple[Bar, ...] = BARS, source: str = "coinbase", reason: str | None = None) -> Served[Series]:
    """Bars of a provider."""
    found = Found(Series(BTC, Interval.H1, Instrument.SPOT, bars), "coinbase", Tier.REST, 0.25, source)
    story = Story()
    story.tell("coinbase", Fate.SERVED, "rest", 0.5)
    return Served(BTC, found, "Coinbase", 1.5, reason, story)


def bar(start: int, opened: int, high: int, low: int, close: int) -> Bar:
    """A bar of whole numbers."""
    return Bar(START_S + 3600 * start, Decimal(opened), Decimal(high), Decimal(low), Decimal(close))


def flat(start: int, price: Decimal) -> Bar:
    """A bar of one price."""
    return Bar(START_S + 3600 * start, price, price, price, price)


def ran(monkeypatch: pytest.MonkeyPatch, answer: Any, *words: str) -> int:
    """Run the command on a desk that answers just that."""
    Desk(answer if isinstance(answer, StreamerError) else {BTC: answer}).at(monkeypatch, ohlcv)
    return ohlcv.execute(parsed(ohlcv, "BTC-USD", *words))


# -- what is printed ----------------------------------------------------------------------------------------------


def test_csv_has_numbers_as_given(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With a header; a volume that is not known is empty; where they are from is told on stderr."""
    assert ran(monkeypatch, barred(source="simulator", reason="not live"), "--csv") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "start,open,high,low,close,volume,closed",
        f"{START},10.50,12,10.1,11.9,1.5,true",
        "2026-09-21T14:00:00+00:00,11.9,11.95,9,9.000001,,true",
        "2026-09-21T15:00:00+00:00,9.000001,10,9,10,1000,false",
    ]
    assert printed.err.splitlines() == [
        "3 bars of BTC-USD 1h from coinbase (spot), rest, 0.2 s old, score 99, made by simulator",
        "not live",
    ]


def test_else_there_is_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Plain when piped; the open bar says so."""
    assert ran(monkeypatch, barred()) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["start", "open", "high", "low", "close", "volume", "closed"]
    assert rows[0].split() == [START, "10.50", "12", "10.1", "11.9", "1.5", "yes"]
    assert rows[1].split()[-2:] == ["9.000001", "yes"] and rows[2].split()[-1] == "open"


def test_json_has_the_shape_of_the_route(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With findings where they were asked for, else null."""
    assert ran(monkeypatch, barred(), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["validation"] is None and told["bars"][0]["open"] == "10.50" and told["score"] == 98.6
    assert ran(monkeypatch, barred(), "--json", "--validate") == 0
    assert {found["code"] for found in json.loads(capsys.readouterr().out)["validation"]["findings"]} >= {
        "unclosed"
    }


def test_findings_are_told_the_gravest_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar that cannot be and one that is missing; the bars are printed as they are, and the status is 0."""
    broken = Bar(START_S + 5 * 3600, Decimal(10), Decimal(9), Decimal(11), Decimal(10), Decimal(-1))
    assert ran(monkeypatch, barred((*BARS[:2], broken)), "--csv", "--validate") == 0
    printed = capsys.readouterr()
    assert "10,9,11,10,-1,true" in printed.out
    said = printed.err.splitlines()[1:]
    assert said[0].startswith("complete to 50.00%, ") and said[0].endswith("worst high")
    severities = [line.split()[0] for line in said[1:]]
    assert severities == sorted(severities, key=["high", "medium", "low"].index) and len(severities) >= 3


@pytest.mark.parametrize(("answer", "code"), [(barred(), 0), (miss(), 1), (StoreUnavailable(URL, "gone"), 3)])
def test_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: Any, code: int
) -> None:
    """A miss is 1 and says why by provider; without Redis it is 3 and one line."""
    assert ran(monkeypatch, answer, "--csv") == code
    printed = capsys.readouterr()
    assert bool(printed.out) is (code == 0)
    assert ("BTC-USD: coinbase: it has none" in printed.err) is (code == 1)
    assert printed.err.startswith("error: Redis") is (code == 3)


def test_a_symbol_that_nobody_knows_is_a_miss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Redis has been asked and the providers as well: that is 1, not 3."""
    assert ran(monkeypatch, UnknownSymbol("data symbol", "none has BTC-USD"), "--csv") == 1
    assert capsys.readouterr().err == "BTC-USD: providers: none has BTC-USD\n"


def test_a_miss_is_json_where_json_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that whoever reads standard output need not read two languages."""
    assert ran(monkeypatch, miss(), "--json") == 1
    assert json.loads(capsys.readouterr().out)["tiers"]["coinbase"] == "it has none"


# -- what is asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "ask"),
    [
        ((), Ask(BTC, Interval.H1, 100)),
        (("--limit", "7", "--interval", "1d"), Ask(BTC, Interval.D1, 7)),
        (("--start", "2026-09-21T13:00:00Z"), Ask(BTC, Interval.H1, MOST_BARS, START_S)),
        (
            ("--start", str(START_S), "--end", "2026-09-22"),
            Ask(BTC, Interval.H1, MOST_BARS, START_S, 1_790_035_200),
        ),
        (("--end", "2026-09-22", "--limit", "5"), Ask(BTC, Interval.H1, 5, None, 1_790_035_200)),
    ],
)
def test_what_is_asked(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], ask: Ask) -> None:
    """The newest hundred; all of a range that has a begin."""
    desk = Desk({BTC: barred()}).at(monkeypatch, ohlcv)
    assert ohlcv.execute(parsed(ohlcv, "BTC-USD", *words)) == 0
    assert desk.asked == [ask]
    assert (desk.how.timeout_s, desk.how.progress) == (ohlcv.TIMEOUT_S, None)


@pytest.mark.parametrize(
    "words",
    [
        ("--interval", "2h"),
        ("--start", "yesterday"),
        ("--parquet", "-"),
        ("--csv", "nowhere/bars.csv"),
        ("--plot", "bars.gif"),
        ("--plot", "--csv"),
        ("--timeout-s", "0"),
    ],
)
def test_bad_input_is_told_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Also what could not be written later."""
    monkeypatch.chdir(tmp_path)
    desk = Desk({BTC: barred()}).at(monkeypatch, ohlcv)
    with pytest.raises(ConfigError):
        ohlcv.execute(parsed(ohlcv, "BTC-USD", *words))
    assert desk.asked == []


@pytest.mark.parametrize(
    ("words", "extra"), [(("--parquet", "b.parquet"), "parquet"), (("--plot", "b.png"), "plot")]
)
def test_what_is_not_installed_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...], extra: str
) -> None:
    """Before anything is asked, and without a file."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pyarrow", "matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    found = builtins.__import__

    def lacking(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] in ("pyarrow", "matplotlib"):
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    monkeypatch.setattr("streamer.cli.bars.import_module", lacking)
    with pytest.raises(ConfigError, match=rf"coinbase-streamer\[{extra}\]"):
        ran(monkeypatch, barred(), *words)
    assert list(tmp_path.iterdir()) == []


# -- what is written ----------------------------------------------------------------------------------------------


def test_files_are_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CSV and JSON as on standard output; nothing else is left in the folder."""
    for form in ("csv", "json"):
        assert ran(monkeypatch, barred(), f"--{form}", str(tmp_path / f"bars.{form}")) == 0
        assert capsys.readouterr().out == ""
    assert (tmp_path / "bars.csv").read_bytes() == csv_of(BARS)
    assert len(json.loads((tmp_path / "bars.json").read_bytes())["bars"]) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"bars.csv", "bars.json"}


def test_a_write_that_fails_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Interrupted before the last step: what was there is there, and no draft beside it."""
    file = tmp_path / "bars.csv"
    file.write_text("old")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("streamer.cli.files.os.fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ran(patch, barred(), "--csv", str(file))
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name and the reason; the device stays one."""
    with pytest.raises(StreamerError, match="/dev/full cannot be written: No space left on device"):
        ran(monkeypatch, barred(), "--csv", "/dev/full")
    assert Path("/dev/full").is_char_device()


def test_parquet_has_decimals_as_given() -> None:
    """Nothing is rounded; what is not known is null; what the bars are of is in the metadata."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install pyarrow")
    table = parquet.read_table(io.BytesIO(parquet_of(barred(source="simulator"))))
    rows = table.to_pylist()
    assert [row["close"] for row in rows] == [one.close for one in BARS]
    assert [row["volume"] for row in rows] == [one.volume for one in BARS]
    assert [row["closed"] for row in rows] == [True, True, False]
    assert rows[0]["start"].isoformat() == START
    assert str(table.schema.field("close").type) == "decimal128(8, 6)"
    about = table.schema.metadata
    assert (about[b"symbol"], about[b"provider"], about[b"source"]) == (b"BTC-USD", b"coinbase", b"simulator")
    with localcontext(prec=80):
        huge = flat(0, Decimal(10) ** 30 + Decimal("1e-30"))
    (row,) = parquet.read_table(io.BytesIO(parquet_of(barred((huge,))))).to_pylist()
    assert (row["open"], row["volume"]) == (huge.open, None)
    with pytest.raises(StreamerError, match="open needs 101 digits"):
        parquet_of(barred((flat(0, Decimal("1e100")),)))


def test_csv_can_be_read_back() -> None:
    """By name, to the same numbers."""
    rows = list(csv.DictReader(io.StringIO(csv_of(BARS).decode())))
    assert [Decimal(row["close"]) for row in rows] == [one.close for one in BARS]


# -- what is drawn ------------------------------------------------------------------------------------------------


def drawn(bars: tuple[Bar, ...], width: int = 40, rows: int = 4) -> list[str]:
    """The lines of a plot."""
    return candles(barred(bars).found.value, width=width, rows=rows, signs=ASCII).plain.splitlines()


def test_candles_stand_at_their_prices() -> None:
    """Wicks from high to low, bodies from open to close, rising and falling told apart; a scale; the times."""
    lines = drawn((bar(0, 10, 18, 10, 14), bar(1, 14, 15, 10, 12)))
    assert [line[-2:] for line in lines[:4]] == ["| ", "||", "=#", "=#"]
    assert lines[0].split()[0] == "17"
    assert lines[4].strip() == "2026-09-21 13:00 to 2026-09-21 14:00 UTC, = rising # falling"


def test_bars_that_do_not_fit_share_columns() -> None:
    """The first opens, the last closes, highs and lows are kept; it is said."""
    bars = tuple(bar(i, 10 + i % 3, 15, 9, 11) for i in range(1000))
    lines = drawn(bars, width=30)
    assert max(len(line) for line in lines[:4]) <= 30
    assert "bars in each column" in lines[-1]


def test_a_price_that_never_moves_is_a_line() -> None:
    """Nothing is divided by its span."""
    assert drawn((flat(0, Decimal(10)),))[0].endswith("=")


def test_a_plot_is_drawn_without_colours_when_piped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Characters alone; the bars are not printed beside it."""
    assert ran(monkeypatch, barred(), "--plot") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "┃" in out and START not in out
    with_colours = Console(force_terminal=True, width=60, file=io.StringIO())
    with_colours.print(candles(barred().found.value, width=60))


def test_a_picture_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also of bars without volumes; the title says that it is simulated."""
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    assert ran(monkeypatch, barred(), "--plot", str(tmp_path / "bars.png")) == 0
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
    bare = barred(tuple(bar(i, 10, 12, 9, 11) for i in range(3)), source="simulator")
    assert ran(monkeypatch, bare, "--plot", str(tmp_path / "bars.svg"), "--csv", str(tmp_path / "b.csv")) == 0
    assert "made by simulator" in (tmp_path / "bars.svg").read_text()


def test_a_miss_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No empty file that somebody would take for no trades."""
    gone = Unavailable("bars", {"binance": "late"})
    assert ran(monkeypatch, gone, "--csv", str(tmp_path / "bars.csv")) == 1
    assert list(tmp_path.iterdir()) == []
