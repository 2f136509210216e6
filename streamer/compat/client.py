"""The SDK's client with one method of its own: what stands between a request that is ready and the wire."""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import requests
from coinbase.constants import RATE_LIMIT_HEADERS
from coinbase.rest import RESTClient as SdkClient

from streamer.compat.answers import Json, Served
from streamer.compat.census import DIRECT, PASSED, SERVED
from streamer.compat.desk import Asker, Desk, desk_at
from streamer.compat.passage import LONGEST_WAIT_S, NotSent
from streamer.compat.questions import Question, budget_of, kind_of, priority_of, question_of, route_of
from streamer.errors import ConfigError
from streamer.gateway.caller import scope_of
from streamer.model import Priority
from streamer.providers.base import Call
from streamer.settings import load
from streamer.settings import redis_url as find_redis

_LONGEST_NAME = 64
_BACKGROUND_TIMEOUT_S = 10


class RESTClient(SdkClient):  # type: ignore[misc]
    """Takes the place of `coinbase.rest.RESTClient`: the same arguments, methods, answers and errors.

    Prices, candles and balances come from the stream where it has them; such an answer has one key more,
    `streamer`, which says how it came here and how old it is. Everything else goes to the exchange, once, in its
    turn among the requests of all processes. May be shared by threads and made before a fork.

    Args:
        args: As the SDK takes them.
        caller: Who this is, to flags and statistics, such as "bot-7"; None means the name of the program.
        priority: How urgent reads are; what changes something is always most urgent.
        redis_url: Where Redis is; None means REDIS_URL, or the embedded Redis of a running start-stream.
        max_age_s: Oldest acceptable age of what is served; None means the reader's own rules. The exchange is
            asked instead of serving what is older.
        kwargs: As the SDK takes them.

    Raises:
        ConfigError: There is no Redis, though requests are to be coordinated, or a setting breaks a rule.
    """

    def __init__(
        self,
        *args: Any,
        caller: str | None = None,
        priority: Priority = Priority.BOT_EVALUATION,
        redis_url: str | None = None,
        max_age_s: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        name = program_name(sys.argv) if caller is None else caller
        if not 0 < len(name) <= _LONGEST_NAME:
            raise ConfigError("caller", name, f"expected 1 to {_LONGEST_NAME} characters")
        if priority not in tuple(Priority):
            raise ConfigError("priority", priority, "expected one of Priority")
        if max_age_s is not None and not max_age_s >= 0:
            raise ConfigError("max_age_s", max_age_s, "expected seconds, 0 or more")
        self._rest_url = f"https://{self.base_url}"
        key = self.api_key if self.is_authenticated else ""
        self._asker = Asker(name, key, scope_of(self._rest_url), Priority(priority), max_age_s)
        self._redis_url: str | None = None
        try:
            self._redis_url = find_redis(redis_url)
        except ConfigError:
            if load().flags.use:
                raise
        self._pid = os.getpid()

    def prepare_and_send_request(
        self,
        http_method: str,
        url_path: str,
        params: Json | None = None,
        data: Json | None = None,
        public: bool = False,
    ) -> Any:
        """Answer a request, or have the SDK send it. Tokens are made when it is sent, not before it waits."""
        self._leave_parent()

        def send() -> Any:
            return super(RESTClient, self).prepare_and_send_request(http_method, url_path, params, data, public)

        if self._redis_url is None or not (self.is_authenticated or public):
            return send()
        desk, kind = desk_at(self._redis_url), kind_of(http_method, url_path)
        flags = desk.outlook.flags()
        if not flags.covers(self._asker.name):
            desk.census.count(self._asker.name, DIRECT, kind)
            return send()
        question = question_of(http_method, url_path, params)
        found = None if question is None else desk.serve(question, self._asker)
        if question is not None and found is not None and not found.is_last_resort:
            if flags.is_partial and desk.comparison.is_drawn(kind):  # where all have moved, nobody wonders
                self._compare(desk, question, url_path, params, public)
            return self._handed_out(desk, kind, found)
        try:
            body = self._passed(desk, http_method, url_path, send)
        except requests.RequestException as exc:
            if found is None or not is_silence(exc):
                raise
            return self._handed_out(desk, kind, found)
        if question is not None and isinstance(body, dict):
            desk.keep(question, self._asker, {k: v for k, v in body.items() if k not in RATE_LIMIT_HEADERS})
        return body

    def _passed(self, desk: Desk, method: str, path: str, send: Callable[[], Any]) -> Any:
        """Have the exchange answer, in its turn."""
        asker = self._asker
        desk.census.count(asker.name, PASSED, kind_of(method, path))
        # Not the SDK's `timeout`, which is for each step of one request and says nothing of its turn.
        deadline = time.monotonic() + LONGEST_WAIT_S
        call = Call(priority_of(method, path, asker.priority), deadline, asker.name)
        is_change = method != "GET"
        route = route_of(method, path)
        return desk.passage.send(self._rest_url, budget_of(path), call, route, send, is_change=is_change)

    def _handed_out(self, desk: Desk, kind: str, found: Served) -> Json:
        """Return an answer of ours; as where the exchange sends none of the headers that were asked for."""
        desk.census.count(self._asker.name, SERVED, kind)
        return found.body | (dict.fromkeys(RATE_LIMIT_HEADERS) if self.rate_limit_headers else {})

    def _compare(self, desk: Desk, question: Question, path: str, params: Json | None, public: bool) -> None:
        other = copy.copy(self)
        other.timeout = self.timeout or _BACKGROUND_TIMEOUT_S
        desk.comparison.begin(
            kind_of("GET", path),
            self._rest_url,
            budget_of(path),
            lambda: super(RESTClient, other).prepare_and_send_request("GET", path, params, None, public),
            lambda: desk.serve(question, self._asker),
        )

    def _leave_parent(self) -> None:
        """After a fork, give up the connections of the parent: two processes cannot speak through one."""
        if self._pid != os.getpid():
            for adapter in self.session.adapters.values():
                adapter.close()
            self._pid = os.getpid()


def is_silence(failure: requests.RequestException) -> bool:
    """Whether an error is the exchange's having no answer, or no time, rather than its saying no."""
    if failure.response is None:
        return isinstance(failure, NotSent | requests.ConnectionError | requests.Timeout)
    return failure.response.status_code == 429 or failure.response.status_code >= 500


def program_name(arguments: Sequence[str]) -> str:
    """Return what a program is called, from its command line; a package run with -m by its folder's name."""
    path = Path(arguments[0]) if arguments else Path()
    name = path.parent.name if path.stem == "__main__" else path.stem
    return (name.strip("-") if name != "-c" else "")[:_LONGEST_NAME] or "python"
