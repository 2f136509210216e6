"""Sends alerts on: each is posted to the URL of the settings as a Standard Webhook, so that anyone can check it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
import uuid
from datetime import UTC, datetime
from typing import Final

import aiohttp
import orjson
import structlog

from streamer.data.settings import DataSettings
from streamer.quality.alerts import Alert
from streamer.webhooks import standard

log = structlog.get_logger(__name__)

_PAUSES_S: Final = (0.0, 2.0, 10.0)
_TIMEOUT_S: Final = 5.0
_MOST_WAITING: Final = 100
_GOODBYE_S: Final = 2.0


class Alarm:
    """Posts alerts in the background, three times at most.

    Attributes:
        sent: Alerts that were taken.
        dropped: Those that were not, or for which too many were waiting.
    """

    def __init__(self, settings: DataSettings) -> None:
        self._url = settings.alert_url.get_secret_value() if settings.alert_url is not None else None
        secret = settings.alert_secret
        self._key = standard.key(secret.get_secret_value()) if secret is not None else b""
        self._tasks: set[asyncio.Task[None]] = set()
        self.sent = self.dropped = 0

    def tell(self, alert: Alert) -> None:
        """Send an alert on, where somebody is to get it."""
        if self._url is None:
            return
        if len(self._tasks) >= _MOST_WAITING:
            self.dropped += 1
            return
        task = asyncio.create_task(self._post(self._url, alert), name="alert")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Let what is under way come to its end for a moment, and count as dropped what does not."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=_GOODBYE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        self.dropped += len(late)
        if late:
            log.warning("alert.not_sent", why="the process is ending", alerts=len(late))

    async def _post(self, url: str, alert: Alert) -> None:
        name, body = f"msg_{uuid.uuid4().hex}", body_of(alert)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session:
            for pause_s in _PAUSES_S:
                await asyncio.sleep(pause_s)
                try:
                    headers = signed(self._key, name, int(time.time()), body)
                    async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                        if response.status < 300:
                            self.sent += 1
                            return
                        why = f"HTTP {response.status}"
                except (aiohttp.ClientError, TimeoutError) as exc:
                    why = type(exc).__name__  # its text may name the URL, which may hold a token
        self.dropped += 1
        log.warning("alert.not_sent", why=why, code=alert.code.value)


def body_of(alert: Alert) -> bytes:
    """Return an alert as it is posted."""
    at = datetime.fromtimestamp(alert.since_s, UTC).isoformat()
    facts = {"provider": alert.provider, "symbol": alert.symbol, "code": alert.code.value, "what": alert.what}
    return orjson.dumps({"type": "data.alert", "timestamp": at, "data": facts})


def signed(key: bytes, name: str, now_s: int, body: bytes) -> dict[str, str]:
    """Return the headers of a Standard Webhook (1.0.0, "v1")."""
    mac = hmac.new(key, f"{name}.{now_s}.".encode() + body, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(now_s),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }
