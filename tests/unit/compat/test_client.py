"""What needs no Redis: names of programs, and errors."""

from __future__ import annotations

import pickle

import pytest
import requests

from streamer.compat.client import is_silence, program_name
from streamer.compat.passage import NotSent, outcome_of
from streamer.errors import CallNotMade, StreamerError
from streamer.gateway.limits import Outcome


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/srv/bots/grid.py", "--live"], "grid"),
        (["/usr/lib/python3/site-packages/celery/__main__.py"], "celery"),
        (["/usr/bin/celery"], "celery"),
        (["-c"], "python"),
        ([""], "python"),
        ([], "python"),
        (["x" * 99], "x" * 64),
    ],
)
def test_a_program_has_a_name(arguments: list[str], expected: str) -> None:
    """From its command line."""
    assert program_name(arguments) == expected


def failure(status: int, **headers: str) -> requests.HTTPError:
    """An error of the SDK."""
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    return requests.HTTPError(response=response)


@pytest.mark.parametrize(
    ("error", "expected", "silent"),
    [
        (failure(429), (Outcome.LIMITED, None), True),
        (failure(429, **{"Retry-After": "7"}), (Outcome.LIMITED, 7.0), True),
        (failure(429, **{"Retry-After": "soon"}), (Outcome.LIMITED, None), True),
        (failure(400), (Outcome.REFUSED, None), False),
        (failure(401), (Outcome.REFUSED, None), False),
        (failure(404), (Outcome.REFUSED, None), False),
        (failure(500), (Outcome.FAILED, None), True),
        (requests.ConnectionError(), (Outcome.FAILED, None), True),
        (requests.ReadTimeout(), (Outcome.FAILED, None), True),
    ],
)
def test_what_an_error_means(
    error: requests.RequestException, expected: tuple[Outcome, float | None], silent: bool
) -> None:
    """To the limits that all processes share, and to one who has something stale."""
    assert outcome_of(error) == expected
    assert is_silence(error) is silent


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TypeError()])
def test_what_says_nothing_of_the_exchange(error: BaseException) -> None:
    """It may have arrived all the same."""
    assert outcome_of(error) == (Outcome.ABANDONED, None)


def test_not_sent_is_an_error_of_both() -> None:
    """It says why, when to try again, and has no response; so it is also after a journey between processes."""
    error = NotSent("orders", "not sent: too many calls have failed", 3.0)
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert isinstance(one, requests.RequestException)
        assert isinstance(one, StreamerError)
        assert isinstance(one, CallNotMade)
        assert str(one) == "REST orders: not sent: too many calls have failed"
        assert (one.response, one.request, one.retry_after_s) == (None, None, 3.0)
        assert is_silence(one)
