"""A captured market, to be replayed: what was recorded is passed on verbatim, in its own time.

Only loading touches the disk; the rest is pure, and time comes in as an argument.
Capture lines are `{"at_s": seconds since the first line, "frame": one WebSocket frame}`.
"""

from __future__ import annotations

import bisect
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from streamer.errors import ConfigError
from streamer.simulator.market import Deal, increment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamer.simulator.market import Ticker

_PRICE = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The ticker events of one recorded frame.

    Attributes:
        at_s: Seconds since the first line of the capture.
        timestamp: The envelope's time, as recorded.
        tickers: Product id and ticker, in the order of the frame.
    """

    at_s: float
    timestamp: str
    tickers: tuple[tuple[str, Ticker], ...]


class Recording:
    """A market that replays a capture.

    Args:
        lines: The recorded ticker frames, oldest first; `load` reads them from a file.
        speed: How many recorded seconds pass in one second; positive.
    """

    def __init__(self, lines: Iterable[Recorded], *, speed: float = 1.0) -> None:
        if not (speed > 0 and math.isfinite(speed)):
            raise ConfigError("speed", speed, "must be a positive number")
        self.speed = speed
        self.lines = tuple(lines)
        self._times = [line.at_s for line in self.lines]
        self._passed = 0
        self._latest: dict[str, tuple[bytes, bytes]] = {}
        self._products = list(dict.fromkeys(p for line in self.lines for p, _ in line.tickers))

    @classmethod
    def load(cls, path: Path | str, *, speed: float = 1.0) -> Recording:
        """Read a capture file.

        Raises:
            ConfigError: No such file, nothing in it, or a line that breaks the format (names file and line).
        """
        return cls(load_lines(Path(path)), speed=speed)

    @property
    def products(self) -> Sequence[str]:
        """Every product of the capture, in the order of first appearance."""
        return self._products

    @property
    def duration_s(self) -> float:
        """Time of the last line, in recorded seconds."""
        return self._times[-1] if self._times else 0.0

    @property
    def has_ended(self) -> bool:
        """Whether every line has passed."""
        return self._passed >= len(self.lines)

    def due_in_s(self, elapsed_s: float) -> float | None:
        """Return how many real seconds remain until the next line, None at the end.

        Args:
            elapsed_s: Real seconds since the clock of the recording started.
        """
        if self.has_ended:
            return None
        return max(0.0, self._times[self._passed] / self.speed - elapsed_s)

    def advance(self, elapsed_s: float) -> Sequence[Recorded]:
        """Let all lines pass that are due after `elapsed_s` real seconds and return them, oldest first."""
        # The quotient is compared, as in `due_in_s`: a product could round to just before the line.
        until = bisect.bisect_right(self._times, elapsed_s, lo=self._passed, key=lambda at_s: at_s / self.speed)
        passed = self.lines[self._passed : until]
        self._passed = until
        for line in passed:
            stamp = line.timestamp.encode()
            for product_id, ticker in line.tickers:
                self._latest[product_id] = (orjson.dumps(ticker), stamp)
        return passed

    def latest(self, product_id: str) -> Ticker | None:
        """Return the newest ticker that has passed, or None."""
        body = self.latest_json(product_id)
        if body is None:
            return None
        ticker: Ticker = orjson.loads(body)
        return ticker

    def latest_json(self, product_id: str) -> bytes | None:
        """Return the newest ticker that has passed as a JSON object, or None."""
        found = self._latest.get(product_id)
        return found[0] if found else None

    def timestamp(self, product_id: str) -> bytes | None:
        """Return the recorded envelope time of the newest ticker that has passed."""
        found = self._latest.get(product_id)
        return found[1] if found else None

    def last_deal(self, product_id: str) -> Deal | None:
        """Return the trade behind the newest ticker; its size is made up, as a ticker does not say it."""
        ticker = self.latest(product_id)
        return deal_of(ticker) if ticker is not None else None

    def opening(self, product_id: str) -> str | None:
        """Return None: a capture has no past but its own."""
        return None

    def increment(self, product_id: str) -> str:
        """Return the step of the newest price as it is written, at least a hundredth."""
        price = (self.latest(product_id) or {}).get("price", "")
        return increment(max(2, len(price.partition(".")[2])))


def deal_of(ticker: Ticker) -> Deal | None:
    """Return the trade behind a recorded ticker, None if it has no price; what it does not say is made up."""
    price, size = ticker.get("price", ""), ticker.get("best_ask_quantity", "")
    if _PRICE.fullmatch(price) is None:
        return None
    side = "SELL" if price == ticker.get("best_ask") else "BUY"
    return Deal(price, size if _PRICE.fullmatch(size) and size.strip("0.") else "0.01", side)


def load_lines(path: Path) -> list[Recorded]:
    """Read the ticker frames of a capture, strictly.

    Frames of other channels (acks, heartbeats) are left out: the exchange makes its own.

    Raises:
        ConfigError: No such file, nothing in it, or a line that breaks the format (names file and line).
    """
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise ConfigError("recording", str(path), f"cannot be read: {exc.strerror}") from exc
    found: list[Recorded] = []
    last_at_s = 0.0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        at_s, frame = _outer(where, line)
        if at_s < last_at_s:
            raise ConfigError(where, at_s, "at_s must not go back")
        last_at_s = at_s
        recorded = _ticker_frame(where, at_s, frame)
        if recorded is not None:
            found.append(recorded)
    if not found:
        raise ConfigError("recording", str(path), "holds no ticker frame")
    return found


def _outer(where: str, line: bytes) -> tuple[float, dict[str, Any]]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise ConfigError(where, _shown(line), f"must be JSON ({exc})") from exc
    if not isinstance(row, dict):
        raise ConfigError(where, _shown(line), "must be an object with at_s and frame")
    at_s, frame = row.get("at_s"), row.get("frame")
    # bool is an int to Python, not to us.
    if isinstance(at_s, bool) or not isinstance(at_s, int | float) or not 0 <= at_s < math.inf:
        raise ConfigError(where, at_s, "at_s must be a number of seconds, 0 or more")
    if not isinstance(frame, dict):
        raise ConfigError(where, _shown(line), "frame must be an object")
    return float(at_s), frame


def _ticker_frame(where: str, at_s: float, frame: dict[str, Any]) -> Recorded | None:
    if frame.get("type") == "error" or frame.get("channel") not in (None, "ticker"):
        return None
    if frame.get("channel") is None:
        raise ConfigError(where, sorted(frame), "frame must have a channel")
    timestamp, events = frame.get("timestamp"), frame.get("events")
    if not isinstance(timestamp, str) or not timestamp or not timestamp.isascii():
        raise ConfigError(where, timestamp, "frame.timestamp must be text")
    if not isinstance(events, list) or not events:
        raise ConfigError(where, _shown(events), "frame.events must be a list with at least one event")
    tickers: list[tuple[str, Ticker]] = []
    for event in events:
        listed = event.get("tickers") if isinstance(event, dict) else None
        if not isinstance(listed, list):
            raise ConfigError(where, _shown(event), "an event must have a list of tickers")
        tickers += [_ticker(where, ticker) for ticker in listed]
    # The exchange sometimes sends a snapshot with every field empty; it belongs to no product.
    return Recorded(at_s, timestamp, tuple(t for t in tickers if t[0]))


def _ticker(where: str, ticker: object) -> tuple[str, Ticker]:
    if not isinstance(ticker, dict) or not isinstance(ticker.get("product_id"), str):
        raise ConfigError(where, _shown(ticker), "a ticker must be an object with a product_id")
    for name, value in ticker.items():
        if not isinstance(value, str):
            raise ConfigError(where, value, f"{name} of {ticker['product_id']} must be text, as on the wire")
    return ticker["product_id"], ticker


def _shown(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
