"""The life of the Debian package on a booted host: installed, upgraded, removed, installed again, purged."""

import json
import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dify_job.standin.server import StandIn

from ..conftest import ROOT
from ..integration.conftest import APPS, KEY
from .conftest import booted
from .machine import Machine

# what dpkg, systemd and Python leave of any package
OTHERS = (
    "var/lib/dpkg/",
    "var/log/",
    "var/cache/",
    "var/lib/systemd/catalog/",
    "etc/machine-id",
    "var/lib/systemd/",
)


@pytest.fixture(scope="module")
def packages(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    make: Callable[..., Path] = runpy.run_path(str(ROOT / "packaging" / "deb.py"))["main"]
    [wheel] = built.glob("*.whl")
    out = tmp_path_factory.mktemp("deb")
    return {version: make(wheel, out, version) for version in ("0.1.0", "0.1.1")}


@pytest.fixture
def fresh(packages: dict[str, Path]) -> Iterator[Machine]:
    with booted("deb") as machine:
        for version, package in packages.items():
            (machine.root / f"srv/{version}.deb").write_bytes(package.read_bytes())
        yield machine


def everything(machine: Machine) -> set[str]:
    found = (
        str(path.relative_to(machine.root))
        for place in ("etc", "opt", "usr", "var/lib")
        for path in (machine.root / place).rglob("*")
    )
    return {path for path in found if not path.startswith(OTHERS) and "__pycache__" not in path}


def test_it_installs_runs_upgrades_without_a_run_and_purges_clean(fresh: Machine) -> None:
    before = everything(fresh)
    with StandIn(APPS) as server:
        fresh.run("dpkg", "-i", "/srv/0.1.0.deb")
        assert fresh.run("dify-job", "--version").stdout.startswith("dify-job ")
        assert (fresh.root / "etc/dify-job").stat().st_mode & 0o777 == 0o755
        assert (fresh.root / "etc/dify-job/credentials").stat().st_mode & 0o777 == 0o700
        assert "--timeout" in fresh.run("man", "-P", "cat", "dify-job", env={"COLUMNS": "100"}).stdout
        fresh.write(
            "/etc/dify-job/config.toml",
            f'[jobs.daily]\nbase_url = "{server.base_url}"\nevery = "1h"\n'
            'api_key_file = "/etc/dify-job/credentials/daily.key"\n',
        )
        fresh.write("/etc/dify-job/credentials/daily.key", KEY, 0o600)
        fresh.run("dify-job", "install")
        fresh.run("systemctl", "start", "dify-job-daily.service")
        fresh.run("systemctl", "start", "dify-job@daily.service")
        assert len(server.runs) == 2
        assert "has succeeded" in fresh.run("journalctl", "-x", "-u", "dify-job-daily", "--no-pager").stdout

        fresh.run("dpkg", "-i", "/srv/0.1.1.deb")
        time.sleep(2)
        assert len(server.runs) == 2
        [row] = json.loads(fresh.run("dify-job", "status", "--json", check=False).stdout)["jobs"]
        assert (row["armed"], row["healthy"]) == (True, True)

        fresh.run("dpkg", "-r", "dify-job")
        shown = fresh.run("systemctl", "is-active", "dify-job-daily.timer", check=False).stdout
        assert shown.strip() == "inactive"
        fresh.run("dpkg", "-i", "/srv/0.1.1.deb")
        assert "paused" in fresh.run("dify-job", "status", check=False).stdout
        fresh.run("dify-job", "resume", "daily")
        assert len(server.runs) == 2

        fresh.run("dpkg", "-P", "dify-job")
        assert everything(fresh) == before
        assert "dify-job-" not in fresh.run("systemctl", "list-units", "--all", "--no-pager").stdout
        assert len(server.runs) == 2
