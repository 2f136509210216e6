"""Coinbase API keys: finding one, parsing its private key however it was pasted, and signing tokens with it.

No error of this module shows any of a secret, and no other error stands behind it: all are raised outside of
`except`, because errors of parsers and codecs carry what they read, and `from None` only hides them.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from streamer.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import SecretStr

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

NAME_SETTING = "COINBASE_API_KEY"
SECRET_SETTING = "COINBASE_API_SECRET"  # noqa: S105 - the name of a variable
SETTING = "COINBASE_KEY_FILE"

TOKEN_LIFETIME_S = 120
"""From nbf to exp; the exchange takes no more."""

_HIDDEN = "(hidden)"
_MAX_BYTES = 65536
_MAX_SECRET_CHARS = 16384
_MAX_NAME_CHARS = 256
_SEED_BYTES = 32

# Zero-width space and byte order mark come along from web pages and editors; Python calls neither a space.
_SPACES = re.compile(r"[\s\u200b\ufeff]+")
_ESCAPED_NEWLINES = re.compile(r"\\+[rn]")
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*)-----END \1-----")
_PEM_START = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_NAME = re.compile(r"[A-Za-z0-9._:/-]+")
_NEW_KEY = "make an ECDSA key (ES256) at https://portal.cdp.coinbase.com and use it as downloaded"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as downloaded: its name (or id) and its private key, which no log or repr may show.

    Attributes:
        where: The setting it came from, for errors about it.
        warning: What is unsafe about where it was found, "" where nothing.

    Raises:
        ConfigError: The name cannot be one, such as a private key put in its place.
    """

    name: str
    secret: str = field(repr=False)
    where: str = field(default="API key", compare=False)
    warning: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _check_name(self.name, self.where)


class KeySettings(Protocol):
    """What `find_key` needs of the settings."""

    @property
    def api_key(self) -> SecretStr | None:
        """COINBASE_API_KEY."""

    @property
    def api_secret(self) -> SecretStr | None:
        """COINBASE_API_SECRET."""

    @property
    def key_file(self) -> str | None:
        """COINBASE_KEY_FILE."""

    @property
    def allow_open_key_file(self) -> bool:
        """STREAMER_ALLOW_OPEN_KEY_FILE."""


# -- where a key is ---------------------------------------------------------------------------------------------


def find_key(settings: KeySettings) -> ApiKey | None:
    """Return the key that the settings give, None where they give none; set to nothing counts as not set.

    Raises:
        ConfigError: Half a key, a key given in two ways, or a key file that is not sound; nothing secret is shown.
    """
    name = _bare(settings.api_key.get_secret_value()) if settings.api_key else ""
    secret = settings.api_secret.get_secret_value() if settings.api_secret else ""
    path = (settings.key_file or "").strip()
    has_secret = bool(_bare(secret))
    if path and (name or has_secret):
        both = f"{NAME_SETTING} or {SECRET_SETTING} is set too; set either the file or these two, not both"
        raise ConfigError(SETTING, _shown(path), both)
    if path:
        if _shown(path) == _HIDDEN:
            rule = "is a key itself, where the path of a file is expected; put the key in a file and name that"
            raise ConfigError(SETTING, _HIDDEN, rule)
        return read_key_file(Path(path), allow_open=settings.allow_open_key_file)
    if bool(name) != has_secret:
        missing, given = (SECRET_SETTING, NAME_SETTING) if name else (NAME_SETTING, SECRET_SETTING)
        raise ConfigError(missing, "(not set)", f"{given} is set without it; set both, or neither for public data")
    if not name:
        return None
    _check_name(name, NAME_SETTING)
    return ApiKey(name, secret, SECRET_SETTING)


def read_key_file(path: Path, *, allow_open: bool = False) -> ApiKey:
    """Return the key in a JSON file with `name` (or `id`) and `privateKey`, readable by its owner alone.

    Args:
        allow_open: Take a file that others can read, and say so in the `warning` of the key.

    Raises:
        ConfigError: Naming the file and what to do; the content is never shown.
    """
    shown = _shown(str(path))
    content, info, why = _read(path)
    if info is None or why:
        raise ConfigError(SETTING, shown, why)
    open_to = _open_to(path, info)
    if open_to and not allow_open:
        raise ConfigError(SETTING, shown, open_to)
    fields = _json(content)
    if isinstance(fields, dict):
        name, secret = fields.get("name") or fields.get("id"), fields.get("privateKey")
        if isinstance(name, str) and isinstance(secret, str) and _bare(name) and _bare(secret):
            return ApiKey(_bare(name), secret, f"{SETTING} {path}", f"{path} {open_to}" if open_to else "")
    rule = "not a Coinbase key file: expected JSON with name (or id) and privateKey; download it again"
    raise ConfigError(SETTING, shown, rule)


