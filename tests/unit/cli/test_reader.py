"""How commands in messages name this program."""

from pathlib import Path

import pytest

from dify_job.cli import output
from dify_job.messages.command import command, for_reader


@pytest.mark.parametrize(
    ("started", "path", "shown"),
    [
        ("new/dify-job", "new", "dify-job"),
        ("new/dify-job", "link", "dify-job"),
        ("link/dify-job", "new", "dify-job"),
        ("new/dify-job", "old:new", "{place}/new/dify-job"),
        ("new/dify-job", "nowhere", "{place}/new/dify-job"),
        ("new/dify_job/__main__.py", "old", "dify-job"),
    ],
)
def test_commands_name_the_path_of_a_program_that_the_shell_does_not_find(
    started: str, path: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reinstallation in another place, the name can start the old program."""
    for name in ("old", "new", "link"):
        (tmp_path / name).mkdir()
    for name in ("old", "new"):
        (tmp_path / name / "dify-job").write_text("#!/bin/sh\n")
        (tmp_path / name / "dify-job").chmod(0o755)
    (tmp_path / "link/dify-job").symlink_to(tmp_path / "new/dify-job")
    monkeypatch.setenv("PATH", ":".join(str(tmp_path / each) for each in path.split(":")))
    monkeypatch.setattr("sys.argv", [str(tmp_path / started)])
    output._program.cache_clear()
    monkeypatch.setattr(output, "sudo_user", lambda: None)
    hint = for_reader(command("dify-job", "install", "daily"), output.reader())
    output._program.cache_clear()
    assert hint == f"{shown.format(place=tmp_path)} install daily"
