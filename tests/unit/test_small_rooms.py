import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job import log
from dify_job.config.model import RetryPolicy
from dify_job.exit_codes import TABLE, Outcome, code_of
from dify_job.messages.sanitize import one_line
from dify_job.run.retry import pause, seconds_of
from dify_job.state.reader import read_tick
from dify_job.state.store import InFlight, JobState, LockHeld, boot_id
from dify_job.system import paths
from dify_job.system.timespan import format_timespan, parse_timespan

# Time spans


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
def test_a_time_span_is_read_as_systemd_reads_it(text: str, seconds: float) -> None:
    assert parse_timespan(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", " ", "soon", "1 fortnight", "-5s", "1h-2", "infinity", "5s!"])
def test_what_is_no_time_span_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time span"):
        parse_timespan(text)


@given(st.integers(0, 10**15))
def test_a_time_span_comes_back_to_the_microsecond(micros: int) -> None:
    assert round(parse_timespan(format_timespan(micros / 1_000_000)) * 1_000_000) == pytest.approx(
        micros, abs=1
    )


# The exit table


def test_every_outcome_has_a_row_and_no_code_is_taken_twice() -> None:
    assert {row.outcome for row in TABLE} == set(Outcome)
    codes = [row.code for row in TABLE if row.code]
    assert len(codes) == len(set(codes))
    assert code_of(Outcome.CANCELLED, 2) == 130
    assert code_of(Outcome.CANCELLED) == 143


# Retry


@given(
    st.integers(1, 20),
    st.floats(0, 300),
    st.floats(0, 60) | st.none(),
    st.floats(0, 200) | st.none(),
    st.integers(),
)
def test_pauses_keep_the_policy(
    attempts: int, waited: float, last: float | None, retry_after: float | None, seed: int
) -> None:
    policy = RetryPolicy(attempts=5, max_wait=120)
    wait = pause(
        policy,
        attempts=attempts,
        waited=waited,
        last=last,
        retry_after=retry_after,
        uniform=random.Random(seed).uniform,
    )
    if attempts >= 5 or waited >= 120:
        assert wait is None or wait == 0 or retry_after is not None
    if wait is not None:
        assert attempts < 5
        assert waited + wait <= 120 + 1e-9
        assert wait <= 10 or (retry_after is not None and wait >= min(retry_after, 120 - waited) - 1e-9)


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 11, 23, 7, 0, 0, tzinfo=UTC)
    assert seconds_of("7", now) == 7
    assert seconds_of("Mon, 23 Nov 2026 07:00:30 GMT", now) == 30
    assert seconds_of("Mon, 23 Nov 2026 06:00:00 GMT", now) == 0
    for odd in ("soon", "²", "-5", "1e5", "Mon, 99 Nov 2026", "Mon, 23 Nov 2026 07:00:30 -0000"):
        assert seconds_of(odd, now) is None
    assert seconds_of(None, now) is None


# State


def record(**changed: object) -> InFlight:
    values = {"run": "r", "user": "u", "base_url": "b", "started": "s", "deadline": 0.0,
              "boot": boot_id(), "boot_deadline": 1e12}  # fmt: skip
    return InFlight(**{**values, **changed})


def test_a_record_in_flight_comes_back(tmp_path: Path) -> None:
    state = JobState(tmp_path / "job")
    assert state.in_flight() is None
    state.put_in_flight(record(task_id="t"))
    assert state.in_flight() == record(task_id="t")
    state.clear_in_flight()
    state.clear_in_flight()
    assert state.in_flight() is None


def test_a_record_of_another_version_or_half_of_one_does_not_stop_a_run(tmp_path: Path) -> None:
    state = JobState(tmp_path)
    half = json.dumps(vars(record()) | {"user": 5})
    for text in ('{"run": "r"}', '{"run": ', "[]", "", half, "[" * 100_000):
        (tmp_path / "in-flight.json").write_text(text)
        assert state.in_flight() is None
    state.put_in_flight(record())
    told = json.loads((tmp_path / "in-flight.json").read_text())
    (tmp_path / "in-flight.json").write_text(json.dumps(told | {"later": 1}))
    assert state.in_flight() == record()


@pytest.mark.parametrize("at", ["1e300", "9" * 400, "-1", "NaN", "null", '"7"', "[" * 100_000])
def test_a_tick_that_no_calendar_has_is_none(at: str, tmp_path: Path) -> None:
    (tmp_path / "tick.json").write_text(f'{{"at": {at}}}')
    assert (JobState(tmp_path).tick(), read_tick(tmp_path)) == (None, None)
    JobState(tmp_path).put_tick(7.5)
    assert (JobState(tmp_path).tick(), read_tick(tmp_path)) == (7.5, 7.5)


