"""What the simulated providers know: one market, each with its own habits."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest

from streamer.simulator.providers.assets import DAY_S, USDT_RATE
from streamer.simulator.providers.fake import Fake
from tests.unit.simulator.providers.asking import NOW_S, ask, body, unlimited

TWENTY_BP = Decimal("0.0020")
CMC = {"X-CMC_PRO_API_KEY": "k"}


def prices(fake: Fake, now_s: float) -> dict[str, Decimal]:
    """Return what each provider says one BTC is worth in USD."""
    asked: dict[str, tuple[str, Any]] = {
        "coinbase": ("/coinbase/api/v3/brokerage/market/products/BTC-USD", lambda b: b["price"]),
        "binance": ("/binance/fapi/v2/ticker/price?symbol=BTCUSDT", lambda b: Decimal(b["price"]) * USDT_RATE),
        "polygon": ("/polygon/v1/last/crypto/BTC/USD?apiKey=k", lambda b: b["last"]["price"]),
        "coingecko": (
            "/coingecko/simple/price?ids=bitcoin&vs_currencies=usd&x_cg_pro_api_key=k",
            lambda b: b["bitcoin"]["usd"],
        ),
        "coinmarketcap": (
            "/coinmarketcap/v2/cryptocurrency/quotes/latest?id=1&CMC_PRO_API_KEY=k",
            lambda b: b["data"]["1"]["quote"]["USD"]["price"],
        ),
        "alphavantage": (
            "/alphavantage/query?function=CURRENCY_EXCHANGE_RATE&from_currency=BTC&to_currency=USD&apikey=k",
            lambda b: b["Realtime Currency Exchange Rate"]["5. Exchange Rate"],
        ),
        "eodhd": ("/eodhd/real-time/BTC-USD.CC?fmt=json&api_token=k", lambda b: b["close"]),
    }
    assert asked.keys() == set(fake.names)
    return {name: Decimal(str(read(body(fake, url, now_s=now_s)))) for name, (url, read) in asked.items()}


@pytest.mark.parametrize("minutes", [0, 1, 17, 61, 1441, 100_000])
def test_providers_agree(minutes: int) -> None:
    """Within twenty basis points at any time, and not to the last digit: each has a bias and a delay of its own."""
    found = prices(unlimited(), NOW_S - 60 * minutes)
    middle = sorted(found.values())[len(found) // 2]
    assert all(abs(value / middle - 1) < TWENTY_BP for value in found.values()), found
    assert len(set(found.values())) == len(found)


def test_a_lie_is_the_same_for_all() -> None:
    """Ordered of all providers, each is off by the factor: they agree, and none is right."""
    true, lying = unlimited(), unlimited()
    lying.command({"fault": "lie", "factor": 1.03}, NOW_S)
    was, is_now = prices(true, NOW_S), prices(lying, NOW_S)
    assert all(abs(is_now[name] / was[name] - Decimal("1.03")) < Decimal("0.00003") for name in was)


def test_the_same_seed_gives_the_same_answers() -> None:
    """Two processes with one seed agree to the byte; another seed is another market."""
    urls = (
        "/binance/fapi/v1/klines?symbol=ETHUSDT&interval=1h&limit=5",
        "/coingecko/coins/solana/ohlc?vs_currency=usd&days=7",
    )
    for url in urls:
        assert ask(Fake(3), url).body == ask(Fake(3), url).body != ask(Fake(4), url).body


def daily_closes(fake: Fake) -> dict[str, Decimal]:
    """Return each provider's close of 2026-11-19, in USD."""
    eve_s, noon_s = 1795046400, 1795132800
    klines = body(fake, f"/binance/fapi/v1/klines?symbol=BTCUSDT&interval=1d&startTime={eve_s}000&limit=1")
    aggs = body(fake, "/polygon/v2/aggs/ticker/X:BTCUSD/range/1/day/2026-11-19/2026-11-19?apiKey=k")
    ohlc = body(fake, "/coingecko/coins/bitcoin/ohlc?vs_currency=usd&days=7&interval=daily&x_cg_pro_api_key=k")
    history = "/coinmarketcap/v2/cryptocurrency/ohlcv/historical?id=1&time_start=2026-11-18&time_end=2026-11-19"
    [quote] = body(fake, history, CMC)["data"]["quotes"]
    daily = body(fake, "/alphavantage/query?function=DIGITAL_CURRENCY_DAILY&symbol=BTC&market=USD&apikey=k")
    eod = body(fake, "/eodhd/eod/BTC-USD.CC?from=2026-11-19&to=2026-11-19&fmt=json&api_token=k")
    candles = (
        f"/coinbase/api/v3/brokerage/market/products/BTC-USD/candles?start={eve_s}&end={eve_s}&granularity=ONE_DAY"
    )
    found = {
        "binance": Decimal(klines[0][4]) * USDT_RATE,
        "polygon": aggs["results"][0]["c"],
        "coingecko": {row[0]: row[4] for row in ohlc}[noon_s * 1000],
        "coinmarketcap": quote["quote"]["USD"]["close"],
        "alphavantage": daily["Time Series (Digital Currency Daily)"]["2026-11-19"]["4. close"],
        "eodhd": eod[0]["close"],
        "coinbase": body(fake, candles)["candles"][0]["close"],
    }
    return {name: Decimal(str(value)) for name, value in found.items()}


