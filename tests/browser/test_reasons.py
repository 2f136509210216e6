"""Each reason for ill health, brought about for real, and seen wherever somebody may look.

That is the command, its endpoint, the page, the metrics and, of what lasts and is no one's choice, the journal; and
when it is mended, everywhere no longer. Ingester and API are processes of their own, so that the API can tell of an
ingester that is frozen or dead. The worlds stand side by side: each mostly waits.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from streamer.health.troubles import NO_TROUBLE
from streamer.simulator.keys import make_key_file
from streamer.web.system import _UNKEPT as UNKEPT
from tests.browser.support import PRODUCTS, Dashboard, complaints_of, visitor, worlds
from tests.support import BIN, Process, RedisServer, Simulator, Stream, free_port, hold, run, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Response

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

START_S: Final = 60.0
SEEN_S: Final = 30.0
HEALED_S: Final = 100.0
"""REST is asked again at least once a minute, and a clock is judged by its last minute."""
EXIT_CODES: Final = {"healthy": 0, "degraded": 1, "down": 2}


class World:
    """An exchange, a Redis, an ingester between them, an API beside it, and a person before the page."""

    def __init__(
        self, folder: Path, redis: RedisServer, simulator: Simulator, stream: Stream, service: Dashboard, page: Page
    ) -> None:
        self.folder, self.redis, self.simulator, self.stream = folder, redis, simulator, stream
        self.service, self.page = service, page
        self._complaints = complaints_of(page)
        self._failed: list[str] = []
        page.on("response", self._note)

    def _note(self, response: Response) -> None:
        if response.headers.get("content-type") == "application/problem+json":
            self._failed.append(response.url)

    @property
    def complaints(self) -> list[str]:
        """What the browser complains of, but for what the server could not answer: that is an error of its own."""
        return [one for one in self._complaints if not any(url in one for url in self._failed)]

    def command(self) -> tuple[int, dict[str, Any]]:
        """What `stream-status --json` says, and its exit status."""
        done = run("stream-status", "--json", "--redis-url", self.redis.url, folder=self.folder)
        return done.returncode, json.loads(done.stdout)

    def answer(self, path: str) -> tuple[int, str, str]:
        """What the API answers: status, media type and body."""
        try:
            with urlopen(f"{self.service.url}{path}", timeout=10) as answer:
                return answer.status, answer.headers.get_content_type(), answer.read().decode()
        except HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.headers.get_content_type(), refusal.read().decode()

    def endpoint(self) -> tuple[int, dict[str, Any]]:
        """What the endpoint says, and its status."""
        status, _, body = self.answer("api/v1/ws/stream-status")
        return status, json.loads(body)

    def metric(self, series: str) -> float | None:
        """The value of a series, None where there is none."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.answer("metrics")[2], re.MULTILINE)
        return None if found is None else float(found[1])

    def journal(self, *, resolved: bool) -> set[str]:
        """The codes of what has gone wrong and is over, or is not."""
        errors = json.loads(self.answer(f"api/v1/system/errors?resolved={resolved}")[2]).get("errors", ())
        return {one["code"] for one in errors}

    def reasons_on_page(self) -> str:
        """The reasons as a person reads them."""
        return _text(self.page.locator("#state-reasons"))

    def level_on_page(self) -> str:
        """The one big word."""
        return _text(self.page.locator("#state-word")).lower()

    def errors_on_page(self, code: str, *, resolved: bool) -> int:
        """How many errors of a code the page shows as open or as over."""
        shown = "true" if resolved else "false"
        return self.page.locator(f'#error-rows [data-code="{code}"][data-resolved="{shown}"]').count()

    def is_healthy(self) -> bool:
        """Whether the endpoint says so."""
        return bool(self.endpoint()[1].get("level") == "healthy")

    def shows(self, code: str, *, level: str, words: str) -> None:
        """A reason is told by its code, and on the page in words, wherever somebody may look."""

        def command() -> None:
            exit_code, said = self.command()
            assert code in said.get("codes", ()), said
            assert (exit_code, said["level"]) == (EXIT_CODES[level], level)

        def endpoint() -> None:
            status, said = self.endpoint()
            assert code in said.get("codes", ()), said
            assert (status, said["level"]) == (503 if level == "down" else 200, level)

        def page() -> None:
            assert words in self.reasons_on_page(), self.reasons_on_page()
            assert self.level_on_page() == level

        def metrics() -> None:
            assert self.metric(f'streamer_health_reason{{code="{code}"}}') == 1

        def journal() -> None:
            assert code in self.journal(resolved=False)
            assert self.errors_on_page(code, resolved=False)

        looks = [endpoint, command, page, metrics, *([] if code in NO_TROUBLE else [journal])]
        for look in looks:
            self._sees(look, SEEN_S, f"{code}: {look.__name__}")

    def heals(self, code: str) -> None:
        """It is over, and told to be: by everybody who told of it."""
        self._sees(self.is_healthy, HEALED_S, f"{code} is not over")

        def page() -> None:
            assert self.level_on_page() == "healthy"
            assert not self.reasons_on_page()

        def metrics() -> None:
            assert self.metric(f'streamer_health_reason{{code="{code}"}}') in (None, 0)

        def journal() -> None:
            assert code not in self.journal(resolved=False)
            assert not self.errors_on_page(code, resolved=False)
            if code not in UNKEPT:
                assert code in self.journal(resolved=True)
                assert self.errors_on_page(code, resolved=True)

        for look in (page, metrics, *([] if code in NO_TROUBLE else [journal])):
            self._sees(look, SEEN_S, f"{code}, healed: {look.__name__}")
        assert self.command()[0] == 0

    def _sees(self, look: Callable[[], object], within_s: float, what: str) -> None:
        def seen() -> bool:
            self.page.wait_for_timeout(200)  # the page's events come in only while Playwright is waited for
            return look() is not False

        began = time.monotonic()
        try:
            wait_until(seen, within_s)
        except AssertionError as exc:
            exc.add_note(f"{what}: not seen within {time.monotonic() - began:.0f} s; {self.endpoint()}")
            raise


