"""An exchange beside the simulated providers keeps to their market, and does not stand still for it."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from streamer.simulator.market import POPULAR, RandomWalkMarket
from streamer.simulator.past import REACH_S, decimals_of, made_up, number
from streamer.simulator.providers.assets import COINS, DAY_S
from streamer.simulator.providers.guide import Guide
from streamer.simulator.providers.market import Market
from streamer.simulator.providers.view import View
from tests.unit.simulator.providers.asking import NOW_S

GUIDE = Guide(Market())
BOTH = [f"{coin.symbol}-USD" for coin in COINS]
BP = Decimal("0.0001")


def led(*products: str, **options: object) -> RandomWalkMarket:
    """A market that keeps to the guide."""
    return RandomWalkMarket(products, guide=GUIDE, born_s=NOW_S, **options)  # type: ignore[arg-type]


def price(market: RandomWalkMarket, product_id: str) -> Decimal:
    """The newest price."""
    return Decimal((market.latest(product_id) or {})["price"])


def away(market: RandomWalkMarket, product_id: str, at_s: float) -> Decimal:
    """How far a product is from what a provider shows at that time."""
    base, _, quote = product_id.partition("-")
    shown, _ = View(Market()).last(base, quote, at_s)
    return abs(price(market, product_id) / shown - 1)


def test_a_guide_knows_what_both_sides_are_of() -> None:
    """Coins in dollars and in each other; nothing of euros, of other coins, or of what is no product at all."""
    bitcoin, ether = (GUIDE.price(f"{symbol}-USD", NOW_S) for symbol in ("BTC", "ETH"))
    assert bitcoin is not None and ether is not None
    assert (bitcoin, NOW_S) != (GUIDE.price("BTC-USD", NOW_S + 60), NOW_S)
    assert GUIDE.price("ETH-BTC", NOW_S) == ether / bitcoin
    assert [GUIDE.price(p, NOW_S) for p in ("BTC-EUR", "UNI-USD", "SIM0001-USD", "BTC", "")] == [None] * 5


@pytest.mark.parametrize("per_s", [2, 40])
def test_an_hour_beside_the_providers(per_s: int) -> None:
    """Every product that both know stays within 20 basis points, however often it trades."""
    products = [*POPULAR, "BTC-USDT", "XRP-USDT"]
    market = led(*products)
    both = [*BOTH, "BTC-USDT", "XRP-USDT"]
    for second in range(1, 3601):
        for _ in range(per_s):
            market.next_tick()
        # The latest moment before it looks at the guide again.
        assert [p for p in both if away(market, p, NOW_S + second) > 20 * BP] == []
        market.follow(NOW_S + second)


def test_a_led_walk_is_as_lively_as_a_free_one() -> None:
    """Its prices change as often, and by as much from trade to trade."""
    moves = {}
    for name, market in (("led", led("BTC-USD")), ("free", RandomWalkMarket(["BTC-USD"]))):
        prices = [price(market, market.next_tick() or "") for _ in range(4000)]
        steps = [abs(later / earlier - 1) for earlier, later in pairwise(prices)]
        moves[name] = (sum(step > 0 for step in steps), sum(steps, Decimal(0)) / len(steps))
    assert moves["led"][0] > Decimal("0.99") * moves["free"][0]
    assert Decimal("0.9") < moves["led"][1] / moves["free"][1] < Decimal("1.3")


def test_the_guide_leaves_nobody_behind() -> None:
    """What did not trade while the market went away trades at once, at the market's price; the quiet stay quiet."""
    market, later_s = led("BTC-USD", "ETH-USD", "UNI-USD", quiet=["ETH-USD"]), NOW_S + 60 * DAY_S
    assert market.follow(NOW_S) == []
    quiet, unknown = price(market, "ETH-USD"), price(market, "UNI-USD")
    assert away(market, "BTC-USD", later_s) > 20 * BP
    assert market.follow(later_s) == ["BTC-USD"]
    assert away(market, "BTC-USD", later_s) < BP
    assert market.last_deal("BTC-USD") is not None
    assert (price(market, "ETH-USD"), price(market, "UNI-USD")) == (quiet, unknown)


def test_a_price_set_by_hand_stands_against_the_guide() -> None:
    """Whoever makes the exchange lie wants it to go on lying."""
    market = led("BTC-USD")
    market.set_price("BTC-USD", "4210.50")
    assert market.follow(NOW_S + 1) == []
    for _ in range(1000):
        market.tick("BTC-USD")
    assert 4000 < price(market, "BTC-USD") < 4400


def test_without_a_guide_nobody_is_led() -> None:
    """Time makes no difference then."""
    market = RandomWalkMarket(["BTC-USD"], born_s=NOW_S)
    assert price(market, "BTC-USD") == Decimal(POPULAR["BTC-USD"])
    assert market.follow(NOW_S + 30 * DAY_S) == []


def test_prices_keep_their_increments() -> None:
    """A guide's prices have more digits; the exchange's have as many as ever, and four at the least."""
    free, market = RandomWalkMarket(POPULAR), led(*POPULAR, "DOGE-BTC")
    assert [market.increment(p) for p in POPULAR] == [free.increment(p) for p in POPULAR]
    assert price(market, "DOGE-BTC") > 999 * Decimal(market.increment("DOGE-BTC"))


@pytest.mark.parametrize("days", [0, 11, 202])
@pytest.mark.parametrize("product_id", BOTH)
def test_the_past_is_the_providers_past(product_id: str, days: int) -> None:
    """Within a percent of their prices all the time, and within the 24-hour range of the first ticker."""
    born_s = NOW_S - days * DAY_S
    market = RandomWalkMarket([product_id], guide=GUIDE, born_s=born_s)
    opening, ticker = market.opening(product_id), market.latest(product_id)
    assert opening is not None and ticker is not None
    past = made_up(product_id, opening, 0, int(born_s * 1e6), GUIDE)
    assert past[-1].time_us < (born_s - REACH_S + 3600) * 1e6
    for row in past[::20]:
        truth = GUIDE.price(product_id, row.time_us / 1e6)
        assert truth is not None
        assert abs(number(row.price, decimals_of(opening)) / truth - 1) < 100 * BP
    day = [number(row.price, decimals_of(opening)) for row in past if row.time_us > (born_s - DAY_S) * 1e6]
    assert Decimal(ticker["low_24_h"]) <= min(day) <= max(day) <= Decimal(ticker["high_24_h"])
    before = GUIDE.price(product_id, born_s - DAY_S)
    assert before is not None
    change = 100 * (Decimal(ticker["price"]) / before - 1)
    assert abs(Decimal(ticker["price_percent_chg_24_h"]) - change) < Decimal("0.1")
