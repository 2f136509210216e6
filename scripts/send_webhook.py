"""Signs an event by Standard Webhooks and posts it, as a relay of your own would. Needs nothing but Python.

The secret, whsec_ and base64, is read from WEBHOOK_SECRET, where no other user of the machine can see it.

    export WEBHOOK_SECRET=whsec_...
    python scripts/send_webhook.py http://127.0.0.1:8700/webhooks/binance --symbol BTC-USD --price 91320.01
    python scripts/send_webhook.py http://127.0.0.1:8700/webhooks/binance --type note --data '{"text": "hello"}'

Where the service is busy or cannot store, the event is sent again under the same id, signed anew: it is taken once.
Exit status: 0 where the service has it, 1 otherwise, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
from datetime import UTC, datetime
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

AGAIN = (408, 429, 500, 502, 503, 504)
"""Answers after which trying again makes sense."""


def signed(secret: str, id_: str, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery that is sent now."""
    at_s = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    digest = hmac.digest(key, f"{id_}.{at_s}.".encode() + body, hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "webhook-id": id_,
        "webhook-timestamp": at_s,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def post(url: str, secret: str, id_: str, body: bytes, tries: int) -> tuple[int, str]:
    """Send until it is taken or refused, so often at most; return the last status and answer; 0 is no answer."""
    status, told = 0, ""
    for left in reversed(range(tries)):
        wait_s = 2.0
        try:
            with urlopen(Request(url, body, signed(secret, id_, body)), timeout=15) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except HTTPError as exc:
            status, told = exc.code, exc.read().decode(errors="replace")
            asked = exc.headers.get("Retry-After", "")
            wait_s = float(asked) if asked.isdigit() else wait_s
            if status not in AGAIN:
                break
        except (URLError, OSError) as exc:
            status, told = 0, f"{url} does not answer: {exc}"
        if left:
            time.sleep(min(wait_s, 60.0))
    return status, told


def event(options: argparse.Namespace) -> dict[str, object]:
    """Return the event that the arguments ask for."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if options.price is None:
        return {"type": options.type, "timestamp": now, "data": json.loads(options.data)}
    data = {
        "symbol": options.symbol,
        "price": options.price,
        "as_of": options.as_of or now,
        "source": options.source,
    }
    return {"type": "price.updated", "timestamp": now, "data": data}


def main() -> int:
    """Send one event."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="such as http://127.0.0.1:8700/webhooks/binance")
    parser.add_argument("--symbol", default="BTC-USD", help="of the price (BTC-USD)")
    parser.add_argument("--price", help="a price; the event is then price.updated")
    parser.add_argument("--as-of", help="when it was the price, as 2026-11-20T15:00:04.880Z (now)")
    parser.add_argument("--source", default="relay", help="where it is from (relay)")
    parser.add_argument("--type", default="note", help="kind of another event (note)")
    parser.add_argument("--data", default="{}", help="what it says, a JSON object ({})")
    parser.add_argument("--id", help="of an event that is sent again (a new one)")
    parser.add_argument("--tries", type=int, default=5, help="so often at most (5)")
    options = parser.parse_args()
    secret = os.environ.get("WEBHOOK_SECRET", "")
    if not secret.startswith("whsec_"):
        parser.error("WEBHOOK_SECRET must hold the secret: whsec_ and base64")
    try:
        body = json.dumps(event(options)).encode()
        signed(secret, "", body)
    except json.JSONDecodeError as exc:
        parser.error(f"--data is no JSON: {exc}")
    except ValueError:
        parser.error("WEBHOOK_SECRET is no base64 behind whsec_")
    id_ = options.id or f"msg_{secrets.token_hex(12)}"
    status, told = post(options.url, secret, id_, body, max(1, options.tries))
    print(f"{id_}: {status or 'no answer'} {told}")
    return 0 if 200 <= status < 300 else 1


if __name__ == "__main__":
    sys.exit(main())
