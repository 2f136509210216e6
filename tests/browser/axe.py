"""Looks for what keeps people out of a page, with axe-core; `npm ci --prefix tests/browser` installs it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.browser.support import lacking

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCRIPT: Final = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
GRAVE: Final = frozenset({"serious", "critical"})


@cache
def _source() -> str:
    if not SCRIPT.exists():
        lacking("needs axe-core: npm ci --prefix tests/browser")
    return SCRIPT.read_text()


def barriers(page: Page) -> list[str]:
    """Return the serious and critical violations on a page as it is now, each with where it is and why.

    The script comes in through the debugger: the page's content policy, which stays in force, forbids other ways.
    """
    page.evaluate(f"() => {{ {_source()} }}")
    found: dict[str, Any] = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 10, "axe has looked at next to nothing"
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]
