"""The OpenAPI document, and a page that shows it without scripts and without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import Response

from streamer.web.access import WEBHOOKS
from streamer.web.problems import Problem

router = APIRouter(include_in_schema=False)

_TOKEN: Final = "token"  # noqa: S105 - a name in the document
_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; font-size: 1.1rem; } code { font-family: ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; } td { vertical-align: top; padding: .2rem 1rem .2rem 0; }
td:first-child { white-space: nowrap; }
"""


def operation_id(route: APIRoute) -> str:
    """Return the name of an operation in the document: that of its function."""
    return route.name


def describe(app: FastAPI) -> None:
    """Have an application describe itself in full: with its problems, and which routes take the token."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _document(app: FastAPI) -> dict[str, Any]:
    told = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = told.setdefault("components", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {})["Problem"] = problem
    for name in ("HTTPValidationError", "ValidationError"):  # ours has another shape
        components["schemas"].pop(name, None)
    what = "STREAMER_API_TOKEN, where one is set: for what changes something, and for balances"
    components["securitySchemes"] = {_TOKEN: {"type": "http", "scheme": "bearer", "description": what}}
    for _, path, operation in _operations(told):
        if "401" in operation["responses"] and not path.startswith(WEBHOOKS):  # these bring a proof of their own
            operation["security"] = [{_TOKEN: []}, {}]
    return told


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


@router.get("/docs")
async def page(request: Request) -> Response:
    """Show the document. FastAPI's own page loads a script from elsewhere, which an offline machine cannot have."""
    document = request.app.openapi()
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width"><title>streamer: HTTP API</title>',
        '<link rel="stylesheet" href="/docs/style.css"><h1>streamer: HTTP API</h1>',
        f"<p>{escape(document['info']['description'])} For tools: ",
        '<a href="/openapi.json">/openapi.json</a> (OpenAPI). This page loads nothing from elsewhere.</p>',
        *(_shown(*each) for each in _operations(document)),
    ]
    return Response("".join(parts), media_type="text/html")


@router.get("/docs/style.css")
async def style() -> Response:
    """Return how the page looks."""
    return Response(_STYLE, media_type="text/css")


def _shown(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        (f"{one['name']} ({one['in']})", one.get("description", "") + _default_of(one["schema"]))
        for one in operation.get("parameters", ())
    ]
    if "requestBody" in operation:
        rows.append(("body", _example_of(operation["requestBody"])))
    rows += [(status, answer["description"]) for status, answer in sorted(operation["responses"].items())]
    table = "".join(f"<tr><td><code>{escape(a)}</code></td><td>{escape(b)}</td></tr>" for a, b in rows)
    about = escape(operation.get("description", ""))
    return f"<h2><code>{method} {escape(path)}</code></h2><p>{about}</p><table>{table}</table>"


def _default_of(schema: Mapping[str, Any]) -> str:
    return f" (default {schema['default']})" if schema.get("default") is not None else ""


def _example_of(body: Mapping[str, Any]) -> str:
    (content,) = body["content"].values()
    return orjson.dumps(content["example"]).decode() if "example" in content else "JSON"
