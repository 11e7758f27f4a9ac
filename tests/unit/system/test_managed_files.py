"""Headers of managed files, with arbitrary and hostile content."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dify_job.system.managed_files import FileState, file_status, fingerprint, read_header, with_header

JOBS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,47}", fullmatch=True)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(job=JOBS, source=TEXT, body=TEXT)
@example(job="a", source='x" config=0 from="y', body="")
@example(job="a", source="a\\", body="\n")
def test_header_is_read_back_and_a_changed_body_is_detected(job: str, source: str, body: str) -> None:
    content = with_header(job, fingerprint("x"), source, body).encode()
    if "\r" in source or len(source.splitlines()) > 1:
        assert content.partition(b"\n")[0].startswith(b"# Managed")
    read = read_header(content)
    assert read is not None
    mark, unchanged = read
    assert (mark.job, mark.source, mark.config, unchanged) == (job, source, fingerprint("x"), True)
    edited = read_header(content + b"# mine\n")
    assert edited is not None
    assert not edited[1]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_have_no_header(content: bytes) -> None:
    assert read_header(content) is None


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (with_header("daily", "0" * 16, "/c", "x\n"), FileState.MANAGED),
        (with_header("daily", "0" * 16, "/c", "x\n") + "y\n", FileState.EDITED),
        (
            with_header("other", "0" * 16, "/c", "x\n"),
            FileState.FOREIGN,
        ),  # the header copied to another file
        ("[Unit]\n" + with_header("daily", "0" * 16, "/c", "x\n"), FileState.FOREIGN),  # not the first line
        ("# Managed by dify-job for job daily.\n", FileState.FOREIGN),
        ("[Unit]\n", FileState.FOREIGN),
        ("", FileState.MASKED),
    ],
)
def test_file_state_is_read_from_the_first_line(content: str, found: FileState, tmp_path: Path) -> None:
    path = tmp_path / "dify-job-daily.service"
    path.write_text(content)
    assert file_status(path, "daily").state is found


def test_symlinks_directories_and_missing_files_are_distinguished(tmp_path: Path) -> None:
    mask, link = tmp_path / "mask.timer", tmp_path / "link.timer"
    mask.symlink_to("/dev/null")
    managed = tmp_path / "real.timer"
    managed.write_text(with_header("real", "0" * 16, "/c", "x\n"))
    link.symlink_to(managed)
    (tmp_path / "dir.timer").mkdir()
    assert file_status(mask).state is FileState.MASKED
    assert (
        file_status(link).state is FileState.FOREIGN
    )  # even to a managed file: writing would follow or replace it
    assert file_status(tmp_path / "dir.timer").state is FileState.FOREIGN
    assert file_status(tmp_path / "none.timer").state is FileState.ABSENT
