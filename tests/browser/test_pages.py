"""What serves the dashboard, and the rules that its files keep; needs no browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from streamer.web import pages

FOLDER = Path(pages.__file__).parent / "dashboard"
SCRIPTS = sorted(FOLDER.glob("*.js"))


@pytest.fixture
def client() -> AsyncClient:
    """A client of the pages alone."""
    app = FastAPI()
    app.include_router(pages.router)
    return AsyncClient(transport=ASGITransport(app), base_url="http://127.0.0.1")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/app.js", "text/javascript; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
    ],
)
async def test_files_have_their_type_and_are_asked_for_anew(
    client: AsyncClient, path: str, media_type: str
) -> None:
    """Each file says what it is and is never used unasked; what has not changed is not sent again."""
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.headers["cache-control"] == "no-cache"
    again = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.head(path)).headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("name", ["nothing.js", "..%2fapp.py", "%2e%2e/app.py", "__init__.py", ""])
async def test_nothing_else_is_served(client: AsyncClient, name: str) -> None:
    """No name leads out of the folder."""
    assert (await client.get(f"/static/{name}")).status_code == 404


def test_the_page_keeps_the_content_policy() -> None:
    """Nothing inline and nothing from elsewhere: the policy would have the browser refuse it."""
    html = (FOLDER / "index.html").read_text()
    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:|https?://", html)
    assert re.findall(r"<script([^>]*)>(.*?)</script>", html) == [(' type="module" src="/static/app.js"', "")]
    for reference in re.findall(r'(?:src|href)="/static/([^"]+)"', html):
        assert (FOLDER / reference).exists(), reference


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_small_and_cannot_make_markup(script: Path) -> None:
    """A module is short, imports what exists, and never turns text into markup."""
    text = script.read_text()
    assert len(text.splitlines()) < 250
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage", text)
    for reference in re.findall(r'from "\./([^"]+)"', text):
        assert (FOLDER / reference).exists(), reference


def test_every_id_that_scripts_look_for_is_in_the_page() -> None:
    """No script asks for an element that is not there."""
    known = set(re.findall(r'id="([^"]+)"', (FOLDER / "index.html").read_text()))
    asked = {name for script in SCRIPTS for name in re.findall(r'byId\("([^"]+)"\)', script.read_text())}
    assert asked <= known