def _text(node: Locator) -> str:
    return str(node.evaluate("node => node.hidden ? '' : node.innerText")).strip()


@contextmanager
def world(folder: Path, *flags: str, env: Mapping[str, str] | None = None, key: bool = False) -> Iterator[World]:
    """Run all of it; yield when all is well, and on the page too."""
    own, more = folder / "key.json", dict(env or {})
    if key:
        make_key_file(own)
        flags, more["COINBASE_KEY_FILE"] = (*flags, "--key-file", str(own)), str(own)
    port = free_port()
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder))
        simulator = stack.enter_context(Simulator(folder, *flags, products="BTC-USD,ETH-USD,SOL-USD", rate=6))
        more["STREAMER_REST_URL"] = simulator.rest_url
        arguments = (*PRODUCTS, "--ws-url", simulator.url, "--redis-url", redis.url)
        stream = stack.enter_context(Stream(folder, *arguments, env=more))
        command = [str(BIN / "streamer"), "serve", "--port", str(port), "--redis-url", redis.url]
        api = stack.enter_context(Process(command, folder, env=more, name="serve"))
        service = Dashboard(f"http://127.0.0.1:{port}/", api)
        service.wait_ready()
        page = stack.enter_context(visitor())
        it = World(folder, redis, simulator, stream, service, page)
        page.goto(service.url)
        it._sees(lambda: it.is_healthy() and it.level_on_page() == "healthy", START_S, "the beginning")
        yield it
        assert stream.code is None, stream.log[-2000:]
        assert "Traceback" not in stream.log + api.log


@worlds.test
def test_the_exchange_falls_silent_loses_frames_and_goes_away(folder: Path) -> None:
    """feed_silent, gap and feed_backoff: what a connection can suffer."""
    with world(folder, env={"STREAMER_SILENCE_S": "30"}) as it:
        with it.simulator.frozen():
            it.shows("feed_silent", level="down", words="has received nothing for")
        it.heals("feed_silent")
        it.simulator.tell({"fault": "ack_without_data"}, {"fault": "skip", "n": 7})
        it.shows("gap", level="degraded", words="frames were lost")
        it.simulator.tell({"heal": True})
        it.heals("gap")
        it.simulator.kill()
        it.shows("feed_backoff", level="down", words="waiting to reconnect")
        it.simulator.start(seed=1)  # on the same ports, with another market
        it.heals("feed_backoff")
        assert it.complaints == []


@worlds.test
def test_the_exchange_lets_nobody_in(folder: Path) -> None:
    """feed_refused: it answers 403 to whoever knocks."""
    with world(folder) as it:
        it.simulator.tell({"fault": "refuse_upgrade", "status": 403}, {"fault": "reset"})
        it.shows("feed_refused", level="down", words="HTTP 403")
        it.simulator.tell({"heal": True})
        it.heals("feed_refused")


@worlds.test
def test_what_is_wanted_is_nothing_or_unknown(folder: Path) -> None:
    """no_products, which somebody has chosen, and product_silent, of which the exchange knows nothing."""

    def wanted(action: str, *products: str) -> None:
        done = run("streamer", "wanted", action, *products, "--redis-url", it.redis.url, folder=folder)
        assert done.returncode == 0, done.stderr

    with world(folder) as it:
        wanted("add", "NOPE-USD")
        it.shows("product_silent", level="degraded", words="NOPE-USD: the exchange sends nothing for it")
        wanted("remove", "NOPE-USD")
        it.heals("product_silent")
        wanted("remove", "BTC-USD", "ETH-USD")
        it.shows("no_products", level="degraded", words="No products wanted")
        assert it.journal(resolved=False) == set()
        wanted("add", "BTC-USD")
        it.heals("no_products")
        assert it.complaints == []


