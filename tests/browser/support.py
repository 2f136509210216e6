"""What the browser tests run: start-stream with its dashboard, as a user would run it, and an exchange to break."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn
from urllib.request import Request, urlopen

import psutil
import pytest

from tests.support import BIN, Lanes, Process, Simulator, free_port, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

PRODUCTS: Final = ("BTC-USD", "ETH-USD")
START_S: Final = 30.0
STOP_S: Final = 20.0


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium; where there is none the test is skipped, or fails where one has to be."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    path = next(filter(None, map(which, names)), None)
    if path is None:
        lacking("needs a Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # No sandbox: tests may run as root, and the only pages are ours.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def visitor() -> Iterator[Page]:
    """A page of a desktop's size in a browser of its own, for a test that runs beside others."""
    with chromium() as browser:
        yield browser.new_page(viewport={"width": 1280, "height": 900})


class Worlds(Lanes):
    """Lanes of this folder alone: nothing is broken anywhere else while somebody looks at a page."""

    _AT_ONCE: ClassVar = 4
    _bodies: ClassVar[dict[tuple[str, str], Callable[..., None]]] = {}
    _running: ClassVar[dict[str, Future[None]]] = {}


worlds = Worlds()


def lacking(what: str) -> NoReturn:
    """Skip for want of something; fail where everything is to be there, for who skips there has tested nothing."""
    if "1" in (os.environ.get("CI"), os.environ.get("STREAMER_BROWSER_TESTS")):
        pytest.fail(what)
    pytest.skip(what)


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
            try:
                self.stream.wait(STOP_S)
            except TimeoutExpired:
                self.stream.kill()  # else one that is started again would meet it

    def wait_ready(self) -> None:
        """Return when its data is fresh."""
        wait_until(self._is_ready, START_S, why=f"{self.url} does not become ready")

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:  # a status of 503 is one too
            return False

    def ask(self, path: str, body: object = None) -> Any:
        """Return what a route answers with success; with a body it is a POST."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def tidy(self) -> None:
        """Have it stream what it began with and nothing else, and return when all is well."""
        held = self.ask("api/v1/ws/start-stream", {"product_ids": PRODUCTS})["products"]
        if more := sorted(set(held) - set(PRODUCTS)):
            self.ask("api/v1/ws/stop-stream", {"product_ids": more})
        wait_until(self._is_tidy, START_S, why=f"{self.url} does not come to stream what it began with")

    def _is_tidy(self) -> bool:
        seen = self.ask("api/v1/ws/stream-status?quiet=true")
        return bool(seen["level"] == "healthy" and seen["status"]["products"]["wanted"] == len(PRODUCTS))

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
