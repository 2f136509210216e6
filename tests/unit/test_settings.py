"""Settings: where they come from, what is refused, what is never shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices, SecretStr, ValidationError

from streamer import settings
from streamer.coinbase.session import SessionRules
from streamer.errors import ConfigError
from streamer.settings import CHANNELS, Settings, as_environment, describe, load

SECRET = "hush-hush-5f2c"
KEY_VARIABLES = {
    "api_key": "COINBASE_API_KEY",
    "api_secret": "COINBASE_API_SECRET",
    "key_file": "COINBASE_KEY_FILE",
    "use_coordinated_api_calls": "USE_COORDINATED_API_CALLS",
    "coordinated_bot_ids": "COORDINATED_BOT_IDS",
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the developer's environment nor a `.env` file reaches these tests."""
    for name in list(os.environ):
        if name.upper().startswith(("STREAMER_", "COINBASE_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return KEY_VARIABLES.get(name, f"STREAMER_{name.upper()}")


# -- where they come from ---------------------------------------------------------------------------------------


def test_defaults() -> None:
    """Without anything given, live Coinbase and four products."""
    defaults = load()
    assert defaults.products == ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD")
    assert (defaults.channels, defaults.exchange, defaults.transport) == (CHANNELS, "coinbase", "auto")
    assert defaults.ws_url == "wss://advanced-trade-ws.coinbase.com"
    assert defaults.ws_user_url == "wss://advanced-trade-ws-user.coinbase.com"
    assert defaults.rest_url == "https://api.coinbase.com"
    assert (defaults.silence_s, defaults.stale_after_s, defaults.lease_s) == (3.5, 5.0, 3.0)
    assert (defaults.products_per_connection, defaults.key_prefix) == (100, "")
    assert (defaults.ca_file, defaults.api_key, defaults.api_secret, defaults.key_file) == (None,) * 4
    assert (defaults.allow_open_key_file, defaults.nbf_backdate_s) == (False, 2.0)
    calls = (defaults.market_calls_per_minute, defaults.public_calls_per_s, defaults.private_calls_per_s)
    assert calls == (10, 10, 30)
    assert (defaults.demand, defaults.demand_cap, defaults.demand_idle_s) == (True, 200, 3600.0)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("products", "BTC-EUR", ("BTC-EUR",)),
        ("products", " BTC-EUR , ETH-EUR,", ("BTC-EUR", "ETH-EUR")),
        ("channels", "ticker", ("ticker",)),
        ("exchange", "simulator", "simulator"),
        ("exchange", " auto ", "auto"),
        ("ws_url", "ws://127.0.0.1:9/ws", "ws://127.0.0.1:9/ws"),
        ("ws_user_url", "wss://example.com", "wss://example.com"),
        ("rest_url", "https://example.com", "https://example.com"),
        ("ca_file", "/etc/ca.pem", "/etc/ca.pem"),
        ("transport", "websockets", "websockets"),
        ("products_per_connection", "7", 7),
        ("silence_s", "2.5", 2.5),
        ("stale_after_s", "10", 10.0),
        ("key_prefix", "test:", "test:"),
        ("lease_s", "5", 5.0),
        ("market_calls_per_minute", "60", 60),
        ("public_calls_per_s", "1", 1),
        ("private_calls_per_s", "15", 15),
        ("demand", "false", False),
        ("demand_cap", "0", 0),
        ("demand_idle_s", "60", 60.0),
        ("log_level", "DEBUG", "DEBUG"),
        ("key_file", "/etc/key.json", "/etc/key.json"),
        ("allow_open_key_file", "true", True),
        ("nbf_backdate_s", "0", 0.0),
    ],
)
def test_environment_is_read(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    """Every setting has its variable."""
    monkeypatch.setenv(variable(name), text)
    assert getattr(load(), name) == value


@pytest.mark.parametrize(
    ("name", "text", "given", "value"),
    [
        ("silence_s", "2.5", 9.0, 9.0),
        ("ws_url", "wss://example.com", "ws://localhost:1", "ws://localhost:1"),
        ("products", "BTC-EUR", ["ETH-EUR"], ("ETH-EUR",)),
        ("products", "BTC-EUR", "ETH-EUR,SOL-EUR", ("ETH-EUR", "SOL-EUR")),
        ("key_file", "/etc/key.json", "/tmp/key.json", "/tmp/key.json"),
        ("silence_s", "not a number", 9.0, 9.0),
    ],
)
def test_overrides_come_first(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, given: object, value: object
) -> None:
    """An argument beats the environment, even a broken one."""
    monkeypatch.setenv(variable(name), text)
    assert getattr(load(**{name: given}), name) == value


def test_override_of_none_means_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option the user left out leaves the environment in force."""
    monkeypatch.setenv("STREAMER_SILENCE_S", "2.5")
    assert load(silence_s=None, ws_url=None).silence_s == 2.5


@pytest.mark.parametrize("name", ["api_key", "api_secret"])
def test_keys_come_by_variable_or_override(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The COINBASE_* variables carry them; an override beats these too."""
    monkeypatch.setenv(variable(name), "from-environment")
    assert getattr(load(), name) == SecretStr("from-environment")
    assert getattr(load(**{name: SECRET}), name) == SecretStr(SECRET)


def test_env_file_is_read_after_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`.env` in the working directory fills in what the environment leaves open; its other lines are nobody's."""
    (tmp_path / ".env").write_text("STREAMER_SILENCE_S=2.5\nSTREAMER_LEASE_S=5\nDATABASE_URL=x\nSTREAMER_FOO=1\n")
    monkeypatch.setenv("STREAMER_LEASE_S", "7")
    loaded = load()
    assert (loaded.silence_s, loaded.lease_s) == (2.5, 7.0)


def test_nothing_is_set_that_nothing_reads() -> None:
    """All products are one shard: a setting for it would promise a partition that does not exist."""
    assert "STREAMER_SHARD" not in describe()


def test_settings_are_frozen() -> None:
    """Read once at start, never changed."""
    with pytest.raises(ValidationError):
        load().silence_s = 9.0


def test_session_rules_follow_the_settings() -> None:
    """The feed gets its deadlines from here."""
    assert load(silence_s=2.0).session_rules == SessionRules(silence_s=2.0)


# -- what is refused --------------------------------------------------------------------------------------------

BAD = [
    ("channels", "level2", "unknown channel 'level2'"),
    ("channels", "", "at least one"),
    ("exchange", "kraken", "expected coinbase, simulator or auto"),
    ("products_per_connection", "0", "greater than or equal to 1"),
    ("products_per_connection", "1001", "less than or equal to 1000"),
    ("products_per_connection", "ten", "valid integer"),
    ("silence_s", "1", "greater than or equal to 1.5"),
    ("silence_s", "3600", "less than or equal to 60"),
    ("silence_s", "soon", "valid number"),
    ("silence_s", "", "valid number"),
    ("silence_s", "nan", "less than or equal to 60"),
    ("stale_after_s", "inf", "less than or equal to 300"),
    ("stale_after_s", "-5", "greater than or equal to 1"),
    ("lease_s", "2.4", "greater than or equal to 2.5"),  # the beat is 1 s: it would expire at one late beat
    ("market_calls_per_minute", "0", "greater than or equal to 1"),
    ("public_calls_per_s", "0.5", "valid integer"),
    ("private_calls_per_s", "none", "valid integer"),
    ("demand", "perhaps", "valid boolean"),
    ("demand_cap", "-1", "greater than or equal to 0"),
    ("demand_idle_s", "59", "greater than or equal to 60"),
    ("nbf_backdate_s", "-1", "greater than or equal to 0"),
    ("nbf_backdate_s", "61", "less than or equal to 60"),
    ("allow_open_key_file", "perhaps", "valid boolean"),
    ("key_prefix", "a b", "match pattern"),
    ("key_prefix", "{x}", "match pattern"),
    ("log_level", "loud", "match pattern"),
]


@pytest.mark.parametrize(("name", "text", "rule"), BAD)
def test_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str, rule: str) -> None:
    """A bad value in the environment names the variable, the value and the rule."""
    monkeypatch.setenv(variable(name), text)
    with pytest.raises(ConfigError) as caught:
        load()
    assert (caught.value.name, caught.value.value) == (variable(name), text)
    assert rule in caught.value.rule
    assert str(caught.value).startswith(f"{variable(name)}: {text!r} is not valid: ")


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [("silence_s", 1, "--silence-s"), ("exchange", "kraken", "--exchange"), ("log_level", "loud", "--log-level")],
)
def test_bad_argument_is_named_as_an_option(name: str, value: object, option: str) -> None:
    """A bad argument is named as the user typed it, also where the environment has a good one."""
    with pytest.raises(ConfigError) as caught:
        load(**{name: value})
    assert (caught.value.name, caught.value.value) == (option, value)


