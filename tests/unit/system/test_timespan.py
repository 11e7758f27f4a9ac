import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.system.timespan import format_timespan, parse_timespan


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("90", 90),
        ("30min", 1800),
        ("1h 30min", 5400),
        ("1.5h", 5400),
        ("2 weeks", 1209600),
        ("500ms", 0.5),
        ("1M", 2629800),
        ("1y", 31557600),
        ("3µs", 3e-6),
    ],
)
def test_time_span_is_parsed_like_systemd(text: str, seconds: float) -> None:
    assert parse_timespan(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", " ", "soon", "1 fortnight", "-5s", "1h-2", "infinity", "5s!"])
def test_invalid_time_span_is_reported(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time span"):
        parse_timespan(text)


@given(st.integers(0, 10**15))
def test_written_time_span_is_read_back_to_the_microsecond(micros: int) -> None:
    assert round(parse_timespan(format_timespan(micros / 1_000_000)) * 1_000_000) == pytest.approx(
        micros, abs=1
    )
