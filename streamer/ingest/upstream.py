"""Where the exchange is, and who we are to it: decided once, from the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamer.coinbase.auth import Signer, find_key
from streamer.coinbase.clock import ExchangeClock
from streamer.coinbase.feed import Endpoint
from streamer.coinbase.messages import TICKER, USER
from streamer.coinbase.rest import CoinbaseRest
from streamer.coinbase.transport import tls_context
from streamer.errors import ConfigError
from streamer.model import Source
from streamer.providers.base import Gate, RestSource
from streamer.settings import WS_URL, Settings


@dataclass(frozen=True, slots=True)
class Upstream:
    """One exchange.

    Attributes:
        market: Endpoints of market data.
        user: Endpoints of the user channel, in the order they are tried; none where it cannot be had.
        rest: REST source; None where it is not to be used.
        signer: Signs for our key; None without one.
        notes: What cannot be had and why, a line each, for the log.
        warning: About the key, "" where there is nothing to warn of.
    """

    market: Sequence[Endpoint]
    source: Source
    clock: ExchangeClock
    user: Sequence[Endpoint] = ()
    rest: RestSource | None = None
    signer: Signer | None = None
    notes: Sequence[str] = field(default=())
    warning: str = ""


def upstream(settings: Settings, source: Source, gate: Gate | None = None) -> Upstream:
    """Return the exchange that the settings name; its REST is asked through the gate, None for at once.

    A market data URL of one's own names another exchange as a whole: then neither key nor question goes to
    Coinbase's hosts, unless these are named too. The user channel works on the market host as well.

    Raises:
        ConfigError: Half a key, a key that is none, or nothing that could be streamed.
    """
    clock, notes = ExchangeClock(), []
    own_exchange = settings.ws_url != WS_URL
    key = find_key(settings) if USER in settings.channels else None
    signer = Signer(key, backdate_s=settings.nbf_backdate_s) if key is not None else None
    market = _endpoint(settings.ws_url, settings)
    user: list[Endpoint] = []
    if USER in settings.channels and signer is None:
        notes.append(
            "no balances: set COINBASE_API_KEY and COINBASE_API_SECRET, or COINBASE_KEY_FILE; public data only"
        )
    elif USER in settings.channels:
        user_url_given = "ws_user_url" in settings.model_fields_set
        if user_url_given or not own_exchange:
            user.append(_endpoint(settings.ws_user_url, settings))
        if own_exchange or not user_url_given:
            user.append(market)
    rest = None
    if own_exchange and "rest_url" not in settings.model_fields_set:
        notes.append("no REST: --ws-url names another exchange, and --rest-url does not say where that has it")
    else:
        rest = CoinbaseRest(
            settings.rest_url, signer=signer, clock=clock, gate=gate, ca_file=settings.ca_file, source=source
        )
    if user and rest is None:
        user = []
        notes.append("no balances: they cannot be had without REST")
    if TICKER not in settings.channels:
        notes.append("no prices: the ticker channel is not among --channels")
    if not user and set(settings.channels) == {USER}:
        raise ConfigError("--channels", USER, "; ".join(notes) + "; nothing would be left to stream")
    return Upstream(
        market=[market],
        source=source,
        clock=clock,
        user=user,
        rest=rest,
        signer=signer,
        notes=notes,
        warning=key.warning if key is not None else "",
    )


def _endpoint(url: str, settings: Settings) -> Endpoint:
    return Endpoint(url, tls_context(url, settings.ca_file))
