"""Secrets of senders in the settings: read at start, told by their place where they are wrong, and never shown."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from streamer.errors import ConfigError
from streamer.settings import as_environment, load
from tests.unit.webhooks.rig import SECRETS

VARIABLE = "STREAMER_WEBHOOK_SECRETS"
TEXT = ",".join(f"{provider}:{secret}" for provider, secret in SECRETS.items())


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)


def test_nobody_is_let_in_by_default() -> None:
    """Nor by a variable that is empty, as compose files set them."""
    assert load().webhook_senders == load(webhook_secrets="").webhook_senders == {}


def test_senders_come_from_an_env_file_as_it_is(tmp_path: Path) -> None:
    """A line without quotes: nothing in it means something to a shell or to systemd."""
    (tmp_path / ".env").write_text(f"{VARIABLE}={TEXT}\n")
    assert set(load().webhook_senders) == set(SECRETS)


def test_a_child_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that serves the API gets them in its environment."""
    given = load(webhook_secrets=TEXT, webhook_proxies="127.0.0.1,192.0.2.1", webhook_calls_per_s=7)
    for name, value in as_environment(given).items():
        monkeypatch.setenv(name, value)
    assert load() == given
    assert load().webhook_senders == given.webhook_senders


def test_a_bad_secret_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the error, not in what stands behind it, not in a repr of the settings."""
    monkeypatch.setenv(VARIABLE, f"{TEXT},polygon:hush-hush")
    with pytest.raises(
        ConfigError, match=r"STREAMER_WEBHOOK_SECRETS: '\(hidden\)' .* entry 5: expected whsec_"
    ) as caught:
        load()
    told = "".join(traceback.format_exception(caught.value))
    good = repr(load(webhook_secrets=TEXT))
    for secret in ("hush", *SECRETS.values()):
        assert secret not in told + good
