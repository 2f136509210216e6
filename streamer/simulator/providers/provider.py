"""What every simulated provider can do. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from streamer.simulator.providers.limits import Quota, Verdict
from streamer.simulator.providers.wire import HTML, TEXT, Ask, Refusal, Reply, json_reply, page


class Provider(ABC):
    """One provider: how it is asked, what it replies, and how it refuses.

    Attributes:
        name: Its prefix: "binance".
        quotas: How often it may be asked; of paid plans in `paid_quotas`.
        ban_after: So many refused requests within a minute are answered with a ban; None for never.
        bias: How far its prices are off, in tenths of a basis point.
        share: Thousandths of the world's volume that it counts.
        styles: The forms its 429 may take; the first is the usual one.
    """

    name: ClassVar[str]
    quotas: ClassVar[Sequence[Quota]]
    paid_quotas: ClassVar[Sequence[Quota]] = ()
    ban_after: ClassVar[int | None] = None
    bias: ClassVar[int] = 0
    share: ClassVar[int] = 1000
    styles: ClassVar[Sequence[str]] = ("usual",)

    @abstractmethod
    def key(self, ask: Ask) -> str:
        """Return the key that came along, "" for none."""

    @abstractmethod
    def check_key(self, ask: Ask, *, is_good: bool) -> None:
        """Let a request pass whose key is good, or that needs none.

        Raises:
            Refusal: It does not pass.
        """

    @abstractmethod
    def answer(self, ask: Ask) -> Reply:
        """Answer a request.

        Raises:
            Refusal: It cannot be answered.
        """

    @abstractmethod
    def error(self, ask: Ask, status: int, why: str) -> Reply:
        """Return an error in the provider's own shape."""

    @abstractmethod
    def limited(self, ask: Ask, verdict: Verdict, style: str) -> Reply:
        """Return how it refuses more requests than a quota allows."""

    def cost(self, ask: Ask) -> int:
        """Return how many calls, credits or units of weight a request counts as."""
        return 1

    def bucket(self, ask: Ask, address: str) -> str:
        """Return whose quota a request is of."""
        return ask.key or address

    def banned(self, ask: Ask, verdict: Verdict) -> Reply:
        """Return how it answers whom it has banned."""
        return page(403, "403 Forbidden")

    def geo_blocked(self) -> Reply:
        """Return how it refuses a country that it does not serve."""
        return page(403, "403 Forbidden")

    def broken(self, ask: Ask) -> Reply:
        """Return its answer when it is broken inside."""
        return self.error(ask, 500, "Internal Server Error")

    def empty(self, reply: Reply) -> Reply:
        """Return the form in which it says that there is no data, in place of a good answer."""
        return json_reply([] if reply.body.startswith(b"[") else {})

    def key_echo(self, ask: Ask) -> Reply:
        """Return an error that repeats the key."""
        return self.error(ask, 400, f"Your request with key {ask.key} could not be served")

    def decorated(self, ask: Ask, reply: Reply) -> Reply:
        """Return an answer with the headers that all of its answers have."""
        return reply


def refused(reply: Reply) -> Refusal:
    """Return a reply as something to raise."""
    return Refusal(reply)


def text_reply(status: int, text: str, content_type: str = TEXT) -> Reply:
    """Return an answer in plain text."""
    return Reply(status, text.encode(), content_type)


def html_reply(status: int, text: str) -> Reply:
    """Return a page as it stands."""
    return text_reply(status, text, HTML)