def _read(path: Path) -> tuple[bytes, os.stat_result | None, str]:
    """Return content, facts and "", else what is wrong."""
    try:
        # Not to wait for a writer of a FIFO; and asked of the open file, what is checked is what is read.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                return b"", info, "is not a regular file; name the JSON file that Coinbase let you download"
            content = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        return b"", None, f"cannot be read: {exc.strerror or 'no reason given'}; check the path and who may read it"
    except ValueError:
        return b"", None, "is no path; name the JSON file that Coinbase let you download"
    if len(content) > _MAX_BYTES:
        return b"", info, f"is larger than {_MAX_BYTES} bytes, no key file is; check the path"
    return content, info, ""


def _open_to(path: Path, info: os.stat_result) -> str:
    """Return who else can read a file and the command that mends it, "" if nobody."""
    quoted = shlex.quote(str(path))
    # Root reads everything anyway, and owns the secrets that container platforms mount.
    if info.st_uid not in (os.geteuid(), 0):
        return f"belongs to someone else; run: chown {os.geteuid()} {quoted}"
    if info.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return f"can be read by others; run: chmod 600 {quoted}"
    return ""


def _json(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _bare(text: str) -> str:
    """Return a pasted text without the quotes and spaces around it."""
    return text.strip(" \t\r\n\v\f\u200b\ufeff\"'`")


def _shown(path: str) -> str:
    """Return a path for an error, or that it is hidden where it is a key put in the wrong place."""
    if os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a text as long as a key
        return path
    looks_secret = any(sign in path for sign in ("-----", "PRIVATE", "{", "\n"))
    return _HIDDEN if looks_secret or _ed25519_bytes(path) is not None else path


def _check_name(name: str, where: str) -> None:
    """Refuse what is no key name; it is shown in logs, so above all a secret."""
    if len(name) > _MAX_NAME_CHARS or not _NAME.fullmatch(name) or _ed25519_bytes(name) is not None:
        rule = "the key's name must be organizations/<id>/apiKeys/<id> or the id alone; copy it from the key file"
        raise ConfigError(where, _HIDDEN, rule)


# -- what a private key looks like ------------------------------------------------------------------------------


def parse_private_key(secret: str, where: str) -> PrivateKey:
    r"""Return the key in a text: ECDSA P-256 as PEM (SEC1 or PKCS8), Ed25519 as PEM or base64 of 32 or 64 bytes.

    Quotes around it, `\n` for newlines, Windows newlines, spaces for newlines and none at all are all understood.

    Args:
        where: The setting it came from, for the error.

    Raises:
        ConfigError: It is no such key. Says why and what to do; shows none of it, and no error stands behind it.
    """
    found = _parse(secret)
    if isinstance(found, str):
        raise ConfigError(where, _HIDDEN, found)
    return found


def _parse(secret: str) -> PrivateKey | str:
    """Return the key, or the rule that it breaks."""
    if len(secret) > _MAX_SECRET_CHARS:
        return f"the private key is longer than any key; {_NEW_KEY}"
    # Some JSON writers escape slashes too; base64 has no backslash of its own.
    text = _bare(_ESCAPED_NEWLINES.sub("\n", secret).replace("\\", ""))
    if "-----BEGIN" in text:
        return _parse_pem(text)
    raw = _ed25519_bytes(text)
    if raw is None:
        return (
            "the private key is neither PEM nor base64 of an Ed25519 key (32 or 64 bytes); "
            "paste all of it, for PEM from -----BEGIN to the end of the END line"
        )
    key = ed25519.Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])
    if len(raw) > _SEED_BYTES and raw[_SEED_BYTES:] != key.public_key().public_bytes_raw():
        return (
            "the private key is 64 bytes whose second half is not the public key of the first: "
            f"it is damaged, or the secret of a retired kind of key; copy it again, or {_NEW_KEY}"
        )
    return key


