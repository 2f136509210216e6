"""A browser and a service for it: the Chromium of the system, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.support import Dashboard, chromium, dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of this folder."""
    config.addinivalue_line("markers", "browser: drives a real browser; needs chromium and playwright")


# Of a module and not of the session: while it runs there is an event loop in this thread, and no test may be async.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; where there is none the test is skipped, or fails where one has to be."""
    with chromium() as started:
        yield started


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
def _shared(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    with dashboard(tmp_path_factory.mktemp("served")) as service:
        yield service


@pytest.fixture
def served(_shared: Dashboard) -> Dashboard:
    """A service that the tests of a module share; whatever one has left in it, the next finds it as it was."""
    _shared.tidy()
    return _shared
