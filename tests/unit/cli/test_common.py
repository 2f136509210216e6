"""What reaches a terminal, and with which exit status a command ends."""

from __future__ import annotations

import subprocess
import sys

import pytest
from rich.console import Console

from streamer.cli.common import complain, run, words
from streamer.cli.plain import plain
from streamer.errors import ConfigError, StreamerError


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("BTC-USD 84,210.37 ü → ☃", "BTC-USD 84,210.37 ü → ☃"),
        ("\x1b[2J\x1b]0;owned\x07", "?[2J?]0;owned?"),
        ("a\r\nb\tc\x00", "a??b?c?"),
        ("\x9b31m\u202eabc", "?31m?abc"),
        ("\udcff", "?"),
    ],
)
def test_plain_words_cannot_steer_a_terminal(said: str, shown: str) -> None:
    """Escapes, line ends, direction marks and what cannot be encoded are replaced, all else stays."""
    assert plain(said) == shown
    plain(said).encode()


@pytest.mark.parametrize(
    "said", ["[red]x[/]", "[/nonsense]", "[link=http://evil]x[/link]", ":smile:", "a\\", "\\["]
)
def test_rich_prints_words_as_they_stand(said: str) -> None:
    """Neither markup nor emoji codes of others are carried out."""
    console = Console(width=80, force_terminal=True)
    with console.capture() as printed:
        console.print(words(said))
    assert printed.get() == f"{said}\n"


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever Redis or the exchange put into it."""
    complain(StreamerError("no\nluck \x1b[2J"))
    assert capsys.readouterr().err == "error: no?luck ?[2J\n"


@pytest.mark.parametrize(
    ("exc", "code"),
    [(ConfigError("X", 1, "no"), 2), (StreamerError("no"), 1), (KeyboardInterrupt(), 130)],
)
def test_errors_become_exit_codes(exc: BaseException, code: int) -> None:
    """2 for bad input, 130 for Ctrl-C, 1 for what the world did."""

    def main() -> int:
        raise exc

    assert run(main) == code


def test_the_shared_words_cost_a_probe_nothing() -> None:
    """stream-status shares them, and must not load asyncio or rich for it."""
    code = "import sys, streamer.cli.stream_status; print({'asyncio', 'rich'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
