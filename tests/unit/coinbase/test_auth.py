"""Keys: read only where it is safe and sound, parsed however they were pasted, never shown; and their tokens."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from coinbase.jwt_generator import build_rest_jwt, build_ws_jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519

from streamer import settings
from streamer.coinbase.auth import ApiKey, Signer, find_key, parse_private_key, read_key_file
from streamer.errors import ConfigError
from streamer.simulator.keys import JwtChecker, make_key_file

CANARY = "canary-of-a-private-key"
NAME = "organizations/0b6f2d1c-5e7a-4c39-8d12-6f4a9b0c3e21/apiKeys/e4d7c1a0-93b2-4f58-a6c1-7b20d95f3e84"
NOW = 1_795_187_047.9
DATA = Path(__file__).parents[2] / "data"

PEM, NO_PASSWORD = serialization.Encoding.PEM, serialization.NoEncryption()
SEC1, PKCS8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
EC_SEC1 = EC_KEY.private_bytes(PEM, SEC1, NO_PASSWORD).decode()
EC_PKCS8 = EC_KEY.private_bytes(PEM, PKCS8, NO_PASSWORD).decode()
ED_PKCS8 = ED_KEY.private_bytes(PEM, PKCS8, NO_PASSWORD).decode()
ED_64 = base64.b64encode(ED_KEY.private_bytes_raw() + ED_KEY.public_key().public_bytes_raw()).decode()
ED_32 = base64.b64encode(ED_KEY.private_bytes_raw()).decode()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the developer's keys nor a `.env` file reaches these tests."""
    for name in list(os.environ):
        if name.upper().startswith(("STREAMER_", "COINBASE_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    """A file with the text and the mode."""
    path = folder / "key.json"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def good_file(folder: Path, mode: int = 0o600) -> Path:
    """A sound key file."""
    return key_file(folder, json.dumps({"name": NAME, "privateKey": EC_SEC1}), mode)


def everything_said(exc: BaseException | None) -> Iterator[str]:
    """All texts of an error and of those behind it."""
    while exc is not None:
        yield f"{exc} {exc!r} {exc.args!r} {vars(exc)!r} {getattr(exc, '__notes__', '')!r}"
        assert exc.__cause__ is None
        exc = exc.__context__


def public_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    """The public half, which is also what two parsed keys are compared by."""
    return key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def pieces(secret: str, size: int = 12) -> set[str]:
    """Every stretch of the secret that would be a leak, without the lines that all keys share."""
    body = re.sub(r"-----[A-Z0-9 ]+-----|\s", "", secret)
    return {body[i : i + size] for i in range(max(1, len(body) - size + 1))} - {""}


# -- key files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["name", "id"])
def test_key_is_read_under_either_name(tmp_path: Path, field: str) -> None:
    """Newer keys show an id where older ones have a name."""
    key = read_key_file(key_file(tmp_path, json.dumps({field: "key-1", "privateKey": CANARY})))
    assert (key.name, key.secret) == ("key-1", CANARY)
    assert CANARY not in repr(key)


def test_documented_key_file_is_read(tmp_path: Path) -> None:
    """The sample of the protocol notes, with a real key in it."""
    sample = json.loads((DATA / "key_file.json").read_text(encoding="utf-8")) | {"privateKey": EC_SEC1}
    key = read_key_file(key_file(tmp_path, "\ufeff" + json.dumps(sample)))
    assert key.name == sample["name"]
    assert Signer(key).algorithm == "ES256"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that mends it."""
    path = good_file(tmp_path, mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        read_key_file(path)


def test_command_that_mends_is_fit_for_a_shell(tmp_path: Path) -> None:
    """Also where the folder has a space in its name."""
    folder = tmp_path / "my keys"
    folder.mkdir()
    path = good_file(folder, 0o644)
    with pytest.raises(ConfigError) as caught:
        read_key_file(path)
    assert caught.value.rule.endswith(f"run: chmod 600 '{path}'")


def test_open_file_is_taken_where_allowed_and_says_so(tmp_path: Path) -> None:
    """So that whoever starts the stream can warn."""
    key = read_key_file(good_file(tmp_path, 0o644), allow_open=True)
    assert "can be read by others; run: chmod 600" in key.warning
    assert read_key_file(good_file(tmp_path), allow_open=True).warning == ""


def test_file_of_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could put another key in; root's are taken, container platforms mount secrets so."""
    path = good_file(tmp_path)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        assert read_key_file(path).name == NAME
        try:
            os.chown(path, 12345, -1)
        except PermissionError:
            pytest.skip("cannot give a file away here")
    with pytest.raises(ConfigError, match="belongs to someone else; run: chown"):
        read_key_file(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 50_000,
        "\x00",
        CANARY,
        json.dumps({"name": "key-1"}),
        json.dumps({"privateKey": CANARY}),
        json.dumps({"name": " ", "privateKey": CANARY}),
        f'{{"name": "key-1", "privateKey": "{CANARY}"',
        '{"name":1,"id":2}',
    ],
)
def test_what_is_no_key_file_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    """The error names the file and the rule, never the content, and has no cause that does."""
    with pytest.raises(ConfigError, match="not a Coinbase key file") as caught:
        read_key_file(key_file(tmp_path, text))
    assert CANARY not in "".join(everything_said(caught.value))
    assert caught.value.__context__ is None


def test_missing_file_is_named(tmp_path: Path) -> None:
    """As is why it cannot be read."""
    with pytest.raises(ConfigError, match="No such file"):
        read_key_file(tmp_path / "none.json")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """A folder, a device, and a FIFO that nobody writes to: none makes us wait."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path in (fifo, tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigError, match=r"not a regular file|Is a directory"):
            read_key_file(path)


def test_large_file_is_refused(tmp_path: Path) -> None:
    """Whoever names a log by mistake does not wait for it to be read."""
    with pytest.raises(ConfigError, match="larger than 65536 bytes"):
        read_key_file(key_file(tmp_path, json.dumps({"name": NAME, "privateKey": EC_SEC1}) + " " * 65536))


def test_link_to_a_file_is_followed(tmp_path: Path) -> None:
    """Container platforms mount secrets as links."""
    link = tmp_path / "link.json"
    link.symlink_to(good_file(tmp_path))
    assert read_key_file(link).name == NAME


# -- which key --------------------------------------------------------------------------------------------------


def test_no_key_is_no_error() -> None:
    """Public data needs none; variables set to nothing are as good as unset."""
    assert find_key(settings.load()) is None
    assert find_key(settings.load(api_key=" ", api_secret="", key_file=" ")) is None


def test_key_is_found_in_the_two_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the quotes and spaces that came along around the name."""
    monkeypatch.setenv("COINBASE_API_KEY", f'"{NAME}" ')
    monkeypatch.setenv("COINBASE_API_SECRET", EC_SEC1.replace("\n", "\\n"))
    key = find_key(settings.load())
    assert key is not None
    assert (key.name, key.where, key.warning) == (NAME, "COINBASE_API_SECRET", "")
    assert Signer(key).algorithm == "ES256"


def test_key_is_found_in_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An open one is refused, or taken with a warning where that is allowed."""
    path = good_file(tmp_path, 0o644)
    monkeypatch.setenv("COINBASE_KEY_FILE", str(path))
    with pytest.raises(ConfigError, match="chmod 600"):
        find_key(settings.load())
    monkeypatch.setenv("STREAMER_ALLOW_OPEN_KEY_FILE", "true")
    key = find_key(settings.load())
    assert key is not None
    assert (key.name, key.secret, key.where) == (NAME, EC_SEC1, f"COINBASE_KEY_FILE {path}")
    assert str(path) in key.warning


@pytest.mark.parametrize(
    ("given", "missing"),
    [({"api_key": NAME}, "COINBASE_API_SECRET"), ({"api_secret": EC_SEC1, "api_key": ""}, "COINBASE_API_KEY")],
)
def test_half_a_key_names_the_other_half(given: dict[str, str], missing: str) -> None:
    """The one that is not set is the one to set."""
    with pytest.raises(ConfigError) as caught:
        find_key(settings.load(**given))
    assert caught.value.name == missing


@pytest.mark.parametrize(
    "given", [{"api_key": NAME, "api_secret": EC_SEC1}, {"api_key": NAME}, {"api_secret": "x"}]
)
def test_two_ways_at_once_are_refused(tmp_path: Path, given: dict[str, str]) -> None:
    """Which of them counts would be a guess, even where both are the same today."""
    with pytest.raises(ConfigError, match="not both"):
        find_key(settings.load(key_file=str(good_file(tmp_path)), **given))


@pytest.mark.parametrize("secret", [EC_SEC1, ED_64, ED_32, ED_32.rstrip("="), EC_SEC1.replace("\n", "\\n")])
def test_secret_in_the_wrong_variable_is_not_shown(secret: str) -> None:
    """As the name of the key, as the path of its file, or the two the wrong way round."""
    for given in (
        {"api_key": secret, "api_secret": NAME},
        {"key_file": secret},
        {"key_file": json.dumps({"name": NAME, "privateKey": secret})},
        {"key_file": secret, "api_key": NAME},
    ):
        with pytest.raises(ConfigError) as caught:
            find_key(settings.load(**given))
        said = "".join(everything_said(caught.value))
        assert not [piece for piece in pieces(secret) if piece in said]
        assert caught.value.value == "(hidden)"
    with pytest.raises(ConfigError) as caught:
        ApiKey(secret, NAME)
    assert not [piece for piece in pieces(secret) if piece in "".join(everything_said(caught.value))]


@pytest.mark.parametrize("path", ["a\x00b", "x" * 5000, "/etc/\udcff"])
def test_impossible_path_is_refused(path: str) -> None:
    """Like any other that cannot be read."""
    with pytest.raises(ConfigError, match="COINBASE_KEY_FILE"):
        read_key_file(Path(path))


def test_real_path_that_looks_like_base64_is_a_path(tmp_path: Path) -> None:
    """A file that exists is none of the secrets people put in the wrong place."""
    path = "K" * 43
    good_file(tmp_path).rename(tmp_path / path)
    key = find_key(settings.load(key_file=path))
    assert key is not None
    assert key.name == NAME


# -- forms of a private key -------------------------------------------------------------------------------------

PASTED: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: text.rstrip("\n"),
    lambda text: text.replace("\n", "\\n"),
    lambda text: text.replace("\n", "\\\\n"),
    lambda text: text.replace("\n", "\\r\\n"),
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("\n", " "),
    lambda text: text.replace("\n", ""),
    lambda text: text.replace("/", "\\/"),
    lambda text: f'"{text}"',
    lambda text: f" \t'{text}' \n",
    lambda text: "\ufeff" + text,
    lambda text: text.replace("\n", "\n    "),
    lambda text: json.dumps(text),
]


@pytest.mark.parametrize("pasted", PASTED)
@pytest.mark.parametrize(("text", "key"), [(EC_SEC1, EC_KEY), (EC_PKCS8, EC_KEY), (ED_PKCS8, ED_KEY)])
def test_pem_is_read_however_it_was_pasted(text: str, key: Any, pasted: Callable[[str], str]) -> None:
    """Newlines real, escaped, Windows', lost or turned to spaces; quotes and spaces around."""
    assert public_pem(parse_private_key(pasted(text), "X")) == public_pem(key)


@pytest.mark.parametrize(
    "text", [ED_64, ED_32, ED_64.rstrip("="), f" {ED_64[:40]}\n{ED_64[40:]}\r\n", f'"{ED_32}"\\n']
)
def test_base64_is_an_ed25519_key(text: str) -> None:
    """Of 64 bytes or of the first 32, whitespace and lost padding forgiven."""
    assert public_pem(parse_private_key(text, "X")) == public_pem(ED_KEY)


def test_parameters_before_the_key_are_passed_over() -> None:
    """`openssl ecparam -genkey` writes them."""
    text = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + EC_SEC1
    assert public_pem(parse_private_key(text, "X")) == public_pem(EC_KEY)


def other(key: Any, form: serialization.PrivateFormat = PKCS8) -> str:
    """PEM of a key of another kind."""
    return str(key.private_bytes(PEM, form, NO_PASSWORD).decode())


RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PASSWORD = serialization.BestAvailableEncryption(b"password")
# prime239v3, of which the library knows no more than that it is none of its curves.
DER = EC_KEY.private_bytes(serialization.Encoding.DER, SEC1, NO_PASSWORD).replace(
    b"\x3d\x03\x01\x07", b"\x3d\x03\x01\x06"
)
UNKNOWN_CURVE = f"-----BEGIN EC PRIVATE KEY-----\n{base64.b64encode(DER).decode()}\n-----END EC PRIVATE KEY-----\n"
OTHER_SECOND_HALF = base64.b64encode(ED_KEY.private_bytes_raw() + bytes(32)).decode()


@pytest.mark.parametrize(
    ("secret", "rule"),
    [
        (other(ec.generate_private_key(ec.SECP384R1())), "another curve than P-256"),
        (other(ec.generate_private_key(ec.SECP256K1()), SEC1), "another curve than P-256"),
        (UNKNOWN_CURVE, "of another kind"),
        (other(RSA_KEY), "is RSA"),
        (other(RSA_KEY, SEC1), "is RSA"),
        (other(dsa.generate_private_key(1024)), "is DSA"),
        (other(ed448.Ed448PrivateKey.generate()), "is Ed448"),
        (other(x25519.X25519PrivateKey.generate()), "of another kind"),
        (EC_KEY.private_bytes(PEM, PKCS8, PASSWORD).decode(), "is encrypted; decrypt it with"),
        (EC_KEY.private_bytes(PEM, SEC1, PASSWORD).decode(), "is encrypted; decrypt it with"),
        (public_pem(EC_KEY), "is a public key; give the private key"),
        (public_pem(ED_KEY), "is a public key; give the private key"),
        (EC_KEY.private_bytes(PEM, serialization.PrivateFormat.OpenSSH, NO_PASSWORD).decode(), "PEM is not of an"),
        (EC_SEC1[:100], "damaged PEM; paste all of it"),
        (EC_SEC1.replace("M", "*"), "damaged PEM; paste all of it"),
        ("\n".join(EC_SEC1.splitlines()[1:-1]), "neither PEM nor base64"),
        (OTHER_SECOND_HALF, "second half is not the public key"),
        (ED_64[:-8], "neither PEM nor base64"),
        (CANARY, "neither PEM nor base64"),
        ("", "neither PEM nor base64"),
        ("\udcff" + CANARY, "neither PEM nor base64"),
        ("-----BEGIN " * 1000, "PEM is not of an"),
        ("-----BEGIN EC PRIVATE KEY-----" * 500, "damaged PEM"),
        (CANARY * 10_000, "longer than any key"),
    ],
)
def test_other_keys_are_refused_with_their_rule(secret: str, rule: str) -> None:
    """Why, and what to do; nothing of it is shown, and no error stands behind ours that does."""
    with pytest.raises(ConfigError) as caught:
        parse_private_key(secret, "COINBASE_API_SECRET")
    assert rule in caught.value.rule
    assert (caught.value.name, caught.value.value) == ("COINBASE_API_SECRET", "(hidden)")
    said = "".join(everything_said(caught.value))
    assert not [piece for piece in pieces(secret) if piece in said]
    assert caught.value.__context__ is None


# -- tokens -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "sample"), [("ws", "jwt_ws_decoded.json"), ("rest", "jwt_rest_decoded.json")])
def test_token_is_the_documented_one(kind: str, sample: str) -> None:
    """Header and claims of the protocol notes, to the last key; only nonce and signature differ."""
    documented = json.loads((DATA / sample).read_text(encoding="utf-8"))
    signer = Signer(ApiKey(NAME, EC_SEC1))
    host, path = "api.coinbase.com", "/api/v3/brokerage/accounts?limit=250&cursor=x#y"
    token = signer.ws_token(NOW) if kind == "ws" else signer.rest_token("get", host, path, NOW)
    header, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    assert re.fullmatch("[0-9a-f]{64}", header["nonce"])
    assert header | {"nonce": ""} == documented["header"] | {"nonce": ""}
    assert claims == documented["payload"]


@pytest.mark.parametrize("secret", [EC_SEC1, ED_64])
def test_token_has_the_shape_of_the_official_one(secret: str) -> None:
    """The same keys and constants as the official client's (coinbase-advanced-py 1.8.4)."""
    signer, host, path = (
        Signer(ApiKey(NAME, secret), backdate_s=0),
        "api.coinbase.com",
        "/api/v3/brokerage/accounts",
    )
    now_s = time.time()
    pairs = [
        (build_ws_jwt(NAME, secret), signer.ws_token(now_s)),
        (build_rest_jwt(f"GET {host}{path}", NAME, secret), signer.rest_token("GET", host, path, now_s)),
    ]
    for theirs, ours in pairs:
        their_header, header = jwt.get_unverified_header(theirs), jwt.get_unverified_header(ours)
        assert len(their_header.pop("nonce")) == len(header.pop("nonce")) == 64
        assert their_header == header
        their_claims, claims = (jwt.decode(token, options={"verify_signature": False}) for token in (theirs, ours))
        assert abs(their_claims.pop("nbf") - claims.pop("nbf")) <= 2
        assert abs(their_claims.pop("exp") - claims.pop("exp")) <= 2
        assert their_claims == claims


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
def test_token_is_good_in_its_time_only(tmp_path: Path, kind: Any) -> None:
    """The simulator's exchange, as strict as the real one, takes it from 2 s before now until 118 s after."""
    path = tmp_path / "made.json"
    make_key_file(path, kind)
    key = read_key_file(path)
    checker = JwtChecker({key.name: public_pem(parse_private_key(key.secret, key.where))})
    token = Signer(key).ws_token(1000.0)
    assert [checker.key_name(token, at) == key.name for at in (997.9, 998, 1000, 1117.9, 1118)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_nonce_is_fresh() -> None:
    """Two tokens of the same moment differ."""
    signer = Signer(ApiKey(NAME, ED_64))
    nonces = {jwt.get_unverified_header(signer.ws_token(NOW))["nonce"] for _ in range(100)}
    assert len(nonces) == 100


def test_es256_signature_is_raw() -> None:
    """64 bytes r||s as RFC 7518 has it, not DER."""
    signature = Signer(ApiKey(NAME, EC_SEC1)).ws_token(NOW).rpartition(".")[2]
    assert len(base64.urlsafe_b64decode(signature + "==")) == 64


def test_signer_shows_the_name_of_its_key_only() -> None:
    """Neither its repr nor what can be reached by name has the text of the secret."""
    signer = Signer(ApiKey(NAME, ED_64))
    assert repr(signer) == f"Signer({NAME!r})"
    attributes = [getattr(signer, name) for name in Signer.__slots__]
    assert ED_64 not in repr(attributes)


def test_bad_key_is_told_when_the_signer_is_made() -> None:
    """At start, by the setting it came from, not at the first token."""
    with pytest.raises(ConfigError, match="COINBASE_API_SECRET"):
        Signer(ApiKey(NAME, CANARY, "COINBASE_API_SECRET"))
