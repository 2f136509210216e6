"""Every sample of a webhook is taken or refused as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamer.webhooks import hook0
from streamer.webhooks.delivery import Posted, Refused
from streamer.webhooks.prices import price_of
from streamer.webhooks.schemes import parse_secrets
from tests.unit.webhooks.rig import scheme_of

FOLDER = Path(__file__).parents[2] / "data" / "providers" / "webhooks"
SAMPLES = sorted(FOLDER.glob("*/*.json"))
NO_SCHEME = ("binance-pay", "coinbase-commerce")
"""Payments: not let in under any secret, so that even their valid samples find nobody at home."""
VECTOR = "coinbase/vector_hook0_client_tests"
"""Of Hook0's own tests: it covers none of the headers that Coinbase's deliveries cover, and has no event."""


def named(path: Path) -> str:
    """Return what a sample is called."""
    return f"{path.parent.name}/{path.stem}"


def loaded(path: Path) -> dict[str, Any]:
    """Return a sample."""
    sample: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return sample


def posted(sample: dict[str, Any]) -> Posted:
    """Return its request as it arrives."""
    request = sample["request"]
    headers = [(name.lower(), value) for name, value in request["headers"].items()]
    return Posted(headers, request["body_raw"].encode(), sample["verify"].get("source_ip", ""))


def now_s(sample: dict[str, Any]) -> float:
    """Return when it arrives; the bar of an alert has just begun."""
    return float(sample["verify"].get("now", 1_795_186_807))


SCHEMED = [path for path in SAMPLES if path.parent.name not in NO_SCHEME and named(path) != VECTOR]


def test_all_samples_are_here() -> None:
    """None is left out: those of the four schemes, of the two that there are not, and the vector."""
    rest = [path for path in SAMPLES if path not in SCHEMED]
    assert (len(SCHEMED), len(rest)) == (24, 7)


@pytest.mark.parametrize("path", SCHEMED, ids=named)
def test_a_sample_is_taken_or_refused_as_it_says(path: Path) -> None:
    """Valid ones become deliveries, the others are refused for the reason that the sample names."""
    sample = loaded(path)
    scheme = scheme_of(path.parent.name)
    verify = sample["verify"]
    keys = [scheme.key(secret) for secret in verify.get("secrets") or [verify.get("shared_token", "x" * 16)]]
    if sample["expect"]["valid"]:
        delivery = scheme.verify(posted(sample), keys, now_s(sample))
        price_of(delivery, now_s(sample))
        assert delivery.id
        assert json.loads(delivery.payload)
        assert verify.get("already_seen_ids", [delivery.id]) == [delivery.id]
    else:
        with pytest.raises(Refused) as caught:
            scheme.verify(posted(sample), keys, now_s(sample))
        assert caught.value.reason == sample["expect"]["reason"]


@pytest.mark.parametrize("path", [path for path in SAMPLES if path.parent.name in NO_SCHEME], ids=named)
def test_of_payments_none_is_let_in(path: Path) -> None:
    """No secret can be set for them, so all of theirs is refused as unknown, what is valid too."""
    with pytest.raises(ValueError, match="no scheme for that provider"):
        parse_secrets(f"{path.parent.name}:whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")


def test_the_vector_of_hook0_is_right_and_covers_too_little() -> None:
    """Its signature is what we work out too; as a delivery it is refused for the headers that it leaves out."""
    sample = loaded(FOLDER / f"{VECTOR}.json")
    assert sample["expect"]["valid"]
    keys = [secret.encode() for secret in sample["verify"]["secrets"]]
    found = hook0.check_v1(posted(sample), keys, ())
    assert found == (sample["verify"]["now"], {"x-test": "val1", "x-test2": "val2"})
    with pytest.raises(Refused, match="covered headers"):
        hook0.verify(posted(sample), keys, now_s(sample))
