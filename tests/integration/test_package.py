"""Contents of wheel and sdist, compared with the source tree."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from dify_job.log.journal import MESSAGE_IDS
from dify_job.state.store import JobState
from tests.support.fake_dify.server import FakeDify

from ..conftest import ROOT, build, tracked

pytestmark = pytest.mark.packaging


def expected() -> set[str]:
    sources = {name for name in tracked("dify_job") if name.endswith((".py", "py.typed", ".mo", ".po"))}
    return sources | {f"dify_job/{name}" for name in tracked("deploy")}


def test_wheel_contains_the_package_and_deploy_only(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    manual = {name for name in names if ".data/data/share/man/" in name}
    assert names - manual == expected()
    assert {Path(name).name for name in manual} == {"dify-job.1", "dify-job.toml.5"}


def test_sdist_contains_the_sources_of_the_wheel(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in tracked("dify_job", "deploy") if not name.endswith(".gitkeep")}
    assert wanted | {"README.md", "LICENSE", "setup.cfg", "pyproject.toml"} <= names


def test_build_is_reproducible(built: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "source", tmp_path / "dist", umask=0o077)
    for one in built.iterdir():
        assert one.read_bytes() == (again / one.name).read_bytes(), one.name


def test_wheel_runs_in_any_directory(built: Path, tmp_path: Path) -> None:
    [wheel] = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import dify_job.cli.main as main;"
        f"assert main.__file__.startswith({str(tmp_path)!r}); main.main(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "dify-job 0.1.0\n"), done.stderr


def test_catalogues_translate_every_kind_of_message() -> None:
    for catalogue in ("dify-job.catalog", "dify-job.zh_CN.catalog"):
        text = (ROOT / "deploy" / "systemd" / catalogue).read_text()
        assert re.findall(r"^-- ([0-9a-f]{32})$", text, re.MULTILINE) == list(MESSAGE_IDS.values())


def test_run_in_progress_needs_no_file_that_an_upgrade_replaces(server: FakeDify, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "dify_job", tmp_path / "site/dify_job")
    out, figures = tmp_path / "out.txt", tmp_path / "figures.prom"
    (tmp_path / "config.toml").write_text(
        f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "KEY"\ninputs = {{ topic = "sales" }}\n'
        f'output = {{ file = "{out}", select = "outputs.topic", downloads = true }}\n'
        'expect = { "outputs.topic" = { regex = "^sa" } }\n'
        f'metrics = {{ textfile = "{figures}" }}\n'
    )
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(tmp_path / "site"),
        "STATE_DIRECTORY": str(tmp_path / "state"),
        "KEY": "app-two-seconds",
        "LANG": "zh_CN.UTF-8",
    }
    command = [sys.executable, "-P", "-m", "dify_job", "run", "--config", "config.toml", "daily"]
    process = subprocess.Popen(
        command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    JobState(tmp_path / "state").write("request.json", f'{{"asked": {time.time()}}}')
    while not server.runs or not server.runs[0].past:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    (tmp_path / "site").rename(tmp_path / "away")
    stdout, stderr = process.communicate()
    assert (process.returncode, json.loads(stdout)["outcome"]) == (0, "succeeded"), stderr
    assert out.read_text() == "sales"
    assert "dify_job_last_run_success" in figures.read_text()
    assert '"result"' in (tmp_path / "state/request.json").read_text()
    assert '"warning"' not in stderr


def test_debian_package_has_the_wheel_of_this_checkout_and_no_other(tmp_path: Path) -> None:
    stray = tmp_path / "dify_job-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(stray, "w") as archive:
        archive.writestr("dify_job/__init__.py", "stray = True")
    older = tmp_path / "dify_job-0.1.0-py3-none-any.whl"
    shutil.copy(stray, older)
    make = runpy.run_path(str(ROOT / "packaging" / "deb.py"))["build"]
    packed: dict[str, set[str]] = {}

    def main(wheel: Path, output: Path) -> Path:
        packed[str(wheel)] = set(zipfile.ZipFile(wheel).namelist())
        return output / "dify-job_all.deb"

    make.__globals__["main"] = main
    assert make(tmp_path) == tmp_path / "dify-job_all.deb"
    [(wheel, names)] = packed.items()
    assert tmp_path not in Path(wheel).parents
    assert expected() <= names
    assert {path.name for path in tmp_path.iterdir()} == {stray.name, older.name}, "left alone"
