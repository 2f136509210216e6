"""What an account is worth in US dollars, and how well that is known. Run it beside a start-stream."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Annotated

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel

from streamer import AsyncReader, Tier, UnknownProduct
from streamer.model import ProductId
from streamer.web import add_problem_handlers, lifespan, reader

app = FastAPI(title="portfolio-value", lifespan=lifespan)
add_problem_handlers(app)

DOLLARS = ("USD", "USDC")  # Coinbase changes one into the other at par, and has no market for it


class Position(BaseModel):
    """One currency; price and value are null where it has no market against the dollar."""

    currency: str
    total: Decimal
    price: Decimal | None
    value: Decimal | None


class Value(BaseModel):
    """The sum, and the worst tier and greatest age (in seconds) of all that has gone into it."""

    value: Decimal
    tier: Tier
    age_s: float
    positions: list[Position]


@app.get("/value")
async def value(
    market: Annotated[AsyncReader, Depends(reader)],
    max_age_s: Annotated[float, Query(gt=0, description="rather no answer than an older one")] = 60,
) -> Value:
    """Return what the account is worth."""
    accounts = await market.accounts(max_age_s=max_age_s)
    held = {one.currency: one.available + one.hold for one in accounts.value if one.available + one.hold}
    asked = {currency: ProductId(f"{currency}-USD") for currency in held if currency not in DOLLARS}
    tickers = await market.tickers(asked.values(), max_age_s=max_age_s)
    prices = dict.fromkeys(DOLLARS, Decimal(1))
    for currency, product_id in asked.items():
        with suppress(UnknownProduct):  # any other error is answered as the problem that it is
            prices[currency] = tickers[product_id].value.price
    positions = [
        Position(
            currency=currency,
            total=total,
            price=prices.get(currency),
            value=total * prices[currency] if currency in prices else None,
        )
        for currency, total in held.items()
    ]
    told = [accounts, *tickers.values()]
    return Value(
        value=sum((one.value for one in positions if one.value is not None), Decimal(0)),
        tier=max((one.tier for one in told), key=list(Tier).index),
        age_s=max(one.age_s for one in told),
        positions=positions,
    )
