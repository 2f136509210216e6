"""No key of a provider is in an error, a story or a log, whatever goes wrong."""

from __future__ import annotations

import logging

import pytest

from streamer.data.manager import How
from streamer.data.shown import price_json
from streamer.errors import Unavailable, UnknownSymbol
from streamer.providers.registry import ADAPTERS
from streamer.providers.symbols import parse_symbol
from streamer.simulator.providers.faults import FaultKind
from streamer.simulator.providers.server import ProviderFake
from tests.integration.data.conftest import Join
from tests.integration.data.rig import forget, key_of
from tests.support import RedisServer

KINDS = [kind for kind in FaultKind if kind is not FaultKind.SLOW]


@pytest.mark.parametrize("name", [name for name in ADAPTERS if name != "coinbase"])
async def test_in_no_error_story_or_log(
    join: Join,
    fake: ProviderFake,
    redis: RedisServer,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """Also where the provider repeats it in its answer, and in what is kept in Redis."""
    caplog.set_level(logging.DEBUG)
    party = await join(STREAMER_PROVIDERS_CRYPTO=name)
    symbol = parse_symbol("BTC-USDT" if name == "binance" else "BTC-USD")
    said = [repr(party.desk.providers[name].adapter.access)]
    failed = 0
    for kind in KINDS:
        fake.fault(name, kind)
        try:
            served = await party.desk.price(symbol, How(provider=name, timeout_s=0.3))
            said.append(repr(served) + str(price_json(served, None)))
        except (Unavailable, UnknownSymbol) as exc:
            failed += 1
            said += [str(exc), repr(exc), repr(exc.__cause__), repr(exc.__context__)]
        said += [redis.ask("GET", key) for key in redis.ask("KEYS", "*") if redis.ask("TYPE", key) == "string"]
        said += redis.ask("KEYS", "*")
        fake.heal()
        forget(redis, "gateway:", "data:")
    ours = [
        record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")
    ]  # is the fake
    said += [*ours, *capsys.readouterr()]
    assert failed >= 7
    assert key_of(name) not in "".join(said)
