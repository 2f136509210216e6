"""One look at the stream, for processes that have Redis at hand anyway; `probe.py` is for those that have not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streamer.errors import StoreUnavailable
from streamer.health.verdict import Reason, Verdict, judge, summary
from streamer.store.connect import Store, explain
from streamer.store.keys import Keys
from streamer.store.records import parse_json

_UNREADABLE = "what is in stream:status is no report of an ingester (another version, or another writer?)"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen.

    Attributes:
        status: The ingester's last report; None where there is none that can be read.
        summary: The verdict on one line.
        now_ms: Clock of Redis.
    """

    verdict: Verdict
    status: dict[str, Any] | None
    summary: str
    now_ms: int


async def look(store: Store, keys: Keys) -> Look:
    """Return the verdict on the ingester's last report, and that report.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    pipeline = store.client.pipeline(transaction=False)
    pipeline.time()
    pipeline.get(keys.status)
    clock, raw = await store.answer(pipeline.execute(raise_on_error=False))
    if isinstance(clock, Exception):
        raise StoreUnavailable(store.shown_url, explain(clock)) from clock
    now_ms = clock[0] * 1000 + clock[1] // 1000
    status = parse_json(raw, dict[str, Any]) if isinstance(raw, bytes) else None
    try:
        if raw is not None and status is None:
            raise ValueError("not a JSON object")
        verdict = judge(status, now_ms)
        return Look(verdict, status, summary(status, verdict, now_ms), now_ms)
    except (KeyError, TypeError, ValueError, AttributeError):  # somebody else has written there
        reason = Reason("unreadable", _UNREADABLE, "see who else writes to this Redis")
        return Look(Verdict("down", [reason]), None, f"down: {_UNREADABLE}", now_ms)
