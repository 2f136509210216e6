"""Whose data Redis holds: what is of another exchange is no answer."""

from __future__ import annotations

import pytest

from streamer.compat.outlook import Status, scope_of_data
from streamer.settings import Settings


@pytest.mark.parametrize(
    ("changed", "status", "expected"),
    [
        ({}, None, "coinbase"),
        ({}, Status("coinbase", "https://api.coinbase.com"), "coinbase"),
        ({}, Status("simulator", "http://127.0.0.1:7803"), "127.0.0.1_7803"),
        ({}, Status("simulator", None), None),
        ({}, Status("simulator", "nonsense"), None),
        ({"rest_url": "https://127.0.0.1:1"}, None, "127.0.0.1_1"),
        ({"rest_url": "https://127.0.0.1:1"}, Status("simulator", "http://127.0.0.1:7803"), "127.0.0.1_1"),
        ({"ws_url": "ws://127.0.0.1:7801"}, None, None),
    ],
)
def test_the_exchange_behind_the_data(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], status: Status | None, expected: str | None
) -> None:
    """The one that the settings name, else the simulator that says it is one, else Coinbase."""
    for name in ("STREAMER_REST_URL", "STREAMER_WS_URL"):
        monkeypatch.delenv(name, raising=False)
    assert scope_of_data(Settings(_env_file=None, **changed), status) == expected  # type: ignore[arg-type,call-arg]
