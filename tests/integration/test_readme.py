"""The Python of the README does what it says, run as its reader would: beside a start-stream, without settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support import Stream, run, wait_until

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_reader_in_ten_lines(tmp_path: Path) -> None:
    """Those lines run, and print a realtime price of a simulated exchange."""
    (code,) = re.findall(r"```python\n(from streamer import Reader\n.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 10
    env = {"STREAMER_STATE_DIR": str(tmp_path / "state"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    with Stream(tmp_path, "--exchange", "simulator", "BTC-USD", "ETH-USD", env=env):
        wait_until(lambda: run("stream-status", folder=tmp_path, env=env).returncode == 0, 30)
        check = (
            "\nassert len(prices) == 2 and candles and fleet.accounts is not None and not fleet.candles.missing\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code + check], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30
        )
    assert done.returncode == 0, done.stderr
    assert " realtime " in done.stdout
    assert " simulator" in done.stdout
