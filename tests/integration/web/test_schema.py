"""The OpenAPI document held to the service by schemathesis: what it allows is asked, and what it forbids."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.support import BIN, PATIENCE, Process, RedisServer, free_port, run, wait_until

FAST: Final = {"STREAMER_API_CALLS_PER_S": "1e9", "STREAMER_MARKET_CALLS_PER_MINUTE": "1000000"}
# Deterministic, and not fed with answers: the same requests every time, whatever an exchange that moves has said.
# Changes have a rate that no setting raises, and a method that is none of a route's counts as a change: of those
# only OPTIONS is tried here. What is too large is refused as that, whatever else is wrong with it. Our own check,
# of promises.py, knows when 503 is right. That a symbol names something, or that a range ends after it begins, no
# schema can say.
HOW: Final = """
hooks = "promises.py"
[generation]
deterministic = true
[phases.coverage]
unexpected-methods = ["OPTIONS"]
[phases.fuzzing.extra-data-sources]
responses = false
[phases.fuzzing.error-feedback]
enabled = false
[checks.not_a_server_error]
enabled = false
[checks.negative_data_rejection]
expected-statuses = [404, 413, 422, 431]
[[operations]]
include-method = "POST"
rate-limit = "9/s"
# Who asks to wait for a budget waits.
[[operations]]
include-path-regex = "^/api/v1/data/"
request-timeout = 40
checks.positive_data_acceptance.expected-statuses = [200, 401, 403, 404, 409, 422, 429, 503]
"""


@pytest.fixture(scope="module")
def service(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a start-stream from a simulator of its own serves its API, when all is well."""
    folder, port = tmp_path_factory.mktemp("stream"), free_port()
    command = [str(BIN / "start-stream"), "BTC-USD", "--exchange", "simulator", "--redis-url", redis_server.url]
    with Process([*command, "--port", str(port)], folder, env=FAST) as stream:
        status = partial(run, "stream-status", "--redis-url", redis_server.url, folder=folder)
        wait_until(lambda: status().returncode == 0, 30)
        yield f"http://127.0.0.1:{port}"
        assert "Traceback" not in stream.log


def ask(service: str, document: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Have all requests made that a document calls for."""
    (folder / "schemathesis.toml").write_text(HOW)
    (folder / "promises.py").write_text(Path(__file__).with_name("promises.py").read_text())
    # An event stream does not end: it has tests of its own.
    command = [
        str(BIN / "st"),
        "run",
        document,
        "--url",
        service,
        "--exclude-path",
        "/api/v1/stream",
        "--seed",
        "1",
    ]
    command += ["--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--no-color", *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120 * PATIENCE)


# Changes come last: a stream that was stopped by them is down, and says so.
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_service_does_what_its_document_says(service: str, tmp_path: Path, method: str) -> None:
    """No status, type, header or shape but those of the document; what it forbids is refused, and no more."""
    done = ask(service, f"{service}/openapi.json", tmp_path, "--include-method", method, "--max-examples", "25")
    assert done.returncode == 0, done.stdout[-20_000:]
    routes = httpx.get(f"{service}/openapi.json", trust_env=False).json()["paths"]
    asked = sum(method.lower() in told for path, told in routes.items() if path != "/api/v1/stream")
    assert f"Tested: {asked}\n" in done.stdout


def test_a_document_that_lies_is_found_out(service: str, tmp_path: Path) -> None:
    """Of a document with a status less, a stricter shape and a wider parameter, each of the three is told."""
    document: dict[str, Any] = httpx.get(f"{service}/openapi.json", trust_env=False).json()
    del document["paths"]["/api/v1/market/products"]["get"]["responses"]["422"]
    document["components"]["schemas"]["Ticker"]["properties"]["price"] = {"type": "number"}
    candles = document["paths"]["/api/v1/market/candles/{product_id}"]["get"]
    next(one for one in candles["parameters"] if one["name"] == "limit")["schema"]["maximum"] = 400
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    fewer = ("--include-path-regex", "/market/(products|ticker|candles)", "--max-examples", "5")
    done = ask(service, "openapi.json", tmp_path, *fewer, "--no-shrink")
    assert done.returncode == 1, done.stdout
    assert "Undocumented status code" in done.stdout
    assert "Response violates schema" in done.stdout
    assert "Schema-valid request rejected" in done.stdout
