"""`streamer get`: what is printed, and what its exit status says."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from streamer.cli import get
from streamer.errors import ConfigError, StoreUnavailable
from streamer.model import ProductId, Reading, Ticker, Tier
from streamer.reader.reader import AsyncReader

BTC = ProductId("BTC-USD")
URL = "redis://127.0.0.1:1"


def read(source: str = "coinbase", reason: str | None = None) -> Reading[Ticker]:
    """A reading with words of somebody who can write to Redis."""
    at = datetime(2026, 11, 20, 15, 4, 6, tzinfo=UTC)
    ticker = Ticker(BTC, Decimal("84210.37"), at)
    return Reading(ticker, Tier.STALE if reason else Tier.REALTIME, 0.1, 0.2, at, source, reason)


def arguments(url: str | None = URL) -> argparse.Namespace:
    """What the command line gives."""
    return argparse.Namespace(products=[BTC], redis_url=url, json=False, balances=False, all=False)


@pytest.mark.parametrize(("found", "code"), [(read(), 0), (None, 1), (StoreUnavailable(URL, "gone"), 3)])
def test_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: Any, code: int
) -> None:
    """A miss is 1; where Redis does not answer nothing is known, and that is 3."""

    async def tickers(self: AsyncReader, product_ids: list[ProductId]) -> dict[ProductId, Any]:
        if isinstance(found, Exception):
            raise found
        return dict.fromkeys(product_ids, found)

    monkeypatch.setattr(AsyncReader, "tickers", tickers)
    assert get.execute(arguments()) == code
    assert ("error: Redis at" in capsys.readouterr().err) is (code == 3)


def test_no_redis_at_all_is_not_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing says where Redis is, nothing is known either; a bad URL is bad input."""
    monkeypatch.setattr("streamer.cli.common.find_redis_url", lambda environ, explicit: explicit)
    assert get.execute(arguments(None)) == 3
    with pytest.raises(ConfigError):
        get.execute(arguments("redis://h?foo=bar"))


def test_words_from_redis_are_printed_as_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    """Markup in a source is no markup, and an escape in a reason does not reach the terminal."""
    get._print({BTC: read("[bold]x[/nonsense]\x1b[2J", "feed [red]gone[/] \x1b]0;owned\x07")})
    printed = capsys.readouterr()
    assert "[bold]x[/nonsense]?[2J" in printed.out
    assert printed.err == "BTC-USD: feed [red]gone[/] ?]0;owned?\n"
