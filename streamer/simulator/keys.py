"""API keys for the simulator: files like Coinbase's, and the exchange's check of the JWTs made with them."""

from __future__ import annotations

import base64
import binascii
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jwt
import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from streamer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

KeyKind = Literal["ES256", "EdDSA"]

_LIFETIME_S = 120  # the longest a token may live (protocol notes, 2.2)
_PEM = serialization.Encoding.PEM
_NO_PASSWORD = serialization.NoEncryption()


def make_key_file(
    path: Path | str, kind: KeyKind = "ES256", *, by_id: bool = False, seed_only: bool = False
) -> str:
    """Make a new key, write it in Coinbase's format readable by the owner only, and return its name.

    ES256 keys are SEC1 PEM, EdDSA keys base64 of 64 bytes (seed and public key).

    Args:
        path: Where to; must not exist.
        kind: The algorithm.
        by_id: Write the newer form: `id`, a bare uuid, in place of `name`.
        seed_only: Write 32 bytes of an EdDSA key, without its public half.

    Raises:
        ConfigError: The file exists (it might hold a real key) or cannot be written.
    """
    name = str(uuid.uuid4()) if by_id else f"organizations/{uuid.uuid4()}/apiKeys/{uuid.uuid4()}"
    if kind == "ES256":
        traditional = serialization.PrivateFormat.TraditionalOpenSSL
        secret = ec.generate_private_key(ec.SECP256R1()).private_bytes(_PEM, traditional, _NO_PASSWORD).decode()
    else:
        private = ed25519.Ed25519PrivateKey.generate()
        raw = private.private_bytes_raw() + (b"" if seed_only else private.public_key().public_bytes_raw())
        secret = base64.b64encode(raw).decode()
    labelled = {"id" if by_id else "name": name, "privateKey": secret}
    body = orjson.dumps(labelled, option=orjson.OPT_INDENT_2)
    try:
        # Created with its mode, so that it is at no moment readable by others.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        raise ConfigError("key file", str(path), f"cannot be created: {exc.strerror}") from exc
    with os.fdopen(fd, "wb") as file:
        file.write(body + b"\n")
    return name


def load_public_key(path: Path | str) -> tuple[str, str]:
    """Read a key file and return the key's name and its public key as PEM.

    Raises:
        ConfigError: The file cannot be read or is no Coinbase key file. Never shows what is in it.
    """
    where = str(path)
    try:
        content = orjson.loads(Path(path).read_bytes())
    except OSError as exc:
        raise ConfigError("key file", where, f"cannot be read: {exc.strerror}") from exc
    except orjson.JSONDecodeError:
        raise ConfigError("key file", where, "must be JSON") from None
    name = content.get("name") or content.get("id") if isinstance(content, dict) else None
    secret = content.get("privateKey") if isinstance(content, dict) else None
    if not isinstance(name, str) or not isinstance(secret, str):
        raise ConfigError("key file", where, "must hold name (or id) and privateKey")
    public = _private_key(where, secret).public_key()
    return name, public.public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _private_key(where: str, secret: str) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    try:
        if secret.lstrip().startswith("-----BEGIN"):
            key = serialization.load_pem_private_key(secret.replace("\\n", "\n").encode(), password=None)
        else:
            raw = base64.b64decode(secret, validate=True)
            key = ed25519.Ed25519PrivateKey.from_private_bytes(raw[:32])
    except (ValueError, TypeError, binascii.Error):
        # `from None`: the cause could quote the secret.
        raise ConfigError("key file", where, "privateKey must be PEM, or base64 of an Ed25519 key") from None
    if isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        return key
    raise ConfigError("key file", where, "privateKey must be an ECDSA P-256 or Ed25519 key")


def user_uuid(key_name: str) -> str:
    """Return the user id that acks of the `user` channel carry for this key."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"streamer-simulator/{key_name}"))


@dataclass(slots=True)
class ApiKey:
    """A key that may log in, and what it may do; all but the first three can change while the exchange runs.

    Attributes:
        name: Its name, `kid` of its tokens.
        public: Its public half.
        algorithm: ES256 or EdDSA.
        is_revoked: Whether its tokens are refused.
        expires_s: When they start to be, seconds since 1970; None for never.
        scopes: What it may do: `view`, `trade`, `transfer`.
    """

    name: str
    public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
    algorithm: str
    is_revoked: bool = False
    expires_s: float | None = None
    scopes: dict[str, bool] = field(default_factory=lambda: {"view": True, "trade": True, "transfer": False})

    def is_good(self, now_s: float) -> bool:
        """Whether its tokens are accepted at all."""
        return not self.is_revoked and (self.expires_s is None or now_s < self.expires_s)


class JwtChecker:
    """Decides whether a JWT is good, as strictly as the exchange.

    Args:
        keys: Key name to public key in PEM.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys: dict[str, ApiKey] = {}
        for name, pem in keys.items():
            key = serialization.load_pem_public_key(pem.encode())
            if isinstance(key, ec.EllipticCurvePublicKey):
                self._keys[name] = ApiKey(name, key, "ES256")
            elif isinstance(key, ed25519.Ed25519PublicKey):
                self._keys[name] = ApiKey(name, key, "EdDSA")
            else:
                raise ConfigError("public key", name, "must be ECDSA P-256 or Ed25519")

    def key(self, name: str | None) -> ApiKey:
        """Return a key by name, the only one for None.

        Raises:
            ConfigError: No such key, or None where there are several.
        """
        if name is None:
            if len(self._keys) != 1:
                raise ConfigError("key", None, f"must be named: there are {len(self._keys)} keys")
            return next(iter(self._keys.values()))
        if name not in self._keys:
            raise ConfigError("key", name, "is not a key of this exchange")
        return self._keys[name]

    def may(self, name: str, scope: str) -> bool:
        """Whether a key has a scope."""
        return self._keys[name].scopes[scope]

    def key_name(self, token: object, now_s: float, uri: str | None = None) -> str | None:
        """Return the name of the key that signed `token`, or None if the token is not good at `now_s`.

        Checked: the key itself, signature, kid = sub, iss, nbf (no leeway, as seen live: a client one second
        ahead is refused), exp, a lifetime of at most 120 s, and `uri`. Whether the real WebSocket hosts take a
        REST token is not known; here each kind is good for its own surface only.

        Args:
            token: What the client sent.
            now_s: The exchange's time, seconds since 1970.
            uri: What the token must be for, "GET host/path"; None for a WebSocket token, which has no such claim.
        """
        claims = self._claims(token)
        if claims is None:
            return None
        name: str = claims["sub"]
        not_before, expires = claims.get("nbf"), claims.get("exp")
        if type(not_before) is not int or type(expires) is not int:
            return None
        in_time = not_before <= now_s < expires and expires - not_before <= _LIFETIME_S
        fits = claims.get("iss") == "cdp" and claims.get("uri") == uri
        return name if in_time and fits and self._keys[name].is_good(now_s) else None

    def _claims(self, token: object) -> dict[str, Any] | None:
        if not isinstance(token, str):
            return None
        try:
            name = jwt.get_unverified_header(token).get("kid")
            if not isinstance(name, str) or name not in self._keys:
                return None
            key = self._keys[name]
            # Times are compared by the caller: PyJWT would use its own clock.
            options: jwt.types.Options = {
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": False,
            }
            claims: dict[str, Any] = jwt.decode(token, key.public, algorithms=[key.algorithm], options=options)
        except jwt.PyJWTError:
            return None
        return claims if claims.get("sub") == name else None
