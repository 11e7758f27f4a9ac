"""Temporary directories of files that other programs read."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from dify_job.messages.errors import JobError
from dify_job.system.transaction import temporary_directory


@pytest.mark.parametrize(
    ("number", "program"), [(errno.ENOSPC, "df -i"), (errno.EROFS, "findmnt -T"), (errno.EIO, "df -h")]
)
def test_hint_of_a_failed_write_quotes_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, program: str
) -> None:
    place = tmp_path / "a b;c"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with pytest.raises(JobError, match=os.strerror(number)) as caught, temporary_directory():
        raise OSError(number, os.strerror(number))
    assert f"{program} '{place}'" in str(caught.value.hint)
