import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.state.history import RunRecord, Summary, read_history, sparkline, summary


def run(
    outcome: str, code: int | None, run_id: str | None = None, at: str = "", duration: float = 1.0
) -> RunRecord:
    return RunRecord(
        call_time=at, outcome=outcome, exit_code=code, message="", run_id=run_id, duration=duration
    )


GOOD, BAD, SKIP = run("succeeded", 0), run("unreachable", 69), run("skipped", 0)


@pytest.mark.parametrize(
    ("runs", "failures"),
    [
        ([], 0),
        ([GOOD], 0),
        ([BAD, GOOD], 0),
        ([GOOD, BAD], 1),
        ([BAD, GOOD, BAD, BAD], 2),
        ([GOOD, BAD, SKIP, SKIP], 1),
        ([SKIP], 0),
        ([GOOD, run("killed", None, "r1"), run("failed", 80, "r1")], 1),
        ([GOOD, run("killed", None, "r1"), run("succeeded", 0, "r1")], 1),
        ([run("killed", None, "r1"), run("succeeded", 0, "r1"), run("succeeded", 0, "r2")], 0),
        ([GOOD, run("killed", None, at="07:00"), run("succeeded", 0, "r1", "07:00")], 1),
        ([GOOD, run("killed", None, at="07:00"), run("failed", 80, "r1", "07:00"), BAD], 2),
    ],
)
def test_failures_in_a_row_ignore_skips_and_count_a_run_once(runs: list[RunRecord], failures: int) -> None:
    assert summary(runs).failures_in_a_row == failures


def test_mean_duration_is_of_successful_runs() -> None:
    runs = [
        run("succeeded", 0, at="then", duration=2),
        run("failed", 80, duration=500),
        run("skipped", 0, duration=0),
    ]
    runs.append(run("succeeded", 0, at="now", duration=4))
    assert summary(runs) == Summary(last_success="now", failures_in_a_row=0, mean_duration=3)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: st.dictionaries(
            st.sampled_from(["outcome", "exit_code", "duration_s", "call_time", "total_tokens", "message"]), x
        ),
    )
)
def test_any_line_of_a_history_is_read_or_ignored(value: Any) -> None:
    try:
        found = RunRecord.of(json.loads(json.dumps(value)))
    except ValueError:
        return
    assert found.began is None or found.began.tzinfo is not None


def test_damaged_and_oversized_history_is_read_partially(tmp_path: Path) -> None:
    good = json.dumps({"outcome": "succeeded", "exit_code": 0, "call_time": "2026-01-31T07:00:00+08:00"})
    filler = "x" * 5_000_000
    (tmp_path / "history.jsonl").write_text(f"{filler}\n{good}\n\x00\xff{{\n{good[:30]}\n{good}\n", "latin-1")
    assert [one.outcome for one in read_history(tmp_path)] == ["succeeded", "succeeded"]
    assert read_history(tmp_path / "absent") == ()


def test_symlink_to_a_history_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        read_history(tmp_path)


@given(st.lists(st.floats(0, 1e9), max_size=80), st.booleans())
def test_sparkline_has_one_ordered_character_per_value(values: list[float], plain: bool) -> None:
    line = sparkline(values, plain=plain)
    assert len(line) == len(values)
    assert not plain or line.isascii()
    blocks = "_.-:=+*#" if plain else "▁▂▃▄▅▆▇█"
    levels = [blocks.index(block) for block in line]
    assert all(
        levels[i] <= levels[j]
        for i in range(len(values))
        for j in range(len(values))
        if values[i] < values[j]
    )


def test_history_is_sorted_by_time(tmp_path: Path) -> None:
    times = [
        "2026-11-27T03:00:00.000+01:00",  # 02:00 UTC
        "2026-11-27T01:00:00.000+00:00",  # recorded later by the next process
        "",
        "2026-11-27T09:30:00.000+08:00",  # 01:30 UTC
        "2026-11-27T02:30:00.000+00:00",
        "2926-11-27T00:00:00.000+00:00",  # the clock was ahead
        "2026-11-27T02:40:00.000+00:00",
    ]
    lines = [json.dumps(run(str(number), 0, at=at).as_json()) for number, at in enumerate(times)]
    (tmp_path / "history.jsonl").write_text("\n".join(lines))
    assert [one.outcome for one in read_history(tmp_path)] == [*"1230456"]


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00", "9999-12-31T23:59:59+00:00", "yesterday", "20261127"])
def test_history_with_invalid_times_is_read(tmp_path: Path, at: str) -> None:
    lines = [json.dumps(run("x", 0, at=one).as_json()) for one in (at, "2026-11-27T01:00:00+00:00", at)]
    (tmp_path / "history.jsonl").write_text("\n".join(lines))
    assert len(read_history(tmp_path)) == 3
