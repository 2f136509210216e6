"""What the README shows does what it says, run as its reader would: beside a start-stream, without settings.

So does what `docs/providers.md` shows.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import BIN, PATIENCE, Process, Stream, free_port, run, wait_until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROVIDERS = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")


def blocks(page: str, heading: str = "") -> list[str]:
    """Return the shell blocks of a page's section, or of what stands before the first one."""
    text = page.split(f"\n## {heading}\n", 1)[1] if heading else page
    return re.findall(r"```sh\n(.*?)```", text.split("\n## ", 1)[0], re.DOTALL)


def in_shell(script: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run lines of a page; the first that fails ends them, as does a curl that is refused."""
    lines = script.replace(".venv/bin/", "").replace("curl ", "curl -sSf ")
    path = f"{BIN}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-euc", lines],
        cwd=folder,
        env=env | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        check=False,
    )


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


@pytest.mark.parametrize(
    "shown",
    [*blocks(README, "Other providers"), *blocks(PROVIDERS)],
    ids=["README", "commands", "routes"],
)
def test_other_providers(tmp_path: Path, shown: str) -> None:
    """The commands and requests that are shown first are all answered, by providers that are played beside."""
    port = free_port()
    env = {"STREAMER_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path)}
    command = [str(BIN / "start-stream"), "BTC-USD", "--exchange", "simulator", "--port", str(port)]
    with Process(command, tmp_path, env=env, name="stream"):
        ready = f"curl http://127.0.0.1:{port}/readyz"
        wait_until(lambda: in_shell(ready, tmp_path, env).returncode == 0, 30)
        done = in_shell(shown.replace(":8700", f":{port}"), tmp_path, env)
    assert done.returncode == 0, done.stderr
    assert "binance" in done.stdout or "polygon" in done.stdout
    assert "simulator" in done.stdout + done.stderr


def test_the_fake_of_all_providers(tmp_path: Path) -> None:
    """It plays them where the page says, takes the orders that are shown, and bans whom it was told to."""
    _, block = blocks(PROVIDERS, "Without an account")
    start, *lines = block.replace("7810", str(free_port())).splitlines()
    command = [str(BIN / "streamer"), *start.split("#")[0].split()[1:]]
    orders = [line for line in lines if not line.startswith("export ")]
    env = {"HOME": str(tmp_path)}
    with Process(command, tmp_path, env=env, name="simulator") as fake:
        wait_until(lambda: in_shell(orders[-1], tmp_path, env).returncode == 0, 30)
        exports = [line for line in lines if line.startswith("export ")]
        asked = 'curl "$STREAMER_BINANCE_URL/fapi/v2/ticker/price?symbol=BTCUSDT"'
        assert '"price"' in in_shell("\n".join([*exports, asked]), tmp_path, env).stdout
        assert in_shell(orders[0], tmp_path, env).returncode == 0
        assert " 418" in in_shell("\n".join([*exports, asked]), tmp_path, env).stderr
        told = in_shell(orders[-1], tmp_path, env).stdout
    assert '"418":1' in told
    assert all(address in fake.output for address in re.findall(r"STREAMER_\w+_URL=\S+", "\n".join(exports)))