@pytest.mark.parametrize("text", ["btc-usd", "BTC-USD,*", "BTC-USD;ETH-USD", "B" * 33])
def test_bad_product_is_shown_with_its_rule(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The one bad id is shown, not the whole list."""
    monkeypatch.setenv("STREAMER_PRODUCTS", text)
    with pytest.raises(ConfigError, match="expected base-quote such as BTC-USD") as caught:
        load()
    assert caught.value.value == text.split(",")[-1]


@pytest.mark.parametrize("name", ["ws_url", "ws_user_url"])
@pytest.mark.parametrize("url", ["", "http://example.com", "ws://example.com", "wss://example.com:99999"])
def test_bad_url_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    """Unencrypted or no WebSocket at all: said at start, with the setting's name and the value."""
    monkeypatch.setenv(variable(name), url)
    with pytest.raises(ConfigError) as caught:
        load()
    assert name in caught.value.name.lower()
    assert caught.value.value == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://x.y",
        "wss://example.com",
        "http://example.com",
        "https://",
        "https://bad host",
        "https://a..b",
        "https://h/#x",
        "https://h?x=1",
        "https://h:99999",
    ],
)
def test_bad_rest_url_is_shown_with_its_own_rule(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The value as it was given, and what a REST URL is: no word of WebSockets."""
    monkeypatch.setenv("STREAMER_REST_URL", url)
    with pytest.raises(ConfigError) as caught:
        load()
    assert (caught.value.name, caught.value.value) == ("STREAMER_REST_URL", url)
    assert caught.value.rule == "expected https://host[:port], or http:// on loopback"


# -- what is never shown ----------------------------------------------------------------------------------------


def everything_said(exc: BaseException | None) -> str:
    """All texts of an error."""
    return "" if exc is None else f"{exc} {exc!r} {vars(exc)}"


def test_secrets_are_not_in_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are logged at start; keys are not."""
    monkeypatch.setenv("COINBASE_API_KEY", SECRET)
    monkeypatch.setenv("COINBASE_API_SECRET", SECRET)
    loaded = load()
    assert loaded.api_key is not None
    assert loaded.api_key.get_secret_value() == SECRET
    for text in (repr(loaded), str(loaded), loaded.model_dump_json(), repr(loaded.model_dump())):
        assert SECRET not in text


@pytest.mark.parametrize("name", ["api_key", "api_secret"])
def test_bad_secret_is_not_shown(name: str) -> None:
    """The error says that a key is wrong, not what it was."""
    with pytest.raises(ConfigError) as caught:
        load(**{name: [SECRET]})
    assert SECRET not in everything_said(caught.value)
    assert caught.value.value == "(hidden)"


def test_error_of_another_setting_does_not_show_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad value is no reason to print all others."""
    monkeypatch.setenv("COINBASE_API_SECRET", SECRET)
    monkeypatch.setenv("STREAMER_SILENCE_S", "1")
    with pytest.raises(ConfigError) as caught:
        load(api_key=SECRET)
    assert SECRET not in everything_said(caught.value) + everything_said(caught.value.__cause__)


def test_password_in_a_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A WebSocket URL with a password is refused without repeating it."""
    monkeypatch.setenv("STREAMER_WS_URL", f"wss://user:{SECRET}@example.com")
    with pytest.raises(ConfigError) as caught:
        load()
    assert SECRET not in everything_said(caught.value)


@pytest.mark.parametrize("scheme", ["https", "ftp"])
def test_password_in_a_rest_url_is_not_shown(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Nor in one whose scheme is wrong too."""
    monkeypatch.setenv("STREAMER_REST_URL", f"{scheme}://user:{SECRET}@example.com")
    with pytest.raises(ConfigError, match="leave it out") as caught:
        load()
    assert SECRET not in everything_said(caught.value)


# -- help -------------------------------------------------------------------------------------------------------


def test_every_setting_is_described() -> None:
    """`--help` lists each by its variable, with its meaning, and those that are read elsewhere."""
    lines = {line.split()[0]: line for line in describe().splitlines() if line.startswith("  ")}
    assert lines.keys() == {variable(name) for name in Settings.model_fields} | {"REDIS_URL", "STREAMER_STATE_DIR"}
    for name, field in Settings.model_fields.items():
        assert field.description
        assert field.description in lines[variable(name)]


def test_variables_are_those_that_are_read() -> None:
    """The variables of the keys in this file are the first names that the settings take."""
    aliases: dict[str, Any] = {name: field.validation_alias for name, field in Settings.model_fields.items()}
    first = {name: alias.choices[0] for name, alias in aliases.items() if isinstance(alias, AliasChoices)}
    assert first == KEY_VARIABLES


def test_described_defaults_are_the_defaults() -> None:
    """Numbers and addresses in the help are the ones in force."""
    text = describe()
    for shown in ("(BTC-USD,ETH-USD,SOL-USD,XRP-USD)", f"({settings.WS_URL})", "(3.5)", "(5.0)", "(100)"):
        assert shown in text
    assert "None" not in text


def test_lines_of_the_help_are_aligned() -> None:
    """Variable and meaning never run together."""
    for line in describe().splitlines()[1:]:
        name, meaning = line[:36], line[36:]
        assert name.endswith(" ")
        assert not meaning.startswith(" ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STREAMER_WS_URL", "ws://example.com"),
        ("STREAMER_WS_USER_URL", "ws://example.com"),
        ("STREAMER_REST_URL", "http://example.com"),
        ("STREAMER_PRODUCTS", "btc"),
    ],
)
def test_error_names_the_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """The user knows the variable, not our name for it."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load()
    assert caught.value.name == variable


@pytest.mark.parametrize("token", ["", "x" * 15, "x" * 257])
def test_a_weak_api_token_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """One that can be guessed is refused, by variable and by argument, and what it was is not shown."""
    monkeypatch.setenv("STREAMER_API_TOKEN", token)
    with pytest.raises(ConfigError, match=r"STREAMER_API_TOKEN.*hidden.*16 to 256"):
        load()
    monkeypatch.delenv("STREAMER_API_TOKEN")
    with pytest.raises(ConfigError, match=r"hidden.*16 to 256"):
        load(api_token=token)
    assert "secret-secret-secret" not in repr(load(api_token="secret-secret-secret"))


def test_names_of_the_api_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comma separated, as products are."""
    monkeypatch.setenv("STREAMER_API_HOSTS", "box, other.example,")
    assert load().api_hosts == ("box", "other.example")


def test_a_child_finds_what_has_been_set_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever way it was: what is passed on gives equal settings, secrets and lists among them."""
    given = load(
        products="BTC-USD,ETH-USD", api_token="a-token-of-some-length", api_key="k", rest_url="http://127.0.0.1:1",
        demand=False, silence_s=4.5,
    )  # fmt: skip
    for name, value in as_environment(given).items():
        monkeypatch.setenv(name, value)
    found = load()
    assert found == given
    assert found.model_fields_set == given.model_fields_set
