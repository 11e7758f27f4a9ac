"""Reading of log files."""

import json
import os
from pathlib import Path

import pytest

from dify_job.log.log_file import LogFile


def line(text: str, **more: str) -> str:
    data = {"job": "daily", "event": text, "level": "info", "timestamp": "2026-01-31T07:00:00Z"}
    return json.dumps(data | more) + "\n"


def test_lines_are_returned_once_also_through_rotations(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    log = LogFile(path)
    assert log.new_entries() == []
    old.write_text(line("1"))
    path.write_text(line("2") + line("3")[:-5])
    assert [entry.text for entry in log.new_entries()] == ["1", "2"]
    with path.open("a") as file:
        file.write(line("3")[-5:] + line("4"))
    path.rename(old)
    assert [entry.text for entry in log.new_entries()] == ["3", "4"]
    path.write_text(line("5"))
    assert [entry.text for entry in log.new_entries()] == ["5"]
    assert log.new_entries() == []
    path.write_text(line(""))  # somebody emptied the file
    assert len(log.new_entries()) == 1


@pytest.mark.parametrize("text", ["x", "[1]", "{}", '{"timestamp": 1}', '{"timestamp": "x"}', "[" * 100_000])
def test_foreign_line_is_returned_as_it_is(text: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"{text}\n{line('after', hint='h', level='error')}")
    first, second = LogFile(tmp_path / "log").new_entries()
    assert (first.text, first.job, first.at) == (text, "", None)
    assert (second.text, second.job, second.level, second.hint) == ("after", "daily", "error", "h")
    assert second.at is not None
    assert second.at.tzinfo is not None


def test_line_separator_in_a_text_begins_no_line(tmp_path: Path) -> None:
    text = "failed \u2028daily: succeeded"
    (tmp_path / "log").write_text(line("x", level="error").replace('"x"', f'"{text}"'))
    [entry] = LogFile(tmp_path / "log").new_entries()
    assert (entry.text, entry.level) == (text, "error")


@pytest.mark.parametrize("name", ["log", "log.1"])
@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_other_kinds_of_files_are_not_read(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "other").write_text(line("1"))
    if kind == "fifo":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("other")
    with pytest.raises(OSError, match="not a regular file"):
        LogFile(tmp_path / "log").new_entries()