def test_a_clock_step_does_not_make_a_run_of_this_boot_overdue() -> None:
    assert not record(deadline=0.0).overdue(60)
    assert record(deadline=1e12, boot_deadline=0.0).overdue(-1)
    assert record(boot="another", deadline=0.0).overdue(60)


def test_when_a_run_is_overdue_can_be_told_whatever_its_deadline() -> None:
    assert record(deadline=1000.0).overdue_at(60).timestamp() == 1060
    for deadline in (3e11, 1e300, float("inf"), float("nan"), -1e300):
        assert record(deadline=deadline).overdue_at(60).tzinfo is not None


def test_the_history_is_bounded_and_passes_over_damage(tmp_path: Path) -> None:
    state = JobState(tmp_path)
    for number in range(1250):
        state.finish({"n": number})
    history = state.history()
    assert len(history) <= 1200
    assert history[-1] == {"n": 1249}
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"half": \n')
    assert state.history()[-1] == {"n": 1249}


def test_the_lock_is_freed_by_close_and_names_its_holder(tmp_path: Path) -> None:
    first, second = JobState(tmp_path), JobState(tmp_path)
    first.lock()
    with pytest.raises(LockHeld, match="process"):
        second.lock()
    first.close()
    second.lock()


def test_links_in_the_state_directory_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    state = JobState(tmp_path / "job")
    for name in ("lock", "history.jsonl"):
        (tmp_path / "job" / name).symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        state.lock()
    with pytest.raises(OSError, match="symbolic"):
        state.remember({})
    (tmp_path / "job" / "lock").unlink()
    (tmp_path / "job" / "lock").hardlink_to(target)
    with pytest.raises(OSError, match="not a plain file"):
        state.lock()
    assert target.read_text() == "mine"


def test_a_line_separator_in_a_message_does_not_damage_the_history(tmp_path: Path) -> None:
    state = JobState(tmp_path)
    for n in range(1250):
        state.finish({"n": n, "message": "a\u2028b\u0085c"})
    assert state.history()[-1] == {"n": 1249, "message": "a\u2028b\u0085c"}
    assert 1000 <= len(state.history()) <= 1200


def test_a_half_line_of_a_full_disk_spoils_no_other(tmp_path: Path) -> None:
    state = JobState(tmp_path)
    state.remember({"n": 1})
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"n": 2, "mess')
    state.remember({"n": 3, "message": "lone \ud800 surrogate"})
    assert [entry["n"] for entry in state.history()] == [1, 3]


# Text of servers


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\tc  d", "a b c d"),
        ("\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("报告 🎉", "报告 🎉"),
        ("x" * 2000, "x" * 999 + "…"),
    ],
)
def test_a_servers_words_become_one_line_that_no_terminal_obeys(text: str, line: str) -> None:
    assert one_line(text) == line


def test_a_secret_is_hidden_in_every_way_of_writing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_secrets", [])
    monkeypatch.setattr(log, "_keys", [])
    log.hide('a"b\\c d/é', is_key=True)
    for shown in (
        'a"b\\c d/é',
        json.dumps({"x": 'a"b\\c d/é'}),
        "?k=a%22b%5Cc%20d/%C3%A9",
        "a%22b%5Cc%20d%2F%C3%A9",
    ):
        assert "[hidden]" in log.redact(shown)
        assert "b%5C" not in log.redact(shown)


def test_a_result_stays_json_whatever_the_secret_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_secrets", [])
    monkeypatch.setattr(log, "_keys", [])
    for secret in ("true", "null", "1234", "success", "message"):
        log.hide(secret)
    log.hide("app-key-1", is_key=True)
    told = {
        "success": True,
        "message": "null 1234",
        "n": 1234,
        "deep": [{"app-key-1": "app-key-1"}],
        "x": float("inf"),
    }
    shown = json.loads(log.as_json(told))
    assert shown["success"] is True
    assert shown["message"] == "[hidden] [hidden]"
    assert (shown["n"], shown["x"], shown["deep"]) == (1234, None, [{"[hidden]": "[hidden]"}])
    assert json.loads(log.as_json(told, to_file=True))["message"] == "null 1234"


def test_a_user_without_a_home_has_directories_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd 262 gives a dynamic user no $HOME, and its account may be in no database."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert paths.config_home() == Path("/.config")
    assert paths.state_home({"XDG_STATE_HOME": "/srv/state"}) == Path("/srv/state")
