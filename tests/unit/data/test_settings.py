"""Settings of other providers: read under their own names, and refused with the rule that they break."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.data.settings import DataSettings, describe_data, load_data, load_provider, variable_of
from streamer.errors import ConfigError
from streamer.providers.registry import ADAPTERS
from streamer.providers.shape import AssetClass

SECRET = "whsec_" + "A" * 43 + "="


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No `.env` of the tester's."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_provider_has_the_same_settings(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Address, key, plan and budget, each under the provider's name."""
    word = variable_of(name)
    monkeypatch.setenv(f"STREAMER_{word}_URL", "http://127.0.0.1:9/x/")
    monkeypatch.setenv(f"STREAMER_{word}_KEY", " a-key-of-mine ")
    monkeypatch.setenv(f"STREAMER_{word}_PLAN", "pro")
    monkeypatch.setenv(f"FKS_{word}_RPS", "0.083")
    monkeypatch.setenv(f"FKS_{word}_DAILY", "25")
    access, budget = load_provider(name)
    assert (access.url, access.key, access.plan) == ("http://127.0.0.1:9/x", "a-key-of-mine", "pro")
    assert (budget.rps, budget.daily) == (0.083, 25)
    assert "a-key-of-mine" not in repr(access)


def test_the_names_of_the_rates_are_those_that_people_use() -> None:
    """FKS_BINANCE_RPS, FKS_POLYGON_RPS, FKS_ALPHA_VANTAGE_RPS."""
    words = {variable_of(name) for name in ADAPTERS}
    assert {"BINANCE", "POLYGON", "ALPHA_VANTAGE"} < words


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("STREAMER_POLYGON_URL", "http://example.com", "loopback"),
        ("STREAMER_POLYGON_URL", "https://example.com?apiKey=x", "settings of their own"),
        ("FKS_POLYGON_RPS", "0", "greater than 0"),
        ("FKS_POLYGON_RPS", "fast", "number"),
        ("FKS_POLYGON_DAILY", "0", "greater than or equal to 1"),
    ],
)
def test_a_bad_setting_of_a_provider_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, rule: str
) -> None:
    """The variable, and the rule that it breaks."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=rule) as caught:
        load_provider("polygon")
    assert caught.value.name == variable


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"STREAMER_PROVIDERS_CRYPTO": "binance,kraken"}, "STREAMER_PROVIDERS_CRYPTO"),
        ({"STREAMER_DATA_TIMEOUT_S": "0"}, "STREAMER_DATA_TIMEOUT_S"),
        ({"STREAMER_ALERT_URL": "http://example.com/s3cr3t-path"}, "STREAMER_ALERT_URL"),
        ({"STREAMER_ALERT_URL": "https://example.com/s3cr3t-path"}, "STREAMER_ALERT_SECRET"),
        ({"STREAMER_ALERT_SECRET": "whsec_s3cr3t"}, "STREAMER_ALERT_SECRET"),
    ],
)
def test_a_bad_setting_of_all_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    """And nothing that may be secret is repeated."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_data()
    assert caught.value.name == named
    assert "s3cr3t" not in str(caught.value)


def test_orders_are_by_kind_of_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first choice first, with or without blanks."""
    monkeypatch.setenv("STREAMER_PROVIDERS_CRYPTO", "coingecko, binance")
    found = load_data()
    assert found.order(AssetClass.CRYPTO) == ("coingecko", "binance")
    assert found.order(AssetClass.STOCK) == DataSettings().providers_stock


def test_alerts_need_an_address_and_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token in the query of the address is taken, since some receivers want one."""
    monkeypatch.setenv("STREAMER_ALERT_URL", "https://example.com/hook?token=abc")
    monkeypatch.setenv("STREAMER_ALERT_SECRET", SECRET)
    found = load_data()
    assert found.alert_url is not None
    assert SECRET not in repr(found)
    assert "token" not in repr(found)


def test_all_settings_are_described() -> None:
    """Each variable with its meaning."""
    text = describe_data()
    for name in DataSettings.model_fields:
        assert f"STREAMER_{name.upper()}" in text
    for end in ("STREAMER_<PROVIDER>_URL", "STREAMER_<PROVIDER>_KEY", "FKS_<PROVIDER>_RPS", "FKS_<PROVIDER>_DAILY"):
        assert end in text
