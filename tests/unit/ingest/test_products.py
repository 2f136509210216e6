"""Product facts on their way to Redis: what could not be written is refused when it is heard."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.errors import RestUnavailable
from streamer.ingest.products import _check


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("odd", [2**70, nested(400)], ids=["a number beyond 64 bits", "nesting"])
def test_an_answer_that_cannot_be_written_is_no_answer(odd: Any) -> None:
    """Found at the time of writing it would end the process, prices and all."""
    with pytest.raises(RestUnavailable, match="without sense"):
        _check([{"product_id": "BTC-USD", "odd": odd}])
    _check([{"product_id": "BTC-USD", "odd": 2**60}])
