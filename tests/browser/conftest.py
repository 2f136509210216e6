"""A browser and a service for it: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.support import CHROMIUM, Dashboard, dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of this folder."""
    config.addinivalue_line("markers", "browser: drives a real browser; needs chromium and playwright")


# Of a module and not of the session: while it runs there is an event loop in this thread, and no test may be async.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; the test is skipped where there is none, or nobody has asked for it."""
    if os.environ.get("STREAMER_BROWSER_TESTS") != "1":
        pytest.skip("drives Chromium for minutes: set STREAMER_BROWSER_TESTS=1")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # No sandbox: tests may run as root, and the only pages are ours.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a desktop's size, in a context of its own."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context.new_page()


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """A page as narrow as the narrowest phone that is still about."""
    with browser.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, color_scheme="dark"
    ) as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A service that the tests of a module share: each leaves it as it found it."""
    with dashboard(tmp_path_factory.mktemp("served")) as service:
        yield service
