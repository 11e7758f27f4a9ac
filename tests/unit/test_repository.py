"""Rules for all files of the repository."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

_OUTSIDE = ["/".join(("", "work", "")), "/".join(("..", "shared")), "/".join(("", "root", ".pyenv"))]


def test_no_file_names_a_path_outside_the_repository_or_is_a_link() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    names = [
        name for name in listed.stdout.decode().split("\0") if name and not name.startswith("tests/data/")
    ]
    assert names, "not a git checkout"
    assert [name for name in names if (ROOT / name).is_symlink()] == []
    for name in names:
        if (ROOT / name).exists():
            text = (ROOT / name).read_text(errors="replace")
            assert not [word for word in _OUTSIDE if word in text], name


def test_host_tests_are_collected_where_no_host_can_boot(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "tests/host"],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