def test_providers_agree_about_the_past() -> None:
    """The same day has the same close everywhere, whatever its label, to the biases."""
    found = daily_closes(unlimited())
    assert max(found.values()) / min(found.values()) - 1 < Decimal("0.0005"), found


def test_polygon_pages_by_base_bars() -> None:
    """`limit` counts minutes; `next_url` leads on without the key, to the very bars of a single answer."""
    fake, base = unlimited(), "/polygon/v2/aggs/ticker/X:BTCUSD/range/1/hour/2026-11-18/2026-11-18"
    for sort in ("asc", "desc"):
        whole = body(fake, f"{base}?apiKey=k&sort={sort}&limit=50000")
        assert "next_url" not in whole and whole["resultsCount"] == 24
        paged, url = [], f"{base}?sort={sort}&limit=300"
        while url:
            page = body(fake, url, {"Authorization": "Bearer k"})
            paged += page["results"]
            assert len(page["results"]) <= 5
            link = urlsplit(page.get("next_url", ""))
            assert "k=" not in link.query and "apiKey" not in link.query
            url = f"{link.path}?{link.query}" if link.path else ""
        assert paged == whole["results"]


def test_polygon_has_no_results_where_there_are_none() -> None:
    """The field is missing, for a weekend and for a ticker that it does not know."""
    for ticker in ("SPY", "NOSUCH"):
        found = body(unlimited(), f"/polygon/v2/aggs/ticker/{ticker}/range/1/day/2026-11-14/2026-11-15?apiKey=k")
        assert "results" not in found and found["resultsCount"] == 0 and found["status"] == "OK"


def test_polygon_free_plan_ends_with_the_last_day() -> None:
    """Today's bars are left out and the answer is called delayed; today alone is refused."""
    base = "/polygon/v2/aggs/ticker/X:BTCUSD/range/1/hour"
    found = body(unlimited("free"), f"{base}/2026-11-19/2026-11-20?apiKey=k")
    assert found["status"] == "DELAYED" and found["results"][-1]["t"] == 1795129200000
    assert ask(unlimited("free"), f"{base}/2026-11-20/2026-11-20?apiKey=k").status == 403
    assert body(unlimited(), f"{base}/2026-11-20/2026-11-20?apiKey=k")["results"][-1]["t"] == 1795186800000


def test_coingecko_labels_candles_by_their_end() -> None:
    """The last candle ended at its stamp: Binance has the same one half an hour earlier."""
    fake = unlimited("free")
    rows = body(fake, "/coingecko/coins/ethereum/ohlc?vs_currency=usd&days=1&precision=8")
    assert [after[0] - before[0] for before, after in pairwise(rows)] == [1_800_000] * 47
    assert rows[-1][0] == int(NOW_S) // 900 * 900_000
    kline = body(fake, f"/binance/fapi/v1/klines?symbol=ETHUSDT&interval=30m&endTime={rows[-1][0] - 1}&limit=1")[0]
    assert kline[0] == rows[-1][0] - 1_800_000
    assert abs(Decimal(str(rows[-1][4])) / (Decimal(kline[4]) * USDT_RATE) - 1) < Decimal("0.0005")


def test_coingecko_knows_nothing_of_unknown_ids() -> None:
    """An empty object, or a batch without them; and names are shared by impostors."""
    url = "/coingecko/simple/price?vs_currencies=usd&ids="
    assert body(unlimited("free"), url + "no-such-coin") == {}
    assert body(unlimited("free"), url + "no-such-coin,tether").keys() == {"tether"}
    rows = [row["id"] for row in body(unlimited("free"), "/coingecko/coins/list") if row["symbol"] == "btc"]
    assert len(rows) == 2 and rows[0] != "bitcoin"


def test_coinmarketcap_finds_another_coin_first() -> None:
    """By symbol it is a list, and the first is not the one that is meant."""
    found = body(unlimited(), "/coinmarketcap/v2/cryptocurrency/quotes/latest?symbol=BTC,NOSUCH", CMC)["data"]
    assert [row["id"] == 1 for row in found["BTC"]] == [False, True]
    assert found["NOSUCH"] == []


