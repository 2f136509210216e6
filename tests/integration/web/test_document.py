"""The OpenAPI document says what is: every route, every answer, and shapes that real answers have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from streamer.web import data_shapes, shapes
from streamer.web.problems import Problem
from tests.integration.web.rig import TOKEN, Api

ROUTES: dict[str, dict[str, set[str]]] = {
    "/api/v1/market/ticker/{product_id}": {"get": {"404", "422", "503"}},
    "/api/v1/market/tickers": {"get": {"422", "503"}},
    "/api/v1/market/accounts": {"get": {"401", "422", "503"}},
    "/api/v1/market/candles/{product_id}": {"get": {"404", "422", "503"}},
    "/api/v1/market/products": {"get": {"422", "503"}},
    "/api/v1/ws/start-stream": {"post": {"401", "404", "408", "413", "422", "503"}},
    "/api/v1/ws/stop-stream": {"post": {"401", "408", "413", "422", "503"}},
    "/api/v1/ws/stream-status": {"get": {"422", "503"}},
    "/livez": {"get": set()},
    "/readyz": {"get": {"503"}},
    "/api/v1/system/calls": {"get": {"503"}},
    "/api/v1/system/errors": {"get": {"422", "503"}},
    "/api/v1/migration/stats": {"get": {"503"}},
    "/api/v1/migration/flags": {"post": {"401", "408", "413", "422", "503"}},
    "/webhooks/{provider}": {"post": {"400", "401", "404", "408", "409", "413", "415", "503"}},
    "/metrics": {"get": set()},
    "/api/v1/system/health": {"get": {"503"}},
    "/api/v1/stream": {"get": {"422", "503"}},
}
PARAMETERS = {
    "/tickers": {"product_ids": "BTC-USD"},
    "/candles/{product_id}": {"limit": "5"},
    "/api/v1/data/price": {"symbol": "BTC-USD"},
    "/api/v1/data/ohlcv": {"symbol": "BTC-USD", "interval": "5m", "limit": "2", "validate": "true"},
}
ANYWHERE = {"200", "403", "421", "429", "431"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each as path, method and what is said of it."""
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            yield path, method, told


@pytest.fixture
async def document(api: Api) -> dict[str, Any]:
    """As it is served."""
    told: dict[str, Any] = (await api.get("/openapi.json")).json()
    return told


async def test_every_route_and_every_answer_is_documented(document: dict[str, Any]) -> None:
    """Those that are promised are there, each with its errors, a summary, a description and a name of its own."""
    told = {
        path: {m: set(one["responses"]) for m, one in methods.items()}
        for path, methods in document["paths"].items()
    }
    wanted = {path: {m: codes | ANYWHERE for m, codes in methods.items()} for path, methods in ROUTES.items()}
    assert {path: told.get(path) for path in wanted} == wanted
    names = Counter(one["operationId"] for _, _, one in operations(document))
    assert set(names.values()) == {1}
    for path, _, one in operations(document):
        assert one["summary"] and one["description"], path


async def test_problems_have_one_shape_with_examples(document: dict[str, Any]) -> None:
    """All errors are problem details, and each example is one."""
    assert document["components"]["schemas"]["Problem"] == Problem.model_json_schema()
    for path, _, one in operations(document):
        for status, answer in one["responses"].items():
            if status == "200":
                continue
            content = answer["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, path
            Problem.model_validate(content["example"], strict=True)
            assert content["example"]["status"] == int(status)
            assert ("Retry-After" in answer.get("headers", {})) == (status in ("429", "503"))
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_what_takes_the_token_says_so(document: dict[str, Any]) -> None:
    """Changes and balances, and nothing else."""
    secured = {path for path, _, one in operations(document) if "security" in one}
    changes = {"/api/v1/ws/start-stream", "/api/v1/ws/stop-stream", "/api/v1/migration/flags"}
    assert secured == {"/api/v1/market/accounts", *changes}


async def test_real_answers_are_what_is_documented(guarded: Api) -> None:
    """Every operation is asked for real, and its 200 validates against the schema of the document."""
    document = (await guarded.get("/openapi.json")).json()
    asked = 0
    for path, method, one in operations(document):
        (kind, content), *_ = one["responses"]["200"]["content"].items()
        if kind != "application/json" or path.startswith("/webhooks/"):  # these are let in by a proof of their own
            continue
        answer = await guarded.client.request(
            method,
            path.replace("{product_id}", "BTC-USD"),
            params=PARAMETERS.get(path.rpartition("market")[2], {}),
            json=_body(path) if method == "post" else None,
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        assert answer.status_code == 200, (path, answer.text)
        assert content["schema"], path
        name = content["schema"]["$ref"].rpartition("/")[2]
        shape = getattr(shapes, name, None) or getattr(data_shapes, name)
        said = shape.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
        said.pop("$defs", None)
        assert document["components"]["schemas"][shape.__name__] == said, path
        shape.model_validate_json(answer.content, strict=True)
        asked += 1
    assert asked >= 12


def _body(path: str) -> dict[str, Any]:
    return {"COORDINATED_BOT_IDS": "bot-1"} if path.endswith("/flags") else {"product_ids": ["ETH-USD"]}


async def test_the_page_of_the_document_stands_alone(api: Api) -> None:
    """No script, no style within, nothing from elsewhere; every operation is on it."""
    page = await api.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for word in ("<script", "http://", "https://", "style=", "<style"):
        assert word not in page.text
    assert all(path in page.text for path in ROUTES)
    style = await api.get("/docs/style.css")
    assert style.headers["content-type"].startswith("text/css")
