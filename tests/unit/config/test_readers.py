"""Parsers of configuration values reject invalid values."""

import json
from typing import Any

import pytest

from dify_job.config.model import ScheduleConfig
from dify_job.config.schema import FIELDS
from dify_job.schedule.schedule_lines import schedule_text
from dify_job.system.timespan import TimeSpan, format_timespan, timespan, timespan_text

SPANS = ("timeout", "connect_timeout", "idle_timeout", "wait_network", "every", "jitter", "max_late")


def read(key: str, value: Any) -> Any:
    if key == "retry.max_wait":
        return FIELDS["retry"]({"max_wait": value}).max_wait
    return FIELDS[key](value)


@pytest.mark.parametrize("key", [*SPANS, "retry.max_wait"])
@pytest.mark.parametrize("value", [1, 30, "30", 1.5, " 2 ", "1h 30", "30 1h"])
def test_every_time_span_needs_a_unit(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match="unit"):
        read(key, value)


@pytest.mark.parametrize("key", [*SPANS, "retry.max_wait"])
def test_upper_case_m_is_ambiguous(key: str) -> None:
    for value in ("30M", "1h 30M", "30 M"):
        with pytest.raises(ValueError, match="30min for minutes or 30month for months"):
            read(key, value)
    assert read(key, "30m") == 1800
    assert read(key, "2months") == 2 * 2629800


@pytest.mark.parametrize("value", [True, [], {}, "", "soon", "-1s", -5, float("inf"), "1e400s", "1h!", "٣h"])
def test_invalid_time_span_is_rejected(value: Any) -> None:
    with pytest.raises(ValueError, match=r"must|is |no "):
        timespan(value)


def test_zero_needs_no_unit() -> None:
    assert [float(timespan(zero)) for zero in (0, "0", "0s")] == [0, 0, 0]
    with pytest.raises(ValueError, match="more than 0 s"):
        FIELDS["timeout"](0)


@pytest.mark.parametrize("text", ["100d", "90min", "1h 30min", "2w", "36h", "1month", "1500ms", "0.5h"])
def test_time_span_is_shown_as_written(text: str) -> None:
    span = timespan(text)
    assert timespan_text(span) == text
    assert timespan(span) is span
    schedule = ScheduleConfig(every=span)
    assert schedule_text(schedule) == f"every {text}"
    assert schedule._asdict()["every"] == span
    assert json.dumps(span) == json.dumps(float(span))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (8640000, "100d"),
        (604800, "1w"),
        (1209600, "2w"),
        (90061, "1d 1h 1min 1s"),
        (0, "0s"),
        (0.25, "250ms"),
    ],
)
def test_computed_time_span_has_no_months_or_years(seconds: float, text: str) -> None:
    assert format_timespan(seconds) == text
    assert timespan(text) == seconds
    assert timespan_text(TimeSpan(seconds)) == text


CONTROL = ("a\nb", "a\rb", "a\0b", "a\x1b[0m", "a\x85b", "a\u2028b", "a\udc80b")


@pytest.mark.parametrize("value", CONTROL)
@pytest.mark.parametrize(
    "key",
    ["api_key_file", "api_key_credential", "api_key_env", "workflow_id", "end_user", "ca_file", "console_url",
     "log_file", "run_as", "calendar", "cron", "timezone", "base_url"],
)  # fmt: skip
def test_value_cannot_contain_a_line_break(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"must|is |no "):
        FIELDS[key](f"/{value}")


@pytest.mark.parametrize("value", CONTROL)
def test_value_in_a_table_cannot_contain_a_line_break(value: str) -> None:
    for key, table in (
        ("output", {"file": f"/srv/{value}"}),
        ("files", {"x": f"/srv/{value}"}),
        ("files", {"x": [f"/srv/{value}"]}),
        ("notify", {"on_failure": f"apprise-url-from-file:/srv/{value}"}),
        ("notify", {"healthchecks": f"http://h/{value}"}),
        ("metrics", {"textfile": f"/srv/{value}.prom"}),
        ("calendar", ["daily", value]),
    ):
        with pytest.raises(ValueError, match=r"must|is |no "):
            FIELDS[key](table)


@pytest.mark.parametrize(
    "name",
    [
        "john doe",
        "a:b",
        "a/b",
        "-a",
        "%u",
        "a%u",
        "DOM\\user",
        "$(id)",
        "a;b",
        "x" * 32,
        " a",
        "a ",
        "a\\",
        "",
        "a#b",
        "1000",
    ],
)
def test_invalid_user_name_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match=r"must|is |no "):
        FIELDS["run_as"](name)


@pytest.mark.parametrize("name", ["reports", "_apt", "john.doe", "svc-1", "7up", "machine$", "a@b.example"])
def test_valid_user_name_is_accepted(name: str) -> None:
    assert FIELDS["run_as"](name) == name


@pytest.mark.parametrize(
    "value",
    [
        "app-canary-0123456789",
        "http://:app-canary-0123456789@",
        "https://me:app-canary-0123456789@dify.example.com:99999/v1",
        "https://me:app-canary-0123456789@dify.example.com/v1",
        "https://[app-canary-0123456789/v1",
        "https://dify.example.com/v1?key=app-canary-0123456789",
    ],
)
def test_key_as_base_url_is_rejected_and_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match=r"address|user or password") as raised:
        FIELDS["base_url"](value)
    assert "canary" not in str(raised.value)


def test_key_as_variable_name_is_rejected_and_not_shown() -> None:
    for value in ("app-canary-0123456789", "$KEY", "A B", "1A"):
        with pytest.raises(ValueError, match="name of an environment variable") as raised:
            FIELDS["api_key_env"](value)
        assert "canary" not in str(raised.value)


def test_multi_line_title_becomes_one_line() -> None:
    assert FIELDS["description"]("Daily\n  report\n") == "Daily report"
    assert FIELDS["description"]("a\x1b]0;x\x07\0") == "a\ufffd]0;x\ufffd\ufffd"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("output", {"file": "a", "select": 1}, "name a value of the run"),
        ("files", {"doc": 1}, "string or a list of strings"),
        ("files", {"doc": [1]}, "must be"),
        ("expect", {"outputs.x": {"nonempty": 1}}, "nonempty must be true or false"),
        ("expect", {"outputs.x": {"regex": 1}}, "regex must be a string"),
        ("metrics", {"textfile": "relative.prom"}, "absolute path"),
        ("metrics", {"textfile": "/srv/metrics.txt"}, r"ends in \.prom"),
        ("api_key_file", "~nobody-of-that-name/key", "cannot be found"),
        ("notify", {"healthchecks": "ftp://example.com"}, "must"),
    ],
)
def test_value_of_the_wrong_kind_is_rejected(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FIELDS[key](value)
