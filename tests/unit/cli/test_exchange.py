"""Which exchange is used, and what a simulated one knows."""

from __future__ import annotations

import os

import pytest

from streamer.cli.exchange import reach, simulated_products
from streamer.store.redis_server import child_environment


@pytest.mark.parametrize("url", ["ws://a..b", f"ws://{'a' * 64}", "ws://\udcff", "ws://[zz]", "ws://h:99999"])
async def test_an_impossible_host_cannot_be_reached(url: str) -> None:
    """It is a reason like any other, no traceback."""
    assert await reach(url)


def test_the_simulator_knows_what_is_asked_for() -> None:
    """The command's products beside those of the settings and the well-known ones, each once."""
    known = simulated_products(["SOL-USD", "PEPE-USD", "BTC-USD"])
    assert {"BTC-USD", "ETH-USD", "DOGE-USD", "ADA-USD", "PEPE-USD"} <= set(known)
    assert len(known) == len(set(known)) == 21


def test_the_simulator_knows_the_book_of_an_alias() -> None:
    """What is asked for in USDC is sent from the book in USD."""
    assert "PEPE-USD" in simulated_products(["PEPE-USDC"])
    assert "XSGD-USDC" in simulated_products(["XSGD-USDC"])


def test_a_child_process_knows_no_key_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it needs to start comes along; no key, and no setting with a password in it."""
    for name in ("COINBASE_API_KEY", "COINBASE_API_SECRET", "COINBASE_KEY_FILE", "REDIS_URL", "STREAMER_X"):
        monkeypatch.setenv(name, "hush")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    given = child_environment()
    assert "hush" not in given.values()
    assert (given["PATH"], given["PYTHONPATH"]) == (os.environ["PATH"], "/somewhere")
