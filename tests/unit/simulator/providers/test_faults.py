"""What can be made to go wrong at the simulated providers, for how long, and for whom."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from typing import Any

import pytest

from streamer.simulator.providers.fake import Fake, Visit
from streamer.simulator.providers.faults import FaultBoard, FaultKind, parse_fault
from tests.unit.simulator.providers.asking import NOW_S, ORIGIN, ask, body, unlimited

PRICE = "/binance/fapi/v2/ticker/price?symbol=BTCUSDT"
KLINES = "/binance/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=3"
# One question of each provider, with the key it needs.
QUESTIONS = {
    "coinbase": "/coinbase/api/v3/brokerage/market/products/BTC-USD",
    "binance": PRICE,
    "polygon": "/polygon/v2/aggs/ticker/X:BTCUSD/prev?apiKey=my-key",
    "coingecko": "/coingecko/simple/price?ids=bitcoin&vs_currencies=usd&x_cg_pro_api_key=my-key",
    "coinmarketcap": "/coinmarketcap/v2/cryptocurrency/quotes/latest?id=1&CMC_PRO_API_KEY=my-key",
    "alphavantage": "/alphavantage/query?function=DIGITAL_CURRENCY_DAILY&symbol=BTC&market=USD&apikey=my-key",
    "eodhd": "/eodhd/real-time/BTC-USD.CC?fmt=json&api_token=my-key",
}
each_provider = pytest.mark.parametrize("provider", sorted(QUESTIONS))


def broken(provider: str, kind: str, **options: Any) -> Fake:
    """Return providers of which one has a fault."""
    fake = unlimited()
    fake.command({"fault": kind, "provider": provider, **options}, NOW_S)
    return fake


def price(fake: Fake, now_s: float = NOW_S) -> Decimal:
    """Return Binance's price."""
    return Decimal(body(fake, PRICE, now_s=now_s)["price"])


@each_provider
def test_every_question_has_a_good_answer(provider: str) -> None:
    """Without faults; what follows would prove nothing otherwise."""
    assert len(json.loads(ask(unlimited(), QUESTIONS[provider]).body)) > 0
    assert QUESTIONS.keys() == set(unlimited().names)


@each_provider
@pytest.mark.parametrize("kind", ["truncated", "html"])
def test_bodies_that_cannot_be_parsed(provider: str, kind: str) -> None:
    """Half a JSON text, or a page."""
    reply = ask(broken(provider, kind), QUESTIONS[provider])
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.body)


@each_provider
def test_pages_come_with_the_status_asked_for(provider: str) -> None:
    """503 by itself, and with 200 what only a look at the body tells."""
    assert ask(broken(provider, "html"), QUESTIONS[provider]).status == 503
    assert ask(broken(provider, "html", status=200), QUESTIONS[provider]).status == 200


@each_provider
def test_good_bodies_in_odd_wrapping(provider: str) -> None:
    """Packed or mislabelled, the data is that of a good answer."""
    good = ask(unlimited(), QUESTIONS[provider])
    packed = ask(broken(provider, "gzip"), QUESTIONS[provider])
    assert packed.headers["content-encoding"] == "gzip" and gzip.decompress(packed.body) == good.body
    mislabelled = ask(broken(provider, "wrong_type"), QUESTIONS[provider])
    assert mislabelled.content_type.startswith("text/html") and mislabelled.body == good.body


@each_provider
def test_a_broken_provider_says_so(provider: str) -> None:
    """With a status of 500 or more."""
    assert ask(broken(provider, "error500"), QUESTIONS[provider]).status >= 500


@each_provider
def test_an_empty_provider_has_no_price(provider: str) -> None:
    """The answer is good in form, and another than with data."""
    reply = ask(broken(provider, "empty"), QUESTIONS[provider])
    assert reply.status == 200
    assert reply.body != ask(unlimited(), QUESTIONS[provider]).body
    assert len(reply.body) < 300


@pytest.mark.parametrize("provider", sorted(QUESTIONS.keys() - {"binance", "coinbase"}))
def test_a_key_can_come_back_in_an_error(provider: str) -> None:
    """So that it can be seen whether it is blotted out."""
    assert b"my-key" in ask(broken(provider, "key_echo"), QUESTIONS[provider]).body
    assert b"my-key" not in ask(unlimited(), QUESTIONS[provider]).body


