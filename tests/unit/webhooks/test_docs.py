"""What the page about webhooks says is so."""

from __future__ import annotations

import re
from pathlib import Path

from streamer.settings import describe
from streamer.web import webhooks
from streamer.webhooks.delivery import TOLERANCE_S
from streamer.webhooks.schemes import OF_PROVIDER
from streamer.webhooks.store import KEPT, SEEN_S

PAGE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text("utf-8")


def test_variables_are_settings() -> None:
    """All that begin with webhook, and no other name that nothing reads."""
    named, known = (set(re.findall(r"\bSTREAMER_[A-Z_]+\b", text)) for text in (PAGE, describe()))
    assert {name for name in known if "WEBHOOK" in name} <= named <= known


def test_the_table_has_every_answer() -> None:
    """Each status that the route gives, and those that come before it for a body or a rate."""
    told = {int(status) for status in re.findall(r"^\| (\d{3}) ", PAGE, re.MULTILINE)}
    (route,) = (one for one in webhooks.router.routes if getattr(one, "responses", None))
    documented = {int(status) for status in getattr(route, "responses")}  # noqa: B009 - only routes of an API have it
    assert told == documented - {403, 421, 431} | {200}


def test_schemes_and_limits_are_those_of_the_code() -> None:
    """Providers with schemes of their own have a row each; numbers are the ones in force."""
    for provider in OF_PROVIDER:
        assert re.search(rf"^\| `{provider}` \|", PAGE, re.MULTILINE)
    assert f"within {TOLERANCE_S} s" in PAGE
    assert f"the newest {KEPT:,}" in PAGE
    assert f"{SEEN_S // 86_400} days" in PAGE
