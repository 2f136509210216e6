"""What a token costs, by kind of key: `python scripts/bench/tokens.py`."""

from __future__ import annotations

import platform
import statistics
import time
from importlib.metadata import version

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from streamer.coinbase.auth import ApiKey, Signer

NAME = "organizations/0b6f2d1c-5e7a-4c39-8d12-6f4a9b0c3e21/apiKeys/e4d7c1a0-93b2-4f58-a6c1-7b20d95f3e84"
N = 2000


def main() -> None:
    """Print microseconds a token, p50 and p99, of a WebSocket and a REST token."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("PyJWT", "cryptography"))
    print(f"Python {platform.python_version()}, {libraries}, n = {N}")
    for key in (ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()):
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        signer = Signer(ApiKey(NAME, pem.decode()))
        calls = {
            "ws": lambda signer=signer: signer.ws_token(time.time()),
            "rest": lambda signer=signer: signer.rest_token(
                "GET", "api.coinbase.com", "/api/v3/brokerage/accounts", time.time()
            ),
        }
        for name, call in calls.items():
            took_us = []
            for _ in range(N):
                started = time.perf_counter_ns()
                call()
                took_us.append((time.perf_counter_ns() - started) / 1000)
            cuts = statistics.quantiles(took_us, n=100)
            print(f"{signer.algorithm} {name:<5} p50 {cuts[49]:6.1f} µs   p99 {cuts[98]:6.1f} µs")


if __name__ == "__main__":
    main()
