"""What the browser tests run: start-stream with its dashboard, as a user would run it, and an exchange to break."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Final
from urllib.request import urlopen

import psutil

from tests.support import BIN, Process, Simulator, free_port, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

CHROMIUM: Final = "/usr/bin/chromium"
PRODUCTS: Final = ("BTC-USD", "ETH-USD")
START_S: Final = 30.0
STOP_S: Final = 10.0


@dataclass(frozen=True)
class Dashboard:
    """A service with its page."""

    url: str
    stream: Process

    def start(self) -> None:
        """Start it again, on the same port."""
        self.stream.start()
        self.wait_ready()

    def stop(self) -> None:
        """Ask it to end, so that its Redis and its exchange end with it."""
        if self.stream.code is None:
            self.stream.signal(signal.SIGTERM)
            with suppress(TimeoutExpired):
                self.stream.wait(STOP_S)

    def wait_ready(self) -> None:
        """Return when its data is fresh."""
        wait_until(self._is_ready, START_S, why=f"{self.url} does not become ready")

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:  # a status of 503 is one too
            return False

    @contextmanager
    def frozen_exchange(self) -> Iterator[None]:
        """Freeze the simulator that start-stream has started, for as long as the block takes."""
        children = psutil.Process(self.stream.pid).children()
        [exchange] = [child for child in children if "streamer.simulator" in child.cmdline()]
        exchange.suspend()
        try:
            yield
        finally:
            exchange.resume()


@contextmanager
def dashboard(
    folder: Path, *, simulator: Simulator | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Dashboard]:
    """Run start-stream on an embedded Redis; yield when its data is fresh.

    Args:
        simulator: Where to stream from; its own where None, which has balances too.
    """
    port = free_port()
    command = [str(BIN / "start-stream"), *PRODUCTS, "--port", str(port), "--exchange", "simulator"]
    if simulator is not None:
        command += ["--ws-url", simulator.url]
    environment = {"STREAMER_STATE_DIR": str(folder / "state"), **(env or {})}
    with ExitStack() as stack:
        stream = stack.enter_context(Process(command, folder, env=environment, name="stream"))
        service = Dashboard(f"http://127.0.0.1:{port}/", stream)
        stack.callback(service.stop)
        service.wait_ready()
        yield service


def complaints_of(page: Page) -> list[str]:
    """Return a list that grows with everything the browser complains of on a page."""
    seen: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            seen.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    page.on("console", on_console)
    page.on("pageerror", lambda error: seen.append(f"exception: {error}"))
    return seen
