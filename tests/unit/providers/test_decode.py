"""How answers are read: numbers without floats, times by their size, pages told from data."""

from __future__ import annotations

from decimal import Decimal

import pytest

from streamer.errors import Maintenance, MalformedAnswer
from streamer.providers.decode import (
    document,
    epoch_ms,
    iso_ms,
    mapping,
    number,
    price_number,
    retry_after_s,
    rows,
    sound_ms,
    text,
)
from tests.unit.providers.samples import CLOCK_MS, answer, ms


def test_numbers_keep_their_digits() -> None:
    """What is written with a point is a decimal at once, never a float."""
    found = document(answer('{"a": 0.1, "b": 91320.010, "c": 1e5, "d": 7, "e": 1795186807121890000}'), "x")
    assert (str(found["a"]), str(found["b"]), found["c"]) == ("0.1", "91320.010", Decimal("1e5"))
    assert (found["d"], found["e"]) == (7, 1795186807121890000)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": 1',
        b"nope",
        b"NaN",
        b'{"a": Infinity}',
        b"\xff\xfe",
        b'"\xff"',
        b"[" * 100_000,
        b"1" * 5000,
    ],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    """Cut short, of another encoding, nested beyond reason, or no number that JSON has."""
    with pytest.raises(MalformedAnswer):
        document(answer(body), "x")


@pytest.mark.parametrize(
    ("body", "kind"),
    [("<!DOCTYPE html>", ""), ("  <html>", ""), ("\n<HTML>", ""), ("Sorry", "text/html; charset=UTF-8")],
)
def test_a_page_is_told_from_data(body: str, kind: str) -> None:
    """By its beginning, or by its type where it is no JSON."""
    with pytest.raises(Maintenance):
        document(answer(body, 503, content_type=kind), "x")
    assert document(answer("{}", content_type="text/html"), "x") == {}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1.50", "1.50"),
        ("-3", "-3"),
        ("+2", "2"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e-8", "1E-8"),
        (7, "7"),
        (Decimal("0.10"), "0.10"),
        ("0", "0"),
    ],
)
def test_numbers_are_read_as_written(value: object, found: str) -> None:
    """As a number or as a string of one."""
    assert str(number(value)) == found


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            " ",
            "NA",
            "-",
            "None",
            "NaN",
            "Infinity",
            "-inf",
            "1_0",
            "0x1",
            "1,5",
            " 1",
            "1\n",
            "\u0661",
            "1e1000",
        ),
        *("1" * 61, "1e99", None, True, False, 1.5, [], {}, Decimal("NaN"), Decimal("Infinity"), 10**61),
    ],
)
def test_what_is_no_number_is_refused(value: object) -> None:
    """No infinity, no words, no truth values, no floats, nothing of another size than things have."""
    with pytest.raises(ValueError, match="no number"):
        number(value)


@pytest.mark.parametrize("value", ["0", "-1", 0, Decimal("-0.0")])
def test_a_price_is_above_nothing(value: object) -> None:
    """Zero and less are none."""
    with pytest.raises(ValueError, match="not above 0"):
        price_number(value)


@pytest.mark.parametrize(
    "value",
    [1795186807, 1795186807123, "1795186807123", 1795186807123000, 1795186807123000000, Decimal("1795186807.0")],
)
def test_the_unit_of_a_time_is_told_by_its_size(value: object) -> None:
    """Seconds, milliseconds, micro- and nanoseconds of now are the same moment."""
    assert epoch_ms(value, CLOCK_MS) // 1000 == CLOCK_MS // 1000


@pytest.mark.parametrize(
    "value", [0, -1, 1, 10**8 - 1, 10**11 - 1, 10**20, CLOCK_MS + 86_400_001, 10**40, "NA", None]
)
def test_a_time_that_cannot_be_is_none(value: object) -> None:
    """Before March 1973, or more than a day ahead: a wrong unit or junk."""
    with pytest.raises(ValueError, match="time"):
        epoch_ms(value, CLOCK_MS)


def test_clocks_may_differ_by_a_day() -> None:
    """A day ahead of us is still a time; one millisecond more is none."""
    assert sound_ms(CLOCK_MS + 86_400_000, CLOCK_MS) == CLOCK_MS + 86_400_000
    with pytest.raises(ValueError, match="out of this world"):
        sound_ms(CLOCK_MS + 86_400_001, CLOCK_MS)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("2026-11-20T15:00:07.123Z", CLOCK_MS),
        ("2026-11-20T10:00:07.123-05:00", CLOCK_MS),
        ("2026-11-20 15:00:07.123", CLOCK_MS),
        ("2026-11-20", ms("2026-11-20T00:00:00Z")),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200_000),
        ("9999-12-31T23:59:59.999-14:00", 253_402_351_199_999),
    ],
)
def test_written_times_are_read_to_the_millisecond(value: str, found: int) -> None:
    """With a zone, or else in UTC; at the ends of the calendar too."""
    assert iso_ms(value) == found


@pytest.mark.parametrize("value", ["", "now", "2026-13-45", "2026-11-20T25:00", None, 7, "9" * 5000])
def test_what_is_no_written_time_is_refused(value: object) -> None:
    """In few words, however long it is."""
    with pytest.raises(ValueError, match="no t") as caught:
        iso_ms(value)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("53", 53.0),
        (" 0 ", 0.0),
        ("Fri, 20 Nov 2026 15:00:17 GMT", 9.877),
        ("Fri, 20 Nov 2026 14:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("\u0661", None),
        ("9" * 400, None),
    ],
)
def test_waits_are_seconds_or_dates(value: str, wait_s: float | None) -> None:
    """What is neither tells nothing; a date that has passed is now."""
    assert retry_after_s(answer("", 429, retry_after=value), CLOCK_MS) == pytest.approx(wait_s)


def test_no_header_is_no_wait() -> None:
    """Nothing is made up where nothing is told."""
    assert retry_after_s(answer("", 429), CLOCK_MS) is None


def test_shapes_are_demanded() -> None:
    """Each reader names what it wanted."""
    assert (mapping({}), rows([]), text("")) == ({}, [], "")
    for read, wrong, why in ((mapping, [], "no object"), (rows, {}, "no array"), (text, 7, "no text")):
        with pytest.raises(ValueError, match=f"^it is {why}$"):
            read(wrong, "it")
