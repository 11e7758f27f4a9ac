"""What is in the wheel and the sdist, compared with the tree."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from dify_job.journal import MESSAGE_IDS

from ..conftest import ROOT, build, tracked


def expected() -> set[str]:
    ours = {name for name in tracked("dify_job") if name.endswith((".py", "py.typed", ".mo", ".po"))}
    return ours | {f"dify_job/{name}" for name in tracked("deploy")}


def test_the_wheel_holds_the_package_and_deploy_and_nothing_else(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    manual = {name for name in names if ".data/data/share/man/" in name}
    assert names - manual == expected()
    assert {Path(name).name for name in manual} == {"dify-job.1", "dify-job.toml.5"}


def test_the_sdist_holds_what_the_wheel_is_built_from(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in tracked("dify_job", "deploy") if not name.endswith(".gitkeep")}
    assert wanted | {"README.md", "LICENSE", "setup.cfg", "pyproject.toml"} <= names


def test_the_same_tree_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "source", tmp_path / "dist", umask=0o077)
    for one in built.iterdir():
        assert one.read_bytes() == (again / one.name).read_bytes(), one.name


def test_the_wheel_runs_from_anywhere(built: Path, tmp_path: Path) -> None:
    [wheel] = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import dify_job.cli.main as main;"
        f"assert main.__file__.startswith({str(tmp_path)!r}); main.main(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "dify-job 0.1.0\n"), done.stderr


def test_the_catalogues_have_every_kind_of_message() -> None:
    for catalogue in ("dify-job.catalog", "dify-job.zh_CN.catalog"):
        text = (ROOT / "deploy" / "systemd" / catalogue).read_text()
        assert re.findall(r"^-- ([0-9a-f]{32})$", text, re.MULTILINE) == list(MESSAGE_IDS.values())