def _parse_pem(text: str) -> PrivateKey | str:
    labels = _PEM_START.findall(text)
    label = next((each for each in labels if each.endswith("PRIVATE KEY")), labels[0] if labels else "")
    body = next((match[2] for match in _PEM.finditer(text) if match[1] == label), None)
    # The headers of an encrypted key have hyphens, so that it is no match.
    if label.startswith("ENCRYPTED") or "4,ENCRYPTED" in text:
        return "the private key is encrypted; decrypt it with: openssl pkey -in ENCRYPTED.pem -out KEY.pem"
    if label.endswith("PUBLIC KEY"):
        return "it is a public key; give the private key of the same download"
    if label == "RSA PRIVATE KEY":
        return f"the private key is RSA, where ECDSA P-256 or Ed25519 is expected; {_NEW_KEY}"
    if label not in ("EC PRIVATE KEY", "PRIVATE KEY"):
        return f"the PEM is not of an ECDSA or Ed25519 private key; {_NEW_KEY}"
    key = _load_der(_SPACES.sub("", body)) if body is not None else None
    if key is None:
        return "the private key is damaged PEM; paste all of it, from -----BEGIN to the end of the END line"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if isinstance(key.curve, ec.SECP256R1):
            return key
        return f"the private key is on another curve than P-256; {_NEW_KEY}"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    kinds: dict[type, str] = {rsa.RSAPrivateKey: "RSA", dsa.DSAPrivateKey: "DSA", ed448.Ed448PrivateKey: "Ed448"}
    kind = next((name for each, name in kinds.items() if isinstance(key, each)), "of another kind")
    return f"the private key is {kind}, where ECDSA P-256 or Ed25519 is expected; {_NEW_KEY}"


def _load_der(text: str) -> object:
    """Return a key of any kind, None where it is damaged, anything else where its kind is unknown."""
    try:
        return load_der_private_key(base64.b64decode(text, validate=True), password=None)
    except UnsupportedAlgorithm:
        return UnsupportedAlgorithm
    except (ValueError, TypeError):
        return None


def _ed25519_bytes(text: str) -> bytes | None:
    """Return the 32 or 64 bytes of which a text is base64, also without the `=` that a double click leaves out."""
    bare = _SPACES.sub("", text).rstrip("=")
    try:
        raw = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        return None
    return raw if len(raw) in (_SEED_BYTES, 2 * _SEED_BYTES) else None


# -- tokens -----------------------------------------------------------------------------------------------------


class Signer:
    """Makes the tokens of one key. The key is parsed once; a token is for one message or request.

    Args:
        backdate_s: Dated so far back: the exchange refuses tokens from its future, and knows no leeway.

    Raises:
        ConfigError: The private key is none that Coinbase takes; see `parse_private_key`.
    """

    __slots__ = ("_algorithm", "_backdate_s", "_key", "name")

    def __init__(self, key: ApiKey, *, backdate_s: float = 2.0) -> None:
        self.name = key.name
        self._backdate_s = backdate_s
        self._key = parse_private_key(key.secret, key.where)
        self._algorithm = "ES256" if isinstance(self._key, ec.EllipticCurvePrivateKey) else "EdDSA"

    def __repr__(self) -> str:
        return f"Signer({self.name!r})"

    @property
    def algorithm(self) -> str:
        """ES256 or EdDSA."""
        return self._algorithm

    def ws_token(self, now_s: float) -> str:
        """Return the `jwt` of a WebSocket message.

        Args:
            now_s: Unix time by the exchange's clock.
        """
        return self._token(now_s, {})

    def rest_token(self, method: str, host: str, path: str, now_s: float) -> str:
        """Return the bearer token of one request.

        Args:
            host: Without a scheme, such as api.coinbase.com.
            path: From its slash; a query is left out, the exchange signs none.
            now_s: Unix time by the exchange's clock.
        """
        bare = path.partition("#")[0].partition("?")[0]
        return self._token(now_s, {"uri": f"{method.upper()} {host}{bare}"})

    def _token(self, now_s: float, more: dict[str, str]) -> str:
        not_before = int(now_s - self._backdate_s)
        claims = {"sub": self.name, "iss": "cdp", "nbf": not_before, "exp": not_before + TOKEN_LIFETIME_S, **more}
        headers = {"kid": self.name, "nonce": secrets.token_hex(32)}
        return jwt.encode(claims, self._key, algorithm=self._algorithm, headers=headers)
