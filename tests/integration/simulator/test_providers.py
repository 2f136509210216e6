"""The simulated providers as a server: in this process as tests run it, and as the command runs it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from streamer.errors import ConfigError
from streamer.simulator.providers.assets import USDT_RATE
from streamer.simulator.providers.server import ProviderFake, serving
from tests.integration.simulator.helpers import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PRICE = "/fapi/v2/ticker/price?symbol=BTCUSDT"
NAMES = {"coinbase", "binance", "polygon", "coingecko", "coinmarketcap", "alphavantage", "eodhd"}


@asynccontextmanager
async def visiting(**options: Any) -> AsyncIterator[tuple[ProviderFake, httpx.AsyncClient]]:
    """Providers in this process, and a client that no proxy stands before."""
    async with serving(**options) as fake, httpx.AsyncClient(trust_env=False, timeout=10) as client:
        yield fake, client


@asynccontextmanager
async def process(*command: str) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
    """A process and the addresses that it announced as JSON."""
    made = await asyncio.create_subprocess_exec(sys.executable, "-m", *command, stdout=PIPE, stderr=PIPE)
    try:
        assert made.stdout is not None
        line = await asyncio.wait_for(made.stdout.readline(), 20)
        assert line, (await made.communicate())[1]
        yield made, json.loads(line)
    finally:
        if made.returncode is None:
            made.kill()
        await made.communicate()


async def test_all_seven_answer_at_one_port() -> None:
    """Each below its prefix, in the simulator's name; another path is nobody's."""
    async with visiting() as (fake, client):
        assert set(fake.names) == NAMES
        for name in fake.names:
            assert fake.url(name) == f"{fake.origin}/{name}"
            answer = await client.get(f"{fake.url(name)}/no/such/path")
            assert answer.headers["server"] == "streamer-simulator"
            assert fake.state(name)["total"] == 1
        assert (await client.get(f"{fake.origin}/kraken/0/public/Ticker")).status_code == 404
        good = await client.get(fake.url("binance") + PRICE)
        assert good.status_code == 200 and float(good.json()["price"]) > 0
        assert (await client.post(fake.url("binance") + PRICE)).status_code == 405


async def test_budgets_hold_as_the_provider_counts_them() -> None:
    """Of twenty requests at once five pass, and the counts say so."""
    async with visiting() as (fake, client):
        url = fake.url("polygon") + "/v2/aggs/ticker/SPY/prev?apiKey=k"
        answers = await asyncio.gather(*(client.get(url) for _ in range(20)))
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 15
        state = fake.state("polygon")
        assert (state["total"], state["most_per_second"], state["refused"]) == (20, 20, {"per_minute": 15})
        assert state["statuses"] == {"200": 5, "429": 15}
        assert state["keys"]["k"]["most_per_minute"] == 20
        assert state["paths"] == {"/v2/aggs/ticker/SPY/prev": 20}


async def test_pages_lead_on_at_this_server() -> None:
    """`next_url` can be followed as it stands, with the key added."""
    async with visiting() as (fake, client):
        key = {"Authorization": "Bearer k"}
        url: str | None = f"{fake.url('polygon')}/v3/reference/tickers?market=crypto&limit=4"
        found: list[str] = []
        while url is not None:
            answer = (await client.get(url, headers=key)).json()
            found += [row["ticker"] for row in answer["results"]]
            url = answer.get("next_url")
        assert len(found) == len(set(found)) == 11


async def test_a_provider_that_is_down_cuts_the_connection() -> None:
    """Without an answer, while the others go on; healed it answers again."""
    async with visiting() as (fake, client):
        fake.fault("binance", "down", count=1)
        fake.fault("eodhd", "down")
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(fake.url("binance") + PRICE)
        assert (await client.get(fake.url("binance") + PRICE)).status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(fake.url("eodhd") + "/internal-user?api_token=k")
        fake.heal()
        assert (await client.get(fake.url("eodhd") + "/internal-user?api_token=k")).status_code == 200
        assert fake.state("eodhd")["statuses"] == {"cut": 1, "200": 1}


async def test_a_slow_provider_answers_late() -> None:
    """No sooner than ordered; meanwhile the requests in hand are counted."""
    async with visiting() as (fake, client):
        fake.fault("coingecko", "slow", delay_s=0.3)
        began_s = time.monotonic()
        waiting = [asyncio.create_task(client.get(fake.url("coingecko") + "/ping")) for _ in range(3)]
        await wait_until(lambda: fake.state("coingecko")["at_once"] == 3)
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
        assert time.monotonic() - began_s >= 0.3
        assert fake.state("coingecko")["most_at_once"] == 3
        assert fake.state("coingecko")["at_once"] == 0


async def test_answers_take_their_time_side_by_side() -> None:
    """Requests overlap, the control route answers meanwhile, and nobody is answered before the shortest latency."""
    async with visiting(latency_ms=600) as (fake, client):
        began_s = time.monotonic()
        waiting = [asyncio.create_task(client.get(fake.url("binance") + PRICE)) for _ in range(10)]
        await wait_until(lambda: fake.state("binance")["at_once"] == 10)
        state = (await client.get(f"{fake.origin}/_control/state")).json()
        assert state["binance"]["at_once"] == 10 and state["binance"]["statuses"] == {}
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
        assert time.monotonic() - began_s >= 0.45


async def test_who_waits_is_not_overtaken() -> None:
    """What is left of a budget goes to whoever came first, though the one after is answered sooner."""
    async with visiting() as (fake, client):
        url = fake.url("polygon") + "/v2/aggs/ticker/SPY/prev?apiKey=k"
        fake.command({"limits": {"per_minute": 1}, "provider": "polygon"})
        fake.fault("polygon", "slow", delay_s=0.2, count=1)
        first = asyncio.create_task(client.get(url))
        await wait_until(lambda: fake.state("polygon")["at_once"] == 1)
        assert (await client.get(url)).status_code == 429
        assert not first.done() and (await first).status_code == 200


async def test_packed_answers_are_unpacked_by_clients() -> None:
    """The header tells what the body is."""
    async with visiting() as (fake, client):
        fake.fault("coinbase", "gzip")
        answer = await client.get(fake.url("coinbase") + "/api/v3/brokerage/market/products/BTC-USD")
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.json()["product_id"] == "BTC-USD"


async def test_orders_come_over_the_control_route_too() -> None:
    """The state of those meant comes back; what is no order is a 400 that says why."""
    async with visiting() as (fake, client):
        control = f"{fake.origin}/_control"
        told = await client.post(control, json={"fault": "error500", "provider": "binance", "for_s": 60})
        assert told.json()["binance"]["faults"] == ["error500"]
        assert (await client.get(fake.url("binance") + PRICE)).status_code == 500
        state = (await client.get(f"{control}/state")).json()
        assert state == fake.state() and state["binance"]["statuses"] == {"500": 1}
        for bad in (b"{", b"[]", b'{"fault": "nonsense"}'):
            answer = await client.post(control, content=bad)
            assert answer.status_code == 400 and answer.json()["error"]
        assert (await client.get(control)).status_code == 405
        assert (await client.post(control, json={"heal": True})).json().keys() == NAMES


async def test_it_ends_with_requests_that_wait() -> None:
    """Within a second or so, though an answer was ordered to take an hour."""
    began_s = time.monotonic()
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        async with serving() as fake:
            fake.fault("binance", "slow", delay_s=3600)
            waiting = asyncio.create_task(client.get(fake.url("binance") + PRICE))
            await wait_until(lambda: fake.state("binance")["at_once"] == 1)
        with pytest.raises(httpx.TransportError):
            await waiting
    assert time.monotonic() - began_s < 5


async def test_a_port_that_is_taken_is_told() -> None:
    """As an error of the arguments, before anything runs."""
    async with serving() as fake:
        with pytest.raises(ConfigError, match="providers port"):
            async with serving(port=fake.port):
                pass


async def test_its_clock_is_the_one_it_is_given() -> None:
    """Prices, stamps and the Date are of that time; a paid plan from the start sees what free ones do not."""
    async with visiting(now_s=lambda: 1795186807.123, plan="paid", seed=5) as (fake, client):
        answer = await client.get(fake.url("binance") + "/fapi/v1/time")
        assert answer.json() == {"serverTime": 1795186807123}
        assert answer.headers["date"] == "Fri, 20 Nov 2026 15:00:07 GMT"
        last = await client.get(fake.url("polygon") + "/v1/last/crypto/BTC/USD", params={"apiKey": "k"})
        assert last.json()["status"] == "success"


async def test_the_command_plays_all_beside_the_exchange() -> None:
    """One process announces the exchange and all seven, serves them, and ends by itself at SIGTERM."""
    flags = ("--providers", "--providers-plan", "paid", "--products", "2", "--latency-ms", "0", "--json")
    parent = ("--die-with-parent",) if sys.platform == "linux" else ()
    async with process("streamer.cli.main", "simulate", *flags, *parent) as (command, told):
        assert told["products"] == ["BTC-USD", "ETH-USD"] and told["url"]
        assert told["providers"].keys() == NAMES
        assert told["providers_env"]["STREAMER_BINANCE_URL"] == told["providers"]["binance"]
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            for name, url in told["providers"].items():
                assert (await client.get(f"{url}/no/such")).headers["server"] == "streamer-simulator", name
            state = (await client.get(f"{told['providers_url']}/_control/state")).json()
            assert {each["plan"] for each in state.values()} == {"paid"}
            began_s = time.monotonic()
            command.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(command.wait(), 10) == 0
            assert time.monotonic() - began_s < 3


async def test_the_exchange_agrees_with_those_beside_it() -> None:
    """Price for price within 20 basis points over seconds, while it goes on trading; so do its hourly candles."""
    coins = {"BTC": "bitcoin", "ETH": "ethereum", "DOGE": "dogecoin", "DOT": "polkadot"}
    products = ",".join(f"{coin}-USD" for coin in coins)
    flags = (
        "--providers",
        "--products",
        products,
        "--rate",
        "100",
        "--public-rate",
        "0",
        "--latency-ms",
        "0",
        "--json",
    )
    async with (
        process("streamer.cli.main", "simulate", *flags) as (_, told),
        httpx.AsyncClient(trust_env=False, timeout=10) as client,
    ):
        at_exchange = f"{told['rest_url']}/api/v3/brokerage/market/products"
        binance, coingecko = told["providers"]["binance"], told["providers"]["coingecko"]

        async def asked(url: str, **params: Any) -> Any:
            answer = await client.get(url, params=params)
            assert answer.status_code == 200, answer.text
            return json.loads(answer.text, parse_float=Decimal)

        def agree(one: Decimal, other: Decimal, within_bp: int) -> bool:
            return abs(one / other - 1) * 10_000 < within_bp

        seen: set[Decimal] = set()
        gecko = {"ids": ",".join(coins.values()), "vs_currencies": "usd", "precision": "full"}
        for _ in range(5):  # of CoinGecko's budget for a minute
            dollars = await asked(f"{coingecko}/simple/price", **gecko)
            until_s = time.monotonic() + 0.7
            while time.monotonic() < until_s:
                for coin, slug in coins.items():
                    price = Decimal((await asked(f"{at_exchange}/{coin}-USD"))["price"])
                    tethers = await asked(f"{binance}/fapi/v2/ticker/price", symbol=f"{coin}USDT")
                    assert agree(price, Decimal(tethers["price"]) * USDT_RATE, 20), (coin, price, tethers)
                    assert agree(price, dollars[slug]["usd"], 20), (coin, price, dollars)
                    seen.add(price)
        assert len(seen) > 20

        now_s = int(time.time())
        hours = {"start": now_s - 24 * 3600, "end": now_s, "granularity": "ONE_HOUR"}
        candles = (await asked(f"{at_exchange}/BTC-USD/candles", **hours))["candles"]
        bars = await asked(f"{binance}/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=30)
        theirs = {bar[0] // 1000: Decimal(bar[4]) * USDT_RATE for bar in bars}
        assert len(candles) >= 24
        assert all(agree(Decimal(c["close"]), theirs[int(c["start"])], 100) for c in candles)


async def test_the_command_prints_what_to_export() -> None:
    """For people: a line to copy for each provider."""
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamer.cli.main", "simulate", "--providers", "--products", "1"), stdout=PIPE
    )
    assert made.stdout is not None
    lines = [(await asyncio.wait_for(made.stdout.readline(), 20)).decode()]
    while sum(line.startswith("export ") for line in lines) < len(NAMES):
        lines.append((await asyncio.wait_for(made.stdout.readline(), 20)).decode())
        assert lines[-1], lines
    shown = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines if line.startswith("export "))
    urls = {f"STREAMER_{name.upper()}_URL" for name in NAMES - {"alphavantage"}}
    assert shown.keys() == urls | {"STREAMER_ALPHA_VANTAGE_URL"}
    made.send_signal(signal.SIGINT)
    await asyncio.wait_for(made.communicate(), 10)
    assert made.returncode == 0


async def test_they_run_alone_too() -> None:
    """`python -m streamer.simulator.providers` announces and stops; a port in use is status 2 in one line."""
    async with process("streamer.simulator.providers", "--seed", "3") as (alone, told):
        assert told["providers"].keys() == NAMES
        port = told["providers_url"].rpartition(":")[2]
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streamer.simulator.providers", "--port", port), stdout=PIPE, stderr=PIPE
        )
        out, err = await asyncio.wait_for(second.communicate(), 20)
        assert (second.returncode, out) == (2, b"") and b"providers port" in err and b"Traceback" not in err
        alone.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(alone.wait(), 10) == 0


ALONE = ("streamer.simulator.providers",)
BESIDE = ("streamer.cli.main", "simulate", "--providers", "--products", "1", "--json")


@pytest.mark.parametrize("command", [ALONE, BESIDE], ids=["alone", "beside"])
async def test_commands_are_as_far_as_the_internet_unless_told(command: tuple[str, ...]) -> None:
    """An answer takes at least 60 ms, 225 where more is asked for; what is no latency is status 2 in one line."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        for flags, least_s in (((), 0.06), (("--latency-ms", "300"), 0.225)):
            async with process(*command, *flags) as (_, told):
                began_s = time.monotonic()
                assert (await client.get(told["providers"]["binance"] + PRICE)).status_code == 200
                assert time.monotonic() - began_s >= least_s
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command, "--latency-ms", "-1"), stdout=PIPE, stderr=PIPE
    )
    out, err = await asyncio.wait_for(made.communicate(), 20)
    assert (made.returncode, out, len(err.splitlines())) == (2, b"", 1) and b"latency_ms" in err
