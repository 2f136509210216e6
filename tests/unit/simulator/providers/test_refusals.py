"""How the simulated providers refuse: word for word as recorded, and counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamer.errors import ConfigError
from streamer.simulator.providers.fake import Fake
from tests.unit.simulator.providers.asking import NOW_S, ask, body, sample, unlimited

# Recorded refusals that the recorded question itself leads to: (provider, sample, plan).
ASKED = [
    ("binance", "error_bad_parameter_value", "free"),
    ("binance", "error_illegal_characters", "free"),
    ("binance", "error_invalid_interval", "free"),
    ("binance", "error_invalid_symbol", "free"),
    ("binance", "error_missing_parameter", "free"),
    ("binance", "error_start_after_end", "free"),
    ("polygon", "error_400_bad_time", "paid"),
    ("polygon", "error_400_to_before_from", "paid"),
    ("polygon", "error_401_no_key", "paid"),
    ("polygon", "error_403_not_entitled", "free"),
    ("polygon", "error_403_timeframe", "free"),
    ("polygon", "error_404_not_found", "paid"),
    ("coingecko", "error_400_demo_key_on_pro_host", "paid"),
    ("coingecko", "error_400_pro_key_on_public_host", "free"),
    ("coingecko", "error_401_key_missing", "paid"),
    ("coingecko", "error_401_time_range", "free"),
    ("coingecko", "error_404_coin_not_found", "free"),
    ("coingecko", "error_422_missing_parameter", "free"),
    ("coinmarketcap", "error_400_invalid_value", "free"),
    ("coinmarketcap", "error_400_not_allowed", "free"),
    ("coinmarketcap", "error_401_1002_missing_key", "free"),
    ("coinmarketcap", "error_403_1006_plan", "free"),
    ("alphavantage", "error_demo_key", "free"),
    ("alphavantage", "error_invalid_call", "free"),
    ("alphavantage", "error_missing_key", "free"),
    ("alphavantage", "error_premium_endpoint", "free"),
    ("alphavantage", "error_premium_parameter", "free"),
    ("alphavantage", "error_unknown_function", "free"),
    ("eodhd", "error_403_free_plan", "free"),
    ("eodhd", "error_404_ticker", "free"),
    ("eodhd", "error_422_validation", "free"),
]
# Those that need an order first.
ORDERED: list[tuple[str, str, dict[str, Any]]] = [
    ("binance", "error_geo_blocked_451", {"fault": "geo_blocked"}),
    ("binance", "error_internal_500", {"fault": "error500"}),
    ("binance", "error_rate_limited_429", {"fault": "limited"}),
    ("polygon", "error_429", {"fault": "limited"}),
    ("polygon", "error_429_empty_body", {"fault": "limited", "style": "empty_body"}),
    ("polygon", "error_401_unknown_key", {"keys": {"bad": ["YOUR_KEY"]}}),
    ("coingecko", "error_429", {"fault": "limited"}),
    ("coingecko", "error_429_no_header", {"fault": "limited", "style": "no_header"}),
    ("coingecko", "error_429_body_with_200", {"fault": "limited", "style": "with_200"}),
    ("coingecko", "error_403_cdn_1020", {"fault": "banned"}),
    ("coingecko", "error_500", {"fault": "error500"}),
    ("coinmarketcap", "error_429_1008_minute", {"fault": "limited"}),
    ("coinmarketcap", "error_429_1009_daily", {"fault": "limited", "style": "1009"}),
    ("coinmarketcap", "error_429_1010_monthly", {"fault": "limited", "style": "1010"}),
    ("coinmarketcap", "error_429_1011_ip", {"fault": "banned"}),
    ("coinmarketcap", "error_401_1001_invalid_key", {"keys": {"good": ["another"]}}),
    ("coinmarketcap", "error_500", {"fault": "error500"}),
    ("alphavantage", "error_burst_limit", {"fault": "limited"}),
    ("alphavantage", "error_daily_limit", {"fault": "limited", "style": "daily"}),
    ("alphavantage", "error_daily_limit", {"fault": "key_echo"}),
    ("alphavantage", "error_minute_limit_legacy_note", {"fault": "limited", "style": "note"}),
    ("alphavantage", "error_empty_object", {"fault": "empty"}),
    ("eodhd", "error_401_unauthenticated", {"keys": {"bad": ["YOUR_KEY"]}}),
    ("eodhd", "error_402_daily_limit", {"fault": "limited", "style": "daily"}),
    ("eodhd", "error_429_html", {"fault": "limited"}),
    ("eodhd", "error_429_json", {"fault": "limited", "style": "json"}),
]
VOLATILE = {"request_id", "timestamp"}


def settled(value: Any) -> Any:
    """Return a body without what differs from answer to answer."""
    if isinstance(value, dict):
        return {key: settled(inner) for key, inner in value.items() if key not in VOLATILE}
    return value


def check(fake: Fake, provider: str, name: str) -> None:
    """Ask the recorded question; fail if the answer is another one than recorded."""
    recorded = sample(provider, name)
    request, response = recorded["request"], recorded["response"]
    reply = ask(fake, request["url"], request.get("headers"))
    assert reply.status == response["status"], reply
    if response["body_kind"] == "json":
        assert settled(json.loads(reply.body)) == settled(response["body"])
    else:
        assert reply.body.decode() == response["body_text"]
    assert {name.lower() for name in reply.headers} >= {
        name.lower() for name in response["headers"] if name.lower() in ("retry-after", "x-ratelimit-reset")
    }


@pytest.mark.parametrize(("provider", "name", "plan"), ASKED)
def test_bad_questions_are_refused_as_recorded(provider: str, name: str, plan: str) -> None:
    """Status and body are the recorded ones."""
    check(unlimited(plan), provider, name)


@pytest.mark.parametrize(("provider", "name", "order"), ORDERED)
def test_orders_are_refused_as_recorded(provider: str, name: str, order: dict[str, Any]) -> None:
    """Status and body are the recorded ones, and nobody else suffers."""
    fake = unlimited("paid" if name == "error_empty_object" else "free")
    fake.command({**order, "provider": provider}, NOW_S)
    check(fake, provider, name)
    other = "/binance/fapi/v1/ping" if provider != "binance" else "/coingecko/ping"
    assert ask(fake, other).status == 200


# The limits of free plans: how many pass, and how the next one is refused.
LIMITED = [
    ("polygon", "/polygon/v2/aggs/ticker/SPY/prev?apiKey=k", 5, 429),
    ("coingecko", "/coingecko/ping", 30, 429),
    ("coinmarketcap", "/coinmarketcap/v1/cryptocurrency/map?CMC_PRO_API_KEY=k", 30, 429),
    ("alphavantage", "/alphavantage/query?function=GLOBAL_QUOTE&symbol=SPY&apikey=k", 1, 200),
    ("coinbase", "/coinbase/api/v3/brokerage/market/products/BTC-USD", 10, 429),
    ("eodhd", "/eodhd/eod/SPY.US?filter=last_close&fmt=json&api_token=k", 20, 402),
    ("binance", "/binance/fapi/v1/ticker/24hr", 60, 429),
]


@pytest.mark.parametrize(("provider", "url", "passing", "status"), LIMITED)
def test_free_plans_allow_so_many_at_once(provider: str, url: str, passing: int, status: int) -> None:
    """Exactly so many pass; the next is refused, and counted as refused."""
    fake = Fake()
    replies = [ask(fake, url) for _ in range(passing + 1)]
    assert {reply.status for reply in replies[:-1]} == {200}
    assert len({reply.body for reply in replies[:-1]}) == 1
    assert replies[-1].status == status
    assert replies[-1].body != replies[0].body
    state = fake.state(NOW_S)[provider]
    assert state["total"] == state["most_per_minute"] == passing + 1
    assert state["refused_total"] == 1
    assert fake.state(NOW_S)["binance" if provider != "binance" else "polygon"]["total"] == 0


def test_binance_bans_who_goes_on() -> None:
    """After ten refusals the answer is 418 with the end in milliseconds, until then, and for this address only."""
    fake = Fake()
    fake.command({"limits": {"weight_per_minute": 1}, "provider": "binance"}, NOW_S)
    url = "/binance/fapi/v1/time"
    assert [ask(fake, url).status for _ in range(13)] == [200, *[429] * 10, 418, 418]
    banned = json.loads(ask(fake, url).body)
    assert banned["code"] == -1003 and f"until {int((NOW_S + 120) * 1000)}." in banned["msg"]
    assert ask(fake, url, now_s=NOW_S + 119).status == 418
    assert ask(fake, url, address="10.0.0.2").status == 200
    assert ask(fake, url, now_s=NOW_S + 121).status == 200
    assert fake.state(NOW_S)["binance"]["refused"] == {"weight_per_minute": 10, "ban": 4}


def test_binance_weighs_requests() -> None:
    """By rows and by symbols; the header tells the sum, except where it is documented to be wrong."""
    fake, used = Fake(), []
    base = "/binance/fapi/v1"
    for limit in (99, 100, 499, 500, 1000, 1001):
        reply = ask(fake, f"{base}/klines?symbol=BTCUSDT&interval=1m&limit={limit}")
        used.append(int(reply.headers["X-MBX-USED-WEIGHT-1M"]))
    assert used == [1, 3, 5, 10, 15, 25]
    assert ask(fake, f"{base}/ticker/24hr").headers["X-MBX-USED-WEIGHT-1M"] == "65"
    assert ask(fake, "/binance/fapi/v2/ticker/price?symbol=BTCUSDT").headers["X-MBX-USED-WEIGHT-1M"] == "1"
    assert fake.state(NOW_S)["binance"]["most_cost_per_minute"] == 66


def test_alpha_vantage_counts_the_day_by_key() -> None:
    """25 a day, one a second; the 26th is told the key back."""
    fake, url = Fake(), "/alphavantage/query?function=GLOBAL_QUOTE&symbol=SPY&apikey=key-of-mine"
    for n in range(25):
        assert "Global Quote" in body(fake, url, now_s=NOW_S + n)
    assert "detected your API key as key-of-mine" in body(fake, url, now_s=NOW_S + 30)["Information"]
    assert "Global Quote" in body(fake, url.replace("key-of-mine", "another"), now_s=NOW_S + 31)
    assert fake.state(NOW_S)["alphavantage"]["keys"]["key-of-mine"]["total"] == 26


def test_eodhd_counts_calls_not_requests() -> None:
    """Intraday costs five and each further symbol one; what fails with an error costs none."""
    fake = Fake(plan="paid")
    fake.command({"limits": {"calls_per_day": 8}, "provider": "eodhd"}, NOW_S)
    intraday = "/eodhd/intraday/BTC-USD.CC?interval=5m&from=1795180000&fmt=json&api_token=k"
    assert ask(fake, intraday).status == 200
    assert ask(fake, "/eodhd/eod/NOSUCH.US?fmt=json&api_token=k").status == 404
    assert body(fake, "/eodhd/internal-user?api_token=k")["apiRequests"] == 6
    assert ask(fake, intraday).status == 402
    assert ask(fake, "/eodhd/real-time/BTC-USD.CC?s=ETH-USD.CC&fmt=json&api_token=k").status == 200


@pytest.mark.parametrize(
    "command",
    [
        {},
        {"fault": "nonsense"},
        {"fault": "slow", "factor": 2},
        {"fault": "slow", "delay_s": 0},
        {"fault": "slow", "delay_s": "2"},
        {"fault": "limited", "style": "unheard", "provider": "polygon"},
        {"fault": "slow", "provider": "kraken"},
        {"fault": "slow", "heal": True},
        {"heal": "nonsense"},
        {"heal": False},
        {"limits": {"per_hour": 3}, "provider": "polygon"},
        {"limits": {"per_minute": -1}, "provider": "polygon"},
        {"limits": 5, "provider": "polygon"},
        {"limits": {"per_second": 1}},
        {"fault": "limited", "style": "usual"},
        {"plan": "gold"},
        {"keys": ["a"]},
        {"keys": {"great": []}},
        {"keys": {"good": "abc"}},
        {"ban_after": "never"},
    ],
)
def test_bad_orders_are_told(command: dict[str, Any]) -> None:
    """A command that is none changes nothing and says what is wrong."""
    fake = Fake()
    before = fake.state(NOW_S)
    with pytest.raises(ConfigError):
        fake.command(command, NOW_S)
    assert fake.state(NOW_S) == before
