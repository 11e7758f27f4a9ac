"""Pausing and resuming a crontab block."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.schedulers import cron
from dify_job.system.managed_files import FileState, FileStatus, read_header, with_header


def status_of(text: str | bytes, *, edited: bool = False) -> FileStatus:
    content = text.encode() if isinstance(text, str) else text
    mark, as_written = read_header(content) or pytest.fail("no mark")
    assert as_written is not edited
    return FileStatus(FileState.EDITED if edited else FileState.MANAGED, mark, content)


@given(body=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")), max_size=5))
def test_resume_restores_the_bytes_before_a_pause(body: list[str]) -> None:
    text = with_header("daily", "0" * 16, "/c", "".join(f"0 7 * * * {line}\n" for line in body))
    paused = cron.with_pause(status_of(text), "daily", paused=True)
    assert all(line.startswith("#") for line in paused.decode().split("\n") if line)
    assert cron.is_paused(paused) is bool(body)
    assert cron.with_pause(status_of(paused), "daily", paused=False) == text.encode()


def test_pause_of_an_edited_block_leaves_it_edited() -> None:
    text = with_header("daily", "0" * 16, "/c", "0 7 * * * x\n").encode() + b"0 8 * * * mine \xff\n"
    paused = cron.with_pause(status_of(text, edited=True), "daily", paused=True)
    assert b"#paused# 0 8 * * * mine \xff\n" in paused
    assert cron.with_pause(status_of(paused, edited=True), "daily", paused=False) == text