@pytest.mark.parametrize(
    ("query", "opens"),
    [
        ("time_period=hourly&count=3", ["13", "14"]),
        ("time_period=hourly&time_start=2026-11-20T10:00:00Z&time_end=2026-11-20T12:00:00Z&count=10", ["11", "12"]),
        ("time_period=hourly&time_start=2026-11-20T11:00:00.000Z", ["12", "13", "14"]),
        ("time_period=hourly&count=1", []),
    ],
)
def test_coinmarketcap_starts_after_the_start(query: str, opens: list[str]) -> None:
    """The start is exclusive, the end is not, and the open hour counts without being shown."""
    url = f"/coinmarketcap/v2/cryptocurrency/ohlcv/historical?id=1&{query}"
    rows = body(unlimited(), url, CMC, now_s=NOW_S + 600)["data"]["quotes"]
    assert [row["time_open"][11:13] for row in rows] == opens
    assert all(row["time_close"].endswith(":59:59.999Z") for row in rows)


def test_coinmarketcap_is_minutes_late() -> None:
    """An hour shows five minutes after its end."""
    url = "/coinmarketcap/v2/cryptocurrency/ohlcv/historical?id=1&time_period=hourly&count=2"
    hour_s = int(NOW_S) // 3600 * 3600
    assert body(unlimited(), url, CMC, now_s=hour_s + 299)["data"]["quotes"] == []
    assert len(body(unlimited(), url, CMC, now_s=hour_s + 300)["data"]["quotes"]) == 1


def test_alpha_vantage_is_newest_first() -> None:
    """A hundred days of stocks up to the last close, and coins with the running day on top."""
    days = list(
        body(unlimited("free"), "/alphavantage/query?function=TIME_SERIES_DAILY&symbol=SPY&apikey=k")[
            "Time Series (Daily)"
        ]
    )
    assert len(days) == 100 and days == sorted(days, reverse=True) and days[0] == "2026-11-19"
    url = "/alphavantage/query?function=DIGITAL_CURRENCY_DAILY&symbol=BTC&market=USD&apikey=k"
    assert next(iter(body(unlimited("free"), url)["Time Series (Digital Currency Daily)"])) == "2026-11-20"
    url = "/alphavantage/query?function=TIME_SERIES_INTRADAY&symbol=SPY&interval=5min&apikey=k"
    assert next(iter(body(unlimited(), url)["Time Series (5min)"])) == "2026-11-20 10:00:00"


def test_eodhd_is_csv_unless_json_is_asked_for() -> None:
    """And a single close is a bare number."""
    reply = ask(unlimited(), "/eodhd/eod/SPY.US?from=2026-11-17&to=2026-11-19&api_token=k")
    head, *lines = reply.body.decode().splitlines()
    assert head == "date,open,high,low,close,adjusted_close,volume" and len(lines) == 3
    assert lines[0].startswith("2026-11-17,")
    assert isinstance(json.loads(ask(unlimited(), "/eodhd/eod/SPY.US?filter=last_close&api_token=k").body), float)


def test_eodhd_free_plan_is_cut_with_a_warning() -> None:
    """One year, in an answer that looks good: the warning is in a row, or is a row."""
    url = "/eodhd/eod/{}?from=2020-01-01&fmt=json&api_token=k"
    stock, coin = (body(unlimited("free"), url.format(code)) for code in ("SPY.US", "BTC-USD.CC"))
    assert "warning" in stock[-1] and "close" in stock[-1] and stock[0]["date"] >= "2025-11-20"
    assert coin[-1].keys() == {"warning"} and len(coin) == 365
    assert not any("warning" in row for row in body(unlimited(), url.format("SPY.US")))


def test_eodhd_has_minutes_without_values() -> None:
    """Nulls in rows of stocks, now and then, and nothing of the session that is not final."""
    rows = body(unlimited(), "/eodhd/intraday/SPY.US?interval=1m&from=1795046400&fmt=json&api_token=k")
    assert any(row["close"] is None for row in rows) and any(row["close"] for row in rows)
    assert rows[-1]["timestamp"] + 60 == 1795122000
    assert rows[-1]["timestamp"] < NOW_S - DAY_S / 2


def test_coinbase_refuses_too_many_candles() -> None:
    """350 are allowed with both ends counted; newest first, the open one among them."""
    url = "/coinbase/api/v3/brokerage/market/products/BTC-USD/candles?granularity=ONE_MINUTE&start={}&end={}"
    end_s = int(NOW_S) // 60 * 60
    rows = body(unlimited(), url.format(end_s - 349 * 60, end_s))["candles"]
    assert len(rows) == 350 and rows[0]["start"] == str(end_s) and rows[-1]["start"] == str(end_s - 349 * 60)
    assert ask(unlimited(), url.format(end_s - 350 * 60, end_s)).status == 400
