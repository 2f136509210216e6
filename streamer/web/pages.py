"""The dashboard: one page and what it is made of, from files of this package."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

router = APIRouter(include_in_schema=False)

_FOLDER: Final = Path(__file__).parent / "dashboard"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Asked for anew each time, which costs a 304: modules of two versions must never meet in one page.
_CACHING: Final = "no-cache"


def _read() -> dict[str, tuple[bytes, str, str]]:
    """Return content, type and tag by name: read once, and no path that a client sends is ever opened."""
    files = {}
    for path in sorted(_FOLDER.iterdir()):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            files[path.name] = content, _TYPES[path.suffix], f'"{sha256(content).hexdigest()[:16]}"'
    return files


_FILES: Final = _read()


@router.api_route("/", methods=["GET", "HEAD"])
async def dashboard(request: Request) -> Response:
    """Return the page."""
    return _file(request, "index.html")


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
async def static(request: Request, name: str) -> Response:
    """Return a part of the page."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    if name not in _FILES:
        raise HTTPException(404, "the dashboard has no such file")
    content, media_type, tag = _FILES[name]
    headers = {"Cache-Control": _CACHING, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, media_type)
