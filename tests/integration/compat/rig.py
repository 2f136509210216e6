"""An exchange over TLS that answers as told and keeps books, and clients of it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import requests
from coinbase.rest import RESTClient as SdkClient

from streamer.compat import RESTClient
from streamer.simulator.tls import make_server_tls

PREFIX = "/api/v3/brokerage"
DATA = Path(__file__).parents[2] / "data"
ORDER_ID = "0000-00000-000001"
_ORDERS: dict[str, Any] = {
    f"POST {PREFIX}/orders": {
        "success": True,
        "success_response": {"order_id": ORDER_ID, "product_id": "BTC-USD", "side": "BUY", "client_order_id": "1"},
        "order_configuration": {"market_market_ioc": {"quote_size": "10"}},
    },
    f"POST {PREFIX}/orders/batch_cancel": {
        "results": [{"success": True, "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON", "order_id": ORDER_ID}]
    },
    f"GET {PREFIX}/orders/historical/{ORDER_ID}": {"order": {"order_id": ORDER_ID, "status": "FILLED"}},
}


def sample(name: str) -> Any:
    """A sample of the wire."""
    return json.loads((DATA / f"rest_{name}.json").read_bytes())


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    body: Any


@dataclass
class Reply:
    """An answer to give."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Exchange:
    """An HTTPS server; orders are taken and have no effect, so that two runs see the same.

    Args:
        upstream: Where what is not told here is asked for, such as the simulator; None for 404.

    Attributes:
        replies: What to answer, by method and path; JSON, or a whole reply.
        asked: Every request.
    """

    def __init__(self, folder: Path, upstream: str | None = None, ca: Path | None = None) -> None:
        tls = make_server_tls(folder)
        self.ca, self.replies, self.asked = tls.ca_path, dict[str, Any](_ORDERS), list[Asked]()
        self._upstream, self._upstream_ca = upstream, ca
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.socket = _Lazily(tls.context).wrap(self._server.socket)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"https://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply(self, path: str, body: Any, *, method: str = "GET") -> None:
        """Answer so from now on."""
        self.replies[f"{method} {PREFIX}{path}"] = body

    def paths(self, start: str = "") -> list[str]:
        """The paths that have been asked for, below the prefix."""
        below = [one.path.removeprefix(PREFIX) for one in list(self.asked)]
        return [path for path in below if path.startswith(start)]

    def client(self, kind: Callable[..., Any] = RESTClient, **how: Any) -> Any:
        """Return a client, of ours or the SDK's; it reads nothing of the tester's environment."""
        made = kind(base_url=self.host, **{"timeout": 10} | how)
        made.session.verify, made.session.trust_env = str(self.ca), False
        return made

    def sdk(self, **how: Any) -> Any:
        """Return the SDK's own."""
        return self.client(SdkClient, **how)

    def answer(self, asked: Asked, headers: dict[str, str], target: str) -> Reply:
        """Answer one request."""
        self.asked.append(asked)
        told = self.replies.get(f"{asked.method} {asked.path}")
        if isinstance(told, Reply):
            return told
        if told is not None:
            return Reply(200, json.dumps(told).encode(), {"content-type": "application/json"})
        if self._upstream is None or asked.method != "GET":
            return Reply(404, b'{"error":"NOT_FOUND"}', {"content-type": "application/json"})
        found = requests.get(self._upstream + target, headers=headers, verify=str(self._upstream_ca), timeout=10)
        kept = ("content-type", "retry-after", "date", "server")
        return Reply(
            found.status_code, found.content, {n: v for n, v in found.headers.items() if n.lower() in kept}
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # head and body in one piece, so that nobody waits for an acknowledgement

            def do_GET(self) -> None:
                """Answer."""
                size = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                parts = urlsplit(self.path)
                asked = Asked(self.command, parts.path, tuple(parse_qsl(parts.query)), body)
                reply = exchange.answer(asked, _forwarded(self.headers), self.path)
                self.send_response_only(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        return Handler


def _forwarded(headers: Any) -> dict[str, str]:
    return {name: headers[name] for name in ("Host", "Authorization") if headers[name]}


class _Server(ThreadingHTTPServer):
    def handle_error(self, *args: Any) -> None:
        """Say nothing of clients that do not trust us, or are gone."""


class _Lazily:
    """Shakes hands when a connection is first read, in its own thread: a silent client holds up no other."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap(self, sock: Any) -> ssl.SSLSocket:
        """Return a listening socket that speaks TLS."""
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)


class Recorder:
    """Takes the place of a session, and notes what would have been sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.adapters: dict[str, Any] = {}

    def request(self, method: str, url: str, **how: Any) -> requests.Response:
        """Note it."""
        headers = how.pop("headers")
        assert headers["Authorization"].startswith("Bearer ")
        self.sent.append((method, url, sorted(headers), how))
        response = requests.Response()
        response.status_code, response._content = 200, b"{}"
        return response
