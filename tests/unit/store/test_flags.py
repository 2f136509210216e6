"""Who is coordinated: what is written, and whom it covers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import ConfigError
from streamer.store.flags import BOTS, USE, Flags, flags_of, parse_flags

NAMES = st.text(
    st.characters(exclude_characters=",%", exclude_categories=("Cs", "Zs", "Cc", "Zl", "Zp")),
    min_size=1,
    max_size=20,
)


@pytest.mark.parametrize(
    ("texts", "caller", "is_covered"),
    [
        ({}, "bot-1", True),
        ({USE: "false"}, "bot-1", False),
        ({USE: "true", BOTS: ""}, "bot-1", True),
        ({USE: "true", BOTS: "bot-1, bot-7"}, "bot-1", True),
        ({USE: "true", BOTS: "bot-1,bot-7"}, "bot-2", False),
        ({USE: "false", BOTS: "bot-1"}, "bot-1", False),
        ({BOTS: "bot-1,100%"}, "bot-2", True),
        ({BOTS: "0%,bot-1"}, "bot-2", False),
        ({BOTS: "0%,bot-1"}, "bot-1", True),
        ({BOTS: "0%"}, "bot-1", False),
        ({BOTS: " , "}, "bot-1", True),
        ({BOTS: "all"}, "bot-1", True),
        ({USE: "Off"}, "bot-1", False),
        ({USE: " YES "}, "bot-1", True),
    ],
)
def test_who_is_covered(texts: dict[str, str], caller: str, is_covered: bool) -> None:
    """Nobody without the switch, all where nobody is named, else those who are."""
    assert parse_flags(texts).covers(caller) == is_covered


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({USE: "maybe"}, "maybe"),
        ({BOTS: "120%"}, "120%"),
        ({BOTS: "x%"}, "x%"),
        ({BOTS: "-1%"}, "-1%"),
        ({BOTS: "a%b"}, "a%b"),
        ({BOTS: "x" * 65}, "64"),
    ],
)
def test_what_breaks_a_rule_is_named(texts: dict[str, str], told: str) -> None:
    """A slip in a switch must not move anybody."""
    with pytest.raises(ConfigError) as caught:
        parse_flags(texts)
    assert told in str(caught.value)


def test_a_share_takes_in_about_so_many_and_always_the_same() -> None:
    """More of them as it grows, and nobody who was in leaves."""
    callers = [f"bot-{n}" for n in range(1000)]
    sets = [{c for c in callers if parse_flags({BOTS: f"{percent}%"}).covers(c)} for percent in (10, 25, 50, 90)]
    for percent, found in zip((10, 25, 50, 90), sets, strict=True):
        assert abs(len(found) - 10 * percent) < 60
    assert sets[0] < sets[1] < sets[2] < sets[3]


@given(st.booleans(), st.frozensets(NAMES, max_size=5), st.none() | st.integers(0, 100))
def test_what_is_written_is_read_again(use: bool, bots: frozenset[str], percent: int | None) -> None:
    """Flags survive being written down."""
    flags = Flags(use, frozenset(name.strip() for name in bots) - {"", "all"}, percent and percent / 100)
    assert parse_flags(flags.as_texts()) == flags


def test_what_others_have_written_moves_nobody() -> None:
    """Rubbish in one flag leaves the other, and the environment's."""
    held = {USE.encode(): b"\xff\xfe", BOTS.encode(): b"bot-1", b"x": b"y"}
    assert flags_of(held, Flags(use=False)) == Flags(use=False, bots=frozenset({"bot-1"}))