@worlds.test
def test_the_clock_and_the_accounts(folder: Path) -> None:
    """clock_skew and balances_unconfirmed: prices go on, and when both are mended nothing is said any more."""
    with world(folder, key=True) as it:
        it.simulator.tell({"clock_offset_s": 60})
        it.shows("clock_skew", level="degraded", words="The clock of this host is")
        it.simulator.tell({"clock_offset_s": 0})
        it.simulator.tell({"fault": "rest_status", "status": 503, "path": "/accounts"})
        order = {"product_id": "BTC-USD", "side": "BUY", "price": "84000", "size": "0.01"}
        it.simulator.tell({"fill": it.simulator.tell({"order": order})["order_id"]})
        it.shows("balances_unconfirmed", level="degraded", words="cannot be confirmed")
        it.simulator.tell({"heal": True})
        it.heals("balances_unconfirmed")
        it.heals("clock_skew")


@worlds.test
def test_the_key_is_revoked(folder: Path) -> None:
    """key_refused: until it is good again, and prices go on."""
    with world(folder, key=True) as it:
        it.simulator.tell({"revoke": True, "close": True})
        it.shows("key_refused", level="degraded", words="the exchange refuses")
        it.simulator.tell({"restore": True})
        it.heals("key_refused")


@worlds.test
def test_rest_fails_and_limits(folder: Path) -> None:
    """breaker_open and rate_limited: that the exchange said 429 is told for five minutes, so it comes last."""
    with world(folder, env={"STREAMER_MARKET_CALLS_PER_MINUTE": "120"}) as it:
        limits = count(1)

        def ask() -> set[str]:
            """Ask for candles that no stream can tell, each time others, so that no copy will do."""
            it.answer(f"api/v1/market/candles/SOL-USD?granularity=ONE_MINUTE&limit={next(limits)}&timeout_s=1")
            said = it.endpoint()[1]
            assert "codes" in said, said  # Redis may be late with its answer on a busy machine
            return set(said["codes"])

        it.simulator.fault("rest_status", status=503)
        wait_until(lambda: "breaker_open" in ask(), SEEN_S)
        it.shows("breaker_open", level="degraded", words="The circuit breaker of REST is")
        it.simulator.tell({"heal": True})
        wait_until(lambda: not ask(), HEALED_S)  # a call has to try it
        it.heals("breaker_open")
        it.simulator.fault("rest_status", status=429)
        ask()
        it.shows("rate_limited", level="degraded", words="answered 429")
        it._sees(lambda: it.page.locator("#figure-429s").inner_text() not in ("–", "0"), SEEN_S, "the figure")


@worlds.test
def test_the_budget_is_spent(folder: Path) -> None:
    """budget_spent: callers wait for their turn at a call a minute, and it is over when they have gone."""
    env = {"STREAMER_MARKET_CALLS_PER_MINUTE": "1", "STREAMER_CHANNELS": "ticker"}
    with world(folder, env=env) as it:
        reading = (
            "import sys, threading; from streamer.reader.sync import Reader\n"
            "def ask(limit): Reader(sys.argv[1]).candles('SOL-USD', 'ONE_MINUTE', limit, timeout_s=300)\n"
            "for limit in (1, 2, 3): threading.Thread(target=ask, args=(limit,)).start()\n"
        )
        command = [str(BIN / "python"), "-c", reading, it.redis.url]
        env["STREAMER_REST_URL"] = it.simulator.rest_url
        with Process(command, folder, env=env, name="callers"):
            it.shows("budget_spent", level="degraded", words="budget of REST is spent")
        it.heals("budget_spent")
        assert it.complaints == []


@worlds.test
def test_redis_refuses_writes_and_freezes_and_the_ingester_too(folder: Path) -> None:
    """write_lag, Redis frozen, report_old and no_report: the way from the ingester to whoever reads."""
    with world(folder) as it:
        it.redis.ask("ACL", "SETUSER", "default", "resetkeys", "~stream:*", "~gateway:*", "~counters:*")
        it.shows("write_lag", level="degraded", words="does not accept writes")
        it.redis.ask("ACL", "SETUSER", "default", "allkeys")
        it.heals("write_lag")
        with it.redis.frozen():
            it._sees(lambda: it.command()[0] == 3, SEEN_S, "the command")
            assert it.command()[1]["level"] == "unknown"
            status, media_type, _ = it.answer("api/v1/ws/stream-status")
            assert (status, media_type) == (503, "application/problem+json")
            assert it.metric("streamer_redis_up") == 0
            it._sees(lambda: "Redis" in it.reasons_on_page(), SEEN_S, "the page")
            # Longer than what is too short to be written down; who cannot see is not to guess meanwhile.
            hold(lambda: it.level_on_page() == "down" and it.command()[0] == 3, 5, "well in the dark")
        it._sees(lambda: it.metric("streamer_redis_up") == 1, SEEN_S, "the metrics")
        it.heals("redis_away")
        with it.stream.frozen():
            it.shows("report_old", level="down", words="The ingester last reported")
        it.heals("report_old")
        it.stream.kill()
        it.shows("no_report", level="down", words="No ingester has reported")
        it.stream.start()
        it.heals("no_report")
