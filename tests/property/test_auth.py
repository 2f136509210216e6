"""Laws of keys and tokens: every form is the same key, every token verifies, nothing of a secret is ever said."""

from __future__ import annotations

import base64
import re
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from streamer.coinbase.auth import ApiKey, Signer, parse_private_key, read_key_file
from streamer.errors import ConfigError

PEM, NO_PASSWORD = serialization.Encoding.PEM, serialization.NoEncryption()
SEC1, PKCS8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
LABELS = ["EC PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "PUBLIC KEY", "NONSENSE", ""]

ec_keys = st.integers(1, P256_ORDER - 1).map(lambda number: ec.derive_private_key(number, ec.SECP256R1()))
ed_keys = st.binary(min_size=32, max_size=32).map(ed25519.Ed25519PrivateKey.from_private_bytes)
names = st.from_regex(
    r"organizations/[0-9a-f-]{36}/apiKeys/[0-9a-f-]{36}|[0-9a-f]{8}-[0-9a-f-]{27}", fullmatch=True
)
newlines = st.sampled_from(["\n", "\r\n", "\\n", "\\r\\n", "\\\\n", " ", "", "\n\n", "\n  ", " \\n "])
around = st.text(alphabet=" \t\r\n'\"`", max_size=4)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey]:
    """A key and one of the texts in which people give it."""
    key: Any = draw(st.one_of(ec_keys, ed_keys))
    if isinstance(key, ed25519.Ed25519PrivateKey) and draw(st.booleans()):
        public = key.public_key().public_bytes_raw() if draw(st.booleans()) else b""
        body = base64.b64encode(key.private_bytes_raw() + public).decode()
        cut = draw(st.integers(1, len(body)))
        text = body[:cut] + draw(st.sampled_from(["", " ", "\n", "\r\n", "\\n"])) + body[cut:]
    else:
        form = draw(st.sampled_from([SEC1, PKCS8])) if isinstance(key, ec.EllipticCurvePrivateKey) else PKCS8
        text = key.private_bytes(PEM, form, NO_PASSWORD).decode().rstrip("\n")
        text = (text + draw(st.sampled_from(["", "\n"]))).replace("\n", draw(newlines))
    return draw(around) + text + draw(around), key


def raw_public(key: Any) -> bytes:
    """What two keys are compared by."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.DER, form))


@given(texts())
def test_every_text_of_a_key_is_that_key(given_key: tuple[str, Any]) -> None:
    """Whatever happened to newlines, quotes and spaces on the way."""
    text, key = given_key
    assert raw_public(parse_private_key(text, "X")) == raw_public(key)


@given(
    texts(),
    names,
    st.floats(1e9, 4e9),
    st.floats(0, 60),
    st.none()
    | st.tuples(
        st.sampled_from(["GET", "POST", "PUT", "DELETE", "get"]),
        st.from_regex(r"[a-z.]{1,20}(:[0-9]{1,4})?", fullmatch=True),
        st.from_regex(r"(/[A-Za-z0-9_%-]{1,12}){1,5}", fullmatch=True),
        st.sampled_from(["", "?", "?limit=1", "?a=/b&c=?", "#x"]),
    ),
)
def test_every_token_verifies_and_claims_what_it_must(
    given_key: tuple[str, Any],
    name: str,
    now_s: float,
    backdate_s: float,
    request: tuple[str, str, str, str] | None,
) -> None:
    """Exactly those keys in header and claims, dated back as told, good for exactly 120 s."""
    text, key = given_key
    signer = Signer(ApiKey(name, text), backdate_s=backdate_s)
    claims: dict[str, Any] = {"sub": name, "iss": "cdp"}
    if request is None:
        token = signer.ws_token(now_s)
    else:
        method, host, path, query = request
        token = signer.rest_token(method, host, path + query, now_s)
        claims["uri"] = f"{method.upper()} {host}{path}"
    claims["nbf"] = int(now_s - backdate_s)
    claims["exp"] = claims["nbf"] + 120
    algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "EdDSA"
    options: Any = {"verify_exp": False, "verify_nbf": False}
    assert jwt.decode(token, key.public_key(), algorithms=[algorithm], options=options) == claims
    header = jwt.get_unverified_header(token)
    assert re.fullmatch("[0-9a-f]{64}", header.pop("nonce"))
    assert header == {"alg": algorithm, "typ": "JWT", "kid": name}


canaries = st.text(alphabet="0123456789abcdefghijklmnopqrstuvwxyz", min_size=16, max_size=40)
garbage = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="ABCdef019+/=\n\\ -", max_size=200),
    st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode()),
)


@st.composite
def bad_secrets(draw: st.DrawFn) -> tuple[str, str]:
    """A canary, and a text around it that is no key, often almost one."""
    canary = draw(canaries)
    text = draw(garbage) + canary + draw(garbage)
    if draw(st.booleans()):
        begin, end = draw(st.sampled_from(LABELS)), draw(st.sampled_from(LABELS))
        text = f"-----BEGIN {begin}-----{draw(newlines)}{text}{draw(newlines)}-----END {end}-----"
    return canary, text


def said(exc: BaseException) -> str:
    """All that an error says, which is to be the only one."""
    assert exc.__cause__ is None
    assert exc.__context__ is None
    return f"{exc} {exc!r} {exc.args!r} {vars(exc)!r} {getattr(exc, '__notes__', '')!r}"


def refusal(secret: str) -> ConfigError | None:
    """The error about a secret, which names its setting; None where it is a key after all."""
    try:
        Signer(ApiKey("key-1", secret, "COINBASE_API_SECRET"))
    except ConfigError as exc:
        error = exc
    else:
        return None
    assert error.name == "COINBASE_API_SECRET"
    return error


@given(bad_secrets())
def test_nothing_of_a_bad_secret_is_said(given_secret: tuple[str, str]) -> None:
    """Not in the error, not behind it; the setting is named. (Base64 of 32 bytes is a key, and no error.)"""
    canary, text = given_secret
    exc = refusal(text)
    assert exc is None or canary not in said(exc)


@given(texts(), st.data())
def test_nothing_of_a_damaged_key_is_said(given_key: tuple[str, Any], data: st.DataObject) -> None:
    """A real key cut off, or with one character changed: either still a key or an error that shows none of it."""
    text, _ = given_key
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] if data.draw(st.booleans()) else text[:at] + data.draw(st.characters()) + text[at + 1 :]
    exc = refusal(damaged)
    if exc is not None:
        told = said(exc)
        body = re.sub(r"-----[A-Z ]+-----|\\+[rn]|\s", "", damaged)
        assert not [body[i : i + 12] for i in range(len(body) - 11) if body[i : i + 12] in told]


@given(texts())
def test_a_key_in_place_of_a_name_is_not_said(given_key: tuple[str, Any]) -> None:
    """The two variables the wrong way round."""
    text, _ = given_key
    with pytest.raises(ConfigError) as caught:
        ApiKey(text, "key-1")
    body = re.sub(r"-----[A-Z ]+-----|\\+[rn]|\s", "", text)
    assert not [body[i : i + 12] for i in range(len(body) - 11) if body[i : i + 12] in said(caught.value)]


@given(canaries, st.binary(max_size=100), st.binary(max_size=100))
def test_nothing_of_a_bad_key_file_is_said(
    tmp_path_factory: pytest.TempPathFactory, canary: str, before: bytes, after: bytes
) -> None:
    """A file of anything: its path is told, its content is not."""
    path = tmp_path_factory.getbasetemp() / "key.json"
    path.write_bytes(before + canary.encode() + after)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        read_key_file(path)
    assert canary not in said(caught.value)
