"""Checks of our own that schemathesis loads, beside those it has."""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response

_BOUNDS = {"max_age_s", "max_value_age_s", "timeout_s", "provider"}
_STREAMED = "BTC-USD"


@schemathesis.check
def serves_what_there_is(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """A service that is well answers 503 only to who wants it younger than there is, or waits for nothing.

    Other providers have budgets that may be spent, and plans: what nobody streams may not be had of them now.
    """
    if response.status_code >= 500:
        assert response.status_code == 503, "a fault of the service"
        query = case.query or {}
        is_of_others = query.get("symbol", _STREAMED) != _STREAMED
        assert is_of_others or _BOUNDS & set(query), "503 of a service that is well"