def test_a_lie_is_two_percent_unless_told() -> None:
    """Prices and bars alike."""
    true, lie = unlimited(), broken("binance", "lie")
    assert abs(price(lie) / price(true) - Decimal("1.02")) < Decimal("0.00001")
    for was, is_now in zip(body(true, KLINES), body(lie, KLINES), strict=True):
        assert abs(Decimal(is_now[2]) / Decimal(was[2]) - Decimal("1.02")) < Decimal("0.00001")
    assert abs(price(broken("binance", "lie", factor=0.5)) / price(true) - Decimal("0.5")) < Decimal("0.00001")


def test_a_spike_is_in_the_newest_finished_bar_only() -> None:
    """The bar stays sound; the open one and the older ones are as they were."""
    true, spike = body(unlimited(), KLINES), body(broken("binance", "spike", factor=1.5), KLINES)
    assert [row == other for row, other in zip(true, spike, strict=True)] == [True, False, True]
    assert Decimal(spike[1][4]) / Decimal(true[1][4]) == Decimal(spike[1][2]) / Decimal(true[1][4])
    assert abs(Decimal(spike[1][4]) / Decimal(true[1][4]) - Decimal("1.5")) < Decimal("0.0001")
    assert spike[1][1] == true[1][1] and spike[1][3] == true[1][3]


def test_stale_answers_are_those_of_before() -> None:
    """Prices and stamps both."""
    then = body(unlimited(), PRICE, now_s=NOW_S - 600)
    assert body(broken("binance", "stale"), PRICE) == then
    assert body(broken("binance", "stale", age_s=60), PRICE) == body(unlimited(), PRICE, now_s=NOW_S - 60)


def test_slow_and_cut_requests_are_told_to_the_server() -> None:
    """How long it shall wait, and that there shall be no answer; both are counted all the same."""
    fake = broken("polygon", "slow", delay_s=0.25, count=1)

    def arrive() -> Visit | None:
        return fake.arrived("/polygon/v1/marketstatus/now", {"apiKey": "k"}, {}, ORIGIN, "10.0.0.1", NOW_S)

    slow = arrive()
    assert slow is not None and slow.delay_s == 0.25 and not slow.is_cut
    fake.command({"fault": "down", "provider": "polygon"}, NOW_S)
    cut = arrive()
    assert cut is not None and cut.delay_s == 0 and cut.is_cut
    assert fake.state(NOW_S)["polygon"]["at_once"] == 2
    fake.left(slow, 200)
    fake.left(cut, None)
    state = fake.state(NOW_S)["polygon"]
    assert (state["total"], state["most_at_once"], state["at_once"]) == (2, 2, 0)
    assert state["statuses"] == {"200": 1, "cut": 1}


def test_faults_end_by_time_by_count_and_by_healing() -> None:
    """And by a fault of the same kind that takes their place."""
    fake = broken("binance", "error500", for_s=10)
    assert ask(fake, PRICE, now_s=NOW_S + 9.9).status == 500
    assert ask(fake, PRICE, now_s=NOW_S + 10).status == 200
    fake.command({"fault": "error500", "provider": "binance", "count": 2}, NOW_S)
    assert [ask(fake, PRICE).status for _ in range(3)] == [500, 500, 200]
    fake.command({"fault": "error500"}, NOW_S)
    assert {ask(fake, url).status >= 500 for url in QUESTIONS.values()} == {True}
    fake.command({"heal": "error500", "provider": "binance"}, NOW_S)
    assert ask(fake, PRICE).status == 200 and ask(fake, QUESTIONS["eodhd"]).status == 502
    fake.command({"heal": True}, NOW_S)
    assert {ask(fake, url).status for url in QUESTIONS.values()} == {200}
    assert all(not state["faults"] for state in fake.state(NOW_S).values())


def test_a_fault_can_befall_some_paths_only() -> None:
    """Those that hold a text; others do not use up its count."""
    board = FaultBoard()
    board.put(parse_fault({"fault": "down", "path": "klines", "count": 1}, NOW_S))
    assert board.take("/fapi/v1/time", NOW_S) == {}
    assert board.take("/fapi/v1/klines", NOW_S).keys() == {FaultKind.DOWN}
    assert board.take("/fapi/v1/klines", NOW_S) == {}


def test_a_reset_forgets_everything_but_settings() -> None:
    """Counts, bans and faults; plan and limits stay."""
    fake = broken("binance", "error500")
    ask(fake, PRICE)
    state = fake.command({"reset": True}, NOW_S)["binance"]
    assert (state["total"], state["faults"], state["plan"]) == (0, [], "paid")
    assert state["limits"] == {"weight_per_minute": None}
