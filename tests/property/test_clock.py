"""Laws of the exchange's clock: no token from its future, no skew out of nothing, and it never falls over."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from streamer.coinbase.clock import ExchangeClock, parse_http_date

START = 1_795_187_000.0
delays = st.floats(0, 30)
skews = st.one_of(st.floats(-90_000, 90_000), st.floats(-3, 3), st.just(0.0))


@given(skews, st.lists(st.tuples(st.floats(0, 10), delays, st.sampled_from([0.0, 1.0])), min_size=1, max_size=80))
def test_now_is_never_ahead_by_more_than_resolution_and_a_second(
    skew_s: float, samples: list[tuple[float, float, float]]
) -> None:
    """Whatever the delays, so backdating by two seconds keeps every token out of the exchange's future."""
    clock, true_s = ExchangeClock(), START
    for pause_s, delay_s, resolution_s in samples:
        true_s += pause_s
        sent_s = true_s - delay_s
        clock.saw(sent_s // 1 if resolution_s else sent_s, true_s + skew_s, resolution_s)
        assert clock.now(true_s + skew_s) <= true_s + 2.0 + 1e-6


@given(skews, st.lists(st.tuples(delays, st.floats(0, 0.5)), min_size=1, max_size=50))
def test_one_prompt_frame_in_a_minute_is_enough(skew_s: float, samples: list[tuple[float, float]]) -> None:
    """With it the skew is right to a second, however late all others were."""
    clock, true_s = ExchangeClock(), START
    for delay_s, pause_s in samples:
        true_s += pause_s
        clock.saw(true_s - delay_s, true_s + skew_s)
    clock.saw(true_s, true_s + skew_s + 0.1)
    assert clock.skew_s is not None
    assert abs(clock.skew_s - skew_s) <= 1.0 + 1e-6


@given(
    st.lists(st.tuples(st.floats(), st.floats(), st.sampled_from([0.0, 1.0])), max_size=80), st.floats(-1e9, 1e10)
)
def test_any_numbers_are_survived(samples: list[tuple[float, float, float]], now_s: float) -> None:
    """Clocks that jump anywhere, and what is no number."""
    clock = ExchangeClock()
    for exchange_s, local_s, resolution_s in samples:
        clock.saw(exchange_s, local_s, resolution_s)
        assert len(clock._window) <= 61
    assert isinstance(clock.now(now_s), float)


@given(st.text())
@example("Mon, 1 Jan 2024 00:00:00 +99999999")
def test_any_text_is_a_date_or_none(text: str) -> None:
    """A header never raises."""
    found = parse_http_date(text)
    assert found is None or isinstance(found, float)
