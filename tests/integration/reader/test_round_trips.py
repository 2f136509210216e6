"""What a read costs: one round trip where all is realtime, and never more than it must."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamer.reader.reader import AsyncReader
from streamer.reader.sync import Reader
from tests.integration.reader.rig import BTC, ETH, UUID, Proxy, World, ask, settings

Either = AsyncReader | Reader


@pytest.fixture(params=[AsyncReader, Reader], ids=["async", "sync"])
async def counted(request: pytest.FixtureRequest, proxy: Proxy, world: World) -> AsyncIterator[Either]:
    """Each reader on the counting way, warm: connected, and with the currencies known."""
    for product_id in (BTC, ETH):
        world.ticker(product_id)
        world.candles(product_id)
    for currency in ("BTC", "USD"):
        world.balance(currency, "2")
    made = request.param(proxy.url, rest=False, settings=settings())
    await ask(made, "balances")
    yield made
    closed = made.close()
    if closed is not None:
        await closed


@pytest.mark.parametrize(
    ("method", "arguments", "trips"),
    [
        pytest.param("ticker", [BTC], 1, id="ticker"),
        pytest.param("tickers", [[BTC, ETH]], 1, id="tickers"),
        pytest.param("tickers", [[BTC, ETH, "SOL-USD", "XRP-USD"]], 2, id="tickers, two of them not streamed"),
        pytest.param("candles", [BTC, "FIVE_MINUTE", 5], 1, id="candles"),
        pytest.param("balances", [], 1, id="balances"),
        pytest.param("accounts", [], 1, id="accounts"),
        pytest.param("portfolio_breakdown", [UUID], 2, id="breakdown: balances, then their prices"),
        pytest.param("products", [], 1, id="products"),
        pytest.param("explain", [BTC], 2, id="explain"),
        pytest.param("snapshot", [[BTC, ETH], "FIVE_MINUTE", 5], 1, id="snapshot"),
        pytest.param("snapshot", [[BTC, ETH, "SOL-USD"], "FIVE_MINUTE", 5], 2, id="snapshot, one not streamed"),
    ],
)
async def test_what_a_question_costs(
    counted: Either, proxy: Proxy, method: str, arguments: list[Any], trips: int
) -> None:
    """However many products it is about."""
    with proxy.counted() as cost:
        try:
            await ask(counted, method, *arguments)
        except LookupError:
            raise
        except Exception:  # noqa: BLE001 - that nothing is there costs the same
            assert method == "products"
    assert cost == [trips]


async def test_a_new_currency_costs_one_more_round_trip_once(counted: Either, proxy: Proxy, world: World) -> None:
    """Until then nobody knew of it."""
    world.balance("ETH", "1")
    for trips in (2, 1):
        with proxy.counted() as cost:
            assert len(await ask(counted, "balances")) == 3
        assert cost == [trips]
