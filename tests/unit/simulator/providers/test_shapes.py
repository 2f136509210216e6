"""The simulated providers answer in the shapes of the recorded answers: same fields, same kinds of values."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.unit.simulator.providers.asking import HOSTS, SAMPLES, ask, sample, unlimited

# Forms that come by other ways than an ordinary answer, or that only older versions had.
ELSEWHERE = {
    "digital_currency_daily_legacy",  # the shape before 2024
    "simple_price_null_value",  # a coin that is dead
    "snapshot_v3_mixed",  # endpoints that are not simulated
    "trades_v3_btc_usd",
    "aggs_delayed_spy",  # of the free plan, which test_answers has
    "eod_free_plan_warning",
    "eod_free_plan_warning_row",
}
# Keys of an object that are data, not names of fields.
DATA_KEY = re.compile(r"\d{4}-\d\d-\d\d|\d+$")


def successes() -> list[tuple[str, str]]:
    """Every recorded good answer of the providers."""
    found = []
    for provider in sorted(set(HOSTS.values())):
        for path in sorted((SAMPLES / provider).glob("*.json")):
            if json.loads(path.read_text())["sample"]["kind"] == "success" and path.stem not in ELSEWHERE:
                found.append((provider, path.stem))
    return found


def shape(value: Any) -> Any:
    """Return fields of objects and kinds of values; of lists and of maps by data the first row."""
    if isinstance(value, dict):
        if value and all(DATA_KEY.match(key) for key in value) and all(isinstance(v, dict) for v in value.values()):
            return {"*": shape(next(iter(value.values())))}
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        is_row = any(isinstance(inner, int | float | str) for inner in value)
        return [shape(inner) for inner in value] if is_row else [shape(inner) for inner in value[:1]]
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "text"


def differences(wanted: Any, found: Any, at: str = "") -> list[str]:
    """Return where two shapes differ; None fits everything."""
    if "NoneType" in (wanted, found):
        return []
    if isinstance(wanted, dict) and isinstance(found, dict):
        lines = [f"{at}.{key}" for key in wanted.keys() ^ found.keys()]
        return lines + [
            d for key in wanted.keys() & found.keys() for d in differences(wanted[key], found[key], f"{at}.{key}")
        ]
    if isinstance(wanted, list) and isinstance(found, list):
        return [
            d for i, pair in enumerate(zip(wanted, found, strict=False)) for d in differences(*pair, f"{at}[{i}]")
        ]
    return [] if wanted == found else [f"{at}: {wanted} became {found}"]


@pytest.mark.parametrize(("provider", "name"), successes())
def test_answers_have_the_recorded_shape(provider: str, name: str) -> None:
    """Asked the recorded question, a provider answers with the same fields and kinds of values."""
    recorded = sample(provider, name)
    request, response = recorded["request"], recorded["response"]
    # The demo host is that of the free plan; all else is recorded with a plan that has everything.
    is_free = provider == "coingecko" and "pro-api" not in request["url"]
    reply = ask(unlimited("free" if is_free else "paid"), request["url"], request.get("headers"))
    assert reply.status == response["status"], reply
    assert reply.content_type.partition(";")[0] == response["headers"]["content-type"].partition(";")[0]
    if response["body_kind"] != "json":
        assert reply.body.decode().splitlines()[0] == response["body_text"].splitlines()[0]
        return
    found = json.loads(reply.body)
    assert differences(shape(response["body"]), shape(found)) == []
    if isinstance(response["body"], list | dict) and response["body"]:
        assert found, "it has something where the recorded answer has"
