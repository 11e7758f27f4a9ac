"""Programs that cannot be started or do not end."""

from pathlib import Path

import pytest

from dify_job.system import subprocesses


def test_program_that_ends_has_a_result() -> None:
    done = subprocesses.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.code, done.text, done.complaint, done.answered) == (3, "out\n", "err", True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["no-such-program-here"], "no-such-program-here is not installed"),
        (["/"], "/ could not be started: Permission denied"),
        (["true", "x" * 3_000_000], "true could not be started: Argument list too long"),
    ],
)
def test_program_that_cannot_be_started_has_no_result(words: list[str], why: str) -> None:
    done = subprocesses.run(words)
    assert (done.code, done.complaint, done.answered) == (127, why, False)


def test_file_that_is_no_program_has_no_result(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "program").chmod(0o755)
    done = subprocesses.run([str(tmp_path / "program")])
    assert (done.code, done.answered) == (127, False)
    assert "Exec format error" in done.complaint


def test_program_that_does_not_end_has_no_result() -> None:
    done = subprocesses.run(["sleep", "60"], limit=0.1)
    assert (done.code, done.answered) == (124, False)
