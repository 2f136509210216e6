"""How an answer is wanted: the parameters that all market routes take.

FastAPI would look for each of them by itself, in every request: a tenth of what a ticker costs. Most requests have
none, so they are read here, and described to the document as FastAPI would.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request

from streamer.model import Priority
from streamer.reader.questions import TIMEOUT_S, How

LONGEST_WAIT_S: Final = 30.0
_AGE: Final = "oldest acceptable age in seconds"


class _Wishes(BaseModel):
    max_age_s: float | None = Field(None, ge=0, le=1e9, description=_AGE)
    max_value_age_s: float | None = Field(None, ge=0, le=1e9, description=_AGE)
    timeout_s: float = Field(
        TIMEOUT_S, ge=0, le=LONGEST_WAIT_S, description="seconds to wait for REST where it is needed"
    )
    priority: Literal["TRADING", "BOT_EVALUATION", "MARKET_DATA", "BACKGROUND"] = "MARKET_DATA"


DESCRIBED: Final[dict[str, Any]] = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema}
        | ({"description": schema["description"]} if "description" in schema else {})
        for name, schema in _Wishes.model_json_schema()["properties"].items()
    ]
}
"""The parameters, for the `openapi_extra` of a route."""


def how_of(request: Request) -> How:
    """Return how an answer is wanted.

    Raises:
        RequestValidationError: A parameter breaks a rule.
    """
    if not request.scope["query_string"]:
        return How()
    given = request.query_params
    try:
        wishes = _Wishes.model_validate({name: given[name] for name in _Wishes.model_fields if name in given})
    except ValidationError as exc:
        faults = exc.errors(include_url=False, include_context=False)
        raise RequestValidationError([fault | {"loc": ("query", *fault["loc"])} for fault in faults]) from exc
    return How(
        max_age_s=wishes.max_age_s,
        max_value_age_s=wishes.max_value_age_s,
        timeout_s=wishes.timeout_s,
        priority=Priority[wishes.priority],
    )
