"""Settings of the other providers: read once, from the environment and `.env`, by `load_data` and nowhere else.

They have a file of their own since each provider has the same ones, under its own name:
`STREAMER_<PROVIDER>_URL`, `_KEY`, `_PLAN`, and the budget as `FKS_<PROVIDER>_RPS` and `FKS_<PROVIDER>_DAILY`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from streamer.coinbase.transport import check_ws_url
from streamer.errors import ConfigError
from streamer.providers.adapter import Access, Adapter
from streamer.providers.registry import ADAPTERS
from streamer.providers.shape import AssetClass
from streamer.webhooks import standard

K = TypeVar("K", bound=BaseSettings)

_CONFIG = SettingsConfigDict(
    env_file=".env", extra="ignore", frozen=True, populate_by_name=True, str_strip_whitespace=True
)


class ProviderSettings(BaseSettings):
    """How one provider is reached."""

    model_config = _CONFIG

    url: str | None = Field(default=None, description="base URL, instead of the provider's own")
    key: SecretStr | None = Field(default=None, description="API key")
    plan: str = Field(default="", max_length=40, description="name of the plan, where it decides what can be asked")

    @field_validator("url")
    @classmethod
    def _base(cls, value: str | None) -> str | None:
        return None if value is None else check_base_url(value)


class Budget(BaseSettings):
    """How often one provider may be asked by all processes together; None means what its plan for nothing has."""

    model_config = _CONFIG

    rps: float | None = Field(default=None, gt=0, le=10_000, description="calls a second, such as 10 or 0.083")
    daily: int | None = Field(default=None, ge=1, description="calls within 24 hours")


class DataSettings(BaseSettings):
    """Which providers are asked, and how patiently."""

    model_config = _CONFIG | SettingsConfigDict(env_prefix="STREAMER_")

    providers_crypto: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("coinbase", "binance", "coingecko", "polygon", "coinmarketcap", "eodhd", "alphavantage"),
        description="providers for pairs such as BTC-USD, the first choice first, comma separated",
    )
    providers_stock: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("polygon", "eodhd", "alphavantage"),
        description="providers for stocks such as SPY, the first choice first, comma separated",
    )
    providers_by_score: bool = Field(
        default=False, description="ask those with a clearly better quality score first"
    )
    data_timeout_s: float = Field(
        default=8.0, gt=0, le=60, description="s to wait for other providers, all together"
    )
    data_patience_s: float = Field(
        default=1.0, gt=0, le=60, description="s without an answer: the next one is asked too"
    )
    data_hedge_s: float = Field(default=0.5, gt=0, le=60, description="the same for calls with priority TRADING")
    data_max_value_age_s: float = Field(
        default=300.0, gt=0, description="a live price that its provider stamped longer ago is stale"
    )
    data_suspect_bp: float = Field(
        default=50.0, gt=0, description="basis points from the median of all: a provider disagrees"
    )
    alert_url: SecretStr | None = Field(
        default=None, description="URL that alerts of bad data are posted to, as a Standard Webhook"
    )
    alert_secret: SecretStr | None = Field(default=None, description="its secret: whsec_ and base64")

    @field_validator("providers_crypto", "providers_stock", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        for name in value if isinstance(value, tuple | list) else ():
            if name not in ADAPTERS:
                raise ValueError(f"unknown provider {name!r}, expected some of {', '.join(ADAPTERS)}")
        return value

    @field_validator("alert_url")
    @classmethod
    def _sound_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            address, _, _ = value.get_secret_value().partition("?")  # some receivers want a token there
            check_base_url(address)
        return value

    @field_validator("alert_secret")
    @classmethod
    def _sound_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            standard.key(value.get_secret_value())
        return value

    def order(self, asset: AssetClass) -> tuple[str, ...]:
        """Return who is asked for a kind of symbol, the first choice first."""
        return self.providers_crypto if asset is AssetClass.CRYPTO else self.providers_stock


def check_base_url(value: str) -> str:
    """Return a base URL without a slash at its end: https anywhere, http on loopback only.

    Raises:
        ConfigError: It is none.
    """
    rule = "expected https://host[:port][/path], or http:// on loopback"
    scheme, _, rest = value.partition("://")
    if "?" in value or "@" in value:
        raise ConfigError("url", "(hidden)", f"{rule}; keys and passwords have settings of their own")
    try:
        check_ws_url("url", {"https": "wss", "http": "ws"}.get(scheme.lower(), "?") + "://" + rest)
    except ConfigError as exc:
        raise ConfigError("url", value, rule) from exc
    return value.rstrip("/")


_SECRETS: Final = ("key", "alert_url", "alert_secret")
_VARIABLE: Final = {"alphavantage": "ALPHA_VANTAGE"}


def variable_of(provider: str) -> str:
    """Return how a provider is written in the names of settings."""
    return _VARIABLE.get(provider, provider.upper())


def load_data() -> DataSettings:
    """Read the settings that all providers share.

    Raises:
        ConfigError: A value breaks a rule. Names the setting, the value (secrets hidden) and the rule.
    """
    found = _read(DataSettings, "STREAMER_")
    if found.alert_url is not None and found.alert_secret is None:
        raise ConfigError("STREAMER_ALERT_SECRET", None, f"alerts are signed: {standard.RULE}")
    return found


def load_provider(name: str) -> tuple[Access, Budget]:
    """Read the settings of one provider.

    Raises:
        ConfigError: As with `load_data`.
    """
    word = variable_of(name)
    found = _read(ProviderSettings, f"STREAMER_{word}_")
    access = Access(found.url, found.key.get_secret_value().strip() if found.key is not None else "", found.plan)
    return access, _read(Budget, f"FKS_{word}_")


def _read(kind: type[K], prefix: str) -> K:
    try:
        return kind(_env_prefix=prefix)
    except ConfigError as exc:
        raise ConfigError(f"{prefix}{exc.name.upper()}", exc.value, exc.rule) from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        cause = (first.get("ctx") or {}).get("error")
        shown = cause.value if isinstance(cause, ConfigError) else first.get("input")
        rule = cause.rule if isinstance(cause, ConfigError) else first["msg"].removeprefix("Value error, ")
        if name in _SECRETS or not first["loc"]:
            raise ConfigError(f"{prefix}{name.upper()}", "(hidden)", rule) from None  # its cause would tell
        raise ConfigError(f"{prefix}{name.upper()}", shown, rule) from exc


def describe_data() -> str:
    """Return every setting of this file with default and meaning, for `--help` and the docs."""
    lines = ["settings of other providers:"]
    for name, field in DataSettings.model_fields.items():
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        shown = f" ({default})" if default not in (None, "", False) else ""
        lines.append(f"  {'STREAMER_' + name.upper():<34}{field.description}{shown}")
    # What Coinbase is asked counts against the budget of the exchange, and needs no key.
    words = ", ".join(variable_of(name) for name in ADAPTERS if name != "coinbase")
    lines.append(f"  for each PROVIDER of {words}:")
    kinds: Sequence[tuple[str, Mapping[str, Any]]] = (
        ("STREAMER", ProviderSettings.model_fields),
        ("FKS", Budget.model_fields),
    )
    for start, fields in kinds:
        for name, field in fields.items():
            lines.append(f"  {start + '_<PROVIDER>_' + name.upper():<34}{field.description}")
    return "\n".join(lines)


def adapter_of(name: str) -> type[Adapter]:
    """Return a provider's adapter.

    Raises:
        ConfigError: There is no such provider.
    """
    if name not in ADAPTERS:
        raise ConfigError("provider", name, f"expected one of {', '.join(ADAPTERS)}")
    return ADAPTERS[name]
