"""Every setting, its default and its unit. The environment and `.env` are read here, once, and nowhere else.

The one exception is `store/address.py`: where Redis is must be known to a probe that has no time for this module.
"""

from __future__ import annotations

import os
import socket
from typing import Annotated, Any

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from streamer.coinbase.session import SessionRules
from streamer.coinbase.transport import check_ws_url
from streamer.errors import ConfigError
from streamer.model import ProductId, parse_product_id
from streamer.store.address import check_redis_url, find_redis_url
from streamer.store.flags import BOTS, USE, Flags, parse_flags
from streamer.webhooks.schemes import Sender, parse_secrets

WS_URL = "wss://advanced-trade-ws.coinbase.com"
WS_USER_URL = "wss://advanced-trade-ws-user.coinbase.com"
REST_URL = "https://api.coinbase.com"

CHANNELS = ("ticker", "user", "candles", "status")
"""Channels that can be streamed; heartbeats come with each connection."""


class Settings(BaseSettings):
    """Settings of all commands, from `STREAMER_*` variables unless said otherwise; arguments override them."""

    model_config = SettingsConfigDict(
        env_prefix="STREAMER_",
        env_file=".env",
        extra="ignore",  # a .env file serves other programs too
        frozen=True,
        populate_by_name=True,
        str_strip_whitespace=True,
        hide_input_in_errors=True,  # pydantic's own words stand behind ours in a traceback, and secrets are inputs
    )

    products: Annotated[tuple[ProductId, ...], NoDecode] = Field(
        default=(ProductId("BTC-USD"), ProductId("ETH-USD"), ProductId("SOL-USD"), ProductId("XRP-USD")),
        description="products streamed when neither the command nor stream:wanted names any, comma separated",
    )
    channels: Annotated[tuple[str, ...], NoDecode] = Field(default=CHANNELS, description="channels to stream")
    exchange: str = Field(default="coinbase", description="coinbase, simulator or auto")
    ws_url: str = Field(default=WS_URL, description="market data WebSocket")
    ws_user_url: str = Field(default=WS_USER_URL, description="user WebSocket")
    rest_url: str = Field(default=REST_URL, description="REST base URL")
    ca_file: str | None = Field(default=None, description="PEM file of certificates to trust beside the system's")
    transport: str = Field(default="auto", description="auto, websockets or picows")
    products_per_connection: int = Field(default=100, ge=1, le=1000, description="products on one WebSocket")
    silence_s: float = Field(default=3.5, ge=1.5, le=60, description="s without a frame in order: reconnect")
    stale_after_s: float = Field(default=5.0, ge=1, le=300, description="s without proof of life: not realtime")
    key_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9:_.-]*$", description="put before every Redis key")
    # The holder renews it once a second and stops by itself at 80 %: below 2.5 s one late beat would end it.
    lease_s: float = Field(default=3.0, ge=2.5, le=60, description="s after which another ingester takes over")
    market_calls_per_minute: int = Field(
        default=10, ge=1, description="REST calls a minute for market data, all hosts"
    )
    public_calls_per_s: int = Field(
        default=10, ge=1, description="public REST calls a second: Coinbase's limit by address"
    )
    private_calls_per_s: int = Field(
        default=30, ge=1, description="private REST calls a second: Coinbase's by user"
    )
    demand: bool = Field(default=True, description="stream what is read and not streamed yet")
    demand_cap: int = Field(default=200, ge=0, le=10_000, description="most products that reads may have streamed")
    demand_idle_s: float = Field(
        default=3600.0, ge=60, description="s unread: what reads have asked for is dropped"
    )
    api_host: str = Field(
        default="127.0.0.1", description="address of the HTTP API; beyond loopback only with a token"
    )
    api_port: int = Field(default=8700, ge=1, le=65535, description="port of the HTTP API")
    api_token: SecretStr | None = Field(default=None, description="needed for changes and balances over HTTP")
    api_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="names the HTTP API answers to beside those of loopback, comma separated"
    )
    api_calls_per_s: float = Field(default=2000.0, ge=1, description="HTTP requests a second of one address")
    webhook_secrets: SecretStr | None = Field(
        default=None, description="who may post webhooks: provider:secret, comma separated; see docs/webhooks.md"
    )
    webhook_calls_per_s: float = Field(
        default=50.0, ge=1, description="webhooks a second of one provider and address"
    )
    webhook_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="addresses of proxies whose X-Forwarded-For tells where a webhook came from"
    )
    use_coordinated_api_calls: str = Field(
        default="true",
        validation_alias=AliasChoices(USE, "use_coordinated_api_calls"),
        description="false: every compat client goes straight to the exchange, unless Redis says otherwise",
    )
    coordinated_bot_ids: str = Field(
        default="",
        validation_alias=AliasChoices(BOTS, "coordinated_bot_ids"),
        description="callers that are coordinated, such as bot-1,bot-7,25%; none means all",
    )
    compare_share: float = Field(
        default=0.01, ge=0, le=1, description="part of what compat clients are served that is compared with REST"
    )
    compare_per_minute: int = Field(default=2, ge=0, description="most such comparisons a minute, all hosts")
    log_level: str = Field(default="info", pattern=r"(?i)^(debug|info|warning|error)$", description="log level")
    api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("COINBASE_API_KEY", "api_key"), description="key name"
    )
    api_secret: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("COINBASE_API_SECRET", "api_secret"),
        description="private key",
    )
    key_file: str | None = Field(
        default=None,
        validation_alias=AliasChoices("COINBASE_KEY_FILE", "key_file"),
        description="JSON key file",
    )
    allow_open_key_file: bool = Field(default=False, description="take a key file that others can read")
    nbf_backdate_s: float = Field(default=2.0, ge=0, le=60, description="s by which tokens are backdated")

    @field_validator("products", mode="before")
    @classmethod
    def _split_products(cls, value: object) -> object:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        return tuple(parse_product_id(p) for p in value) if isinstance(value, list | tuple) else value

    @field_validator("channels", mode="before")
    @classmethod
    def _split_channels(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, tuple | list):
            for name in value:
                if name not in CHANNELS:
                    raise ValueError(f"unknown channel {name!r}, expected some of {', '.join(CHANNELS)}")
            if not value:
                raise ValueError("expected at least one channel")
        return value

    @field_validator("api_hosts", "webhook_proxies", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("use_coordinated_api_calls", "coordinated_bot_ids")
    @classmethod
    def _sound_flag(cls, value: str, info: Any) -> str:
        parse_flags({info.field_name.upper(): value})
        return value

    @field_validator("api_token")
    @classmethod
    def _long_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not 16 <= len(value.get_secret_value()) <= 256:
            raise ValueError("expected 16 to 256 characters: openssl rand -hex 24")
        return value

    @field_validator("webhook_secrets")
    @classmethod
    def _sound_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_secrets(value.get_secret_value())
        return value

    @field_validator("exchange")
    @classmethod
    def _known_exchange(cls, value: str) -> str:
        if value not in ("coinbase", "simulator", "auto"):
            raise ValueError("expected coinbase, simulator or auto")
        return value

    @field_validator("ws_url", "ws_user_url")
    @classmethod
    def _reachable_url(cls, value: str, info: Any) -> str:
        return check_ws_url(info.field_name, value)

    @field_validator("rest_url")
    @classmethod
    def _rest_base(cls, value: str) -> str:
        # The rules of the other URLs: encrypted, or this machine; no password in it.
        if "@" in value:
            return check_ws_url("rest_url", value)  # always refuses it, and knows how without repeating it
        scheme, _, rest = value.partition("://")
        try:
            if "?" in value:
                raise ConfigError("rest_url", value, "paths are put after it")
            check_ws_url("rest_url", {"https": "wss", "http": "ws"}.get(scheme.lower(), "?") + "://" + rest)
        except ConfigError as exc:
            rule = "expected https://host[:port], or http:// on loopback"
            raise ConfigError("rest_url", value, rule) from exc
        return value.rstrip("/")

    @property
    def flags(self) -> Flags:
        """Who is coordinated where Redis says nothing else."""
        return parse_flags({USE: self.use_coordinated_api_calls, BOTS: self.coordinated_bot_ids})

    @property
    def webhook_senders(self) -> dict[str, Sender]:
        """Who may post webhooks, by provider."""
        return parse_secrets(self.webhook_secrets.get_secret_value()) if self.webhook_secrets is not None else {}

    @property
    def session_rules(self) -> SessionRules:
        """The deadlines of a feed's connections."""
        return SessionRules(silence_s=self.silence_s)


def load(**overrides: Any) -> Settings:
    """Read the settings; an override of None means "not given".

    Raises:
        ConfigError: A value breaks a rule. Names the setting, the value (secrets hidden) and the rule.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ConfigError as exc:
        raise ConfigError(_origin(exc.name, given), exc.value, exc.rule) from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        cause = (first.get("ctx") or {}).get("error")
        name = str(first["loc"][0]) if first["loc"] else "settings"
        if isinstance(cause, ConfigError):
            raise ConfigError(_origin(name, given), cause.value, cause.rule) from exc
        secret = (
            name.upper().startswith("COINBASE")
            or "secret" in name
            or name in ("api_key", "api_token")
            or "TOKEN" in name.upper()
        )
        shown = "(hidden)" if secret else first.get("input")
        raise ConfigError(_origin(name, given), shown, first["msg"].removeprefix("Value error, ")) from exc


def _origin(name: str, given: dict[str, Any]) -> str:
    """Return the name under which the user gave a setting."""
    if name in given:
        return "--" + name.removeprefix("api_").replace("_", "-")
    return name if name.isupper() else f"STREAMER_{name.upper()}"


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the variables under which a child process finds what has been set here, by whatever way."""
    found = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value is not None:
            found[_variable(name)] = ",".join(value) if isinstance(value, tuple) else str(value)
    return found


def _variable(name: str) -> str:
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"STREAMER_{name.upper()}"


def redis_url(explicit: str | None = None) -> str:
    """Return where Redis is: `explicit`, REDIS_URL, or the embedded one of a running start-stream.

    Raises:
        ConfigError: It is nowhere to be found, or the URL is none; says what to do.
    """
    url = find_redis_url(os.environ, explicit)
    if url is None:
        raise ConfigError("REDIS_URL", None, "no Redis found: start one with start-stream, or say where it is")
    check_redis_url(url)
    return url


def owner_name() -> str:
    """Return who we are in a lease: host, process and a number that a reused process id does not share."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"


def describe() -> str:
    """Return every setting by its environment variable, with default and meaning, for `--help` and the docs."""
    lines = ["settings from the environment or .env (arguments come first):"]
    rows: list[tuple[str, str, object]] = [("REDIS_URL", "Redis to use; without it an embedded one is run", None)]
    rows += [("STREAMER_STATE_DIR", "folder of the embedded Redis", "$XDG_STATE_HOME/streamer")]
    for name, field in Settings.model_fields.items():
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        rows.append((_variable(name), field.description or "", default))
    for variable, meaning, default in rows:
        lines.append(f"  {variable:<34}{meaning}{f' ({default})' if default not in (None, '') else ''}")
    return "\n".join(lines)
