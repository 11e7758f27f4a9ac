"""The Debian package on a booted host: install, upgrade, remove, reinstall, purge."""

import json
import re
import runpy
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.command import APPS, KEY
from tests.support.fake_dify.apps import App, Node
from tests.support.fake_dify.server import FakeDify

from ..conftest import ROOT as REPOSITORY
from .conftest import ROOT, booted
from .machine import Machine

pytestmark = pytest.mark.since(252)  # Debian 12 is the first with a new enough Python

# what dpkg, systemd and Python leave behind of any package
OTHERS = (
    "var/lib/dpkg/",
    "var/log/",
    "var/cache/",
    "var/lib/systemd/catalog/",
    "etc/machine-id",
    "var/lib/systemd/",
)
SITE = "opt/dify-job/lib/python3/site-packages"


@pytest.fixture(scope="module")
def packages(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    make: Callable[..., Path] = runpy.run_path(str(REPOSITORY / "packaging" / "deb.py"))["main"]
    [wheel] = built.glob("*.whl")
    out = tmp_path_factory.mktemp("deb")
    return {version: make(wheel, out, version) for version in ("0.1.0", "0.1.1")}


@pytest.fixture
def fresh(packages: dict[str, Path]) -> Iterator[Machine]:
    with booted("deb", ROOT) as machine:
        for version, package in packages.items():
            (machine.root / f"srv/{version}.deb").write_bytes(package.read_bytes())
        yield machine


def all_files(machine: Machine) -> set[str]:
    found = (
        str(path.relative_to(machine.root))
        for place in ("etc", "opt", "usr", "var/lib")
        for path in (machine.root / place).rglob("*")
    )
    return {path for path in found if not path.startswith(OTHERS) and "__pycache__" not in path}


def compiled(machine: Machine) -> set[str]:
    """Return the Python tags that dify-job's modules are compiled for, like cpython-311."""
    return {path.name.split(".")[1] for path in (machine.root / SITE / "dify_job").rglob("*.pyc")}


def python3(machine: Machine, version: str) -> str:
    """Build a package that claims to be Debian's python3 of that version."""
    control = f"Package: python3\nVersion: {version}\nArchitecture: all\nMaintainer: m\nDescription: d\n"
    machine.write("/srv/python3/DEBIAN/control", control)
    machine.run("dpkg-deb", "--build", "/srv/python3", f"/srv/python3_{version}.deb")
    return f"/srv/python3_{version}.deb"


def configure(machine: Machine, server: FakeDify) -> None:
    machine.write(
        "/etc/dify-job/config.toml",
        f'[jobs.daily]\nbase_url = "{server.base_url}"\ncalendar = "yearly"\n'
        'api_key_file = "/etc/dify-job/credentials/daily.key"\n',
    )
    machine.write("/etc/dify-job/credentials/daily.key", KEY, 0o600)


@pytest.mark.usefixtures("port_8000")
def test_package_installs_upgrades_without_a_run_and_purges_clean(fresh: Machine) -> None:
    (fresh.root / "etc/credstore.encrypted").mkdir(0o700, exist_ok=True)  # newer versions of systemd have it
    before = all_files(fresh)
    with FakeDify(APPS) as server:
        fresh.run("dpkg", "-i", "/srv/0.1.0.deb")
        assert fresh.run("dify-job", "--version").stdout.startswith("dify-job ")
        assert (fresh.root / "etc/dify-job").stat().st_mode & 0o777 == 0o755
        assert (fresh.root / "etc/dify-job/credentials").stat().st_mode & 0o777 == 0o700
        assert "--timeout" in fresh.run("man", "-P", "cat", "dify-job", env={"COLUMNS": "100"}).stdout
        configure(fresh, server)
        fresh.run("dify-job", "install", "--http")
        fresh.run("systemctl", "start", "dify-job-daily.service")
        fresh.run("systemctl", "start", "dify-job@daily.service")
        assert len(server.runs) == 2
        assert "has succeeded" in fresh.run("journalctl", "-x", "-u", "dify-job-daily", "--no-pager").stdout

        fresh.run("dpkg", "-i", "/srv/0.1.1.deb")
        time.sleep(2)
        assert len(server.runs) == 2
        rows = json.loads(fresh.run("dify-job", "status", "--json", check=False).stdout)["jobs"]
        assert [one["job"] for one in rows] == ["daily"]
        [row] = rows
        assert (row["enabled"], row["healthy"]) == (True, True)
        assert fresh.run("systemctl", "is-active", "dify-job-http.socket").stdout.strip() == "active"

        fresh.run("dpkg", "-r", "dify-job")
        for unit in ("dify-job-daily.timer", "dify-job-http.socket"):
            shown = fresh.run("systemctl", "is-active", unit, check=False).stdout
            assert shown.strip() == "inactive", unit
        fresh.run("dpkg", "-i", "/srv/0.1.1.deb")
        assert "paused" in fresh.run("dify-job", "status", check=False).stdout
        fresh.run("dify-job", "resume", "daily")
        fresh.run("dify-job", "install", "--http")
        assert fresh.run("systemctl", "is-active", "dify-job-http.socket").stdout.strip() == "active"
        assert len(server.runs) == 2

        fresh.run("dify-job", "secret", "set", "daily", "--encrypt", stdin=KEY)
        fresh.run("dpkg", "-P", "dify-job")
        assert all_files(fresh) == before
        assert "dify-job-" not in fresh.run("systemctl", "list-units", "--all", "--no-pager").stdout
        assert len(server.runs) == 2


def test_removal_leaves_the_jobs_of_another_installation(fresh: Machine) -> None:
    fresh.run("dpkg", "-i", "/srv/0.1.0.deb")
    fresh.run("cp", "-a", "/opt/dify-job", "/opt/other")
    other = ("/opt/other/bin/python", "-P", "-m", "dify_job")
    with FakeDify([App(KEY, nodes=(Node("Start"), Node("Think", 10.0), Node("End")))]) as server:
        configure(fresh, server)
        fresh.run(*other, "install", "--http")
        fresh.run("systemctl", "start", "--no-block", "dify-job-daily.service")
        while not server.runs:
            time.sleep(0.1)
        assert "Failed" not in fresh.run("dpkg", "-r", "dify-job").stderr
        for unit in ("dify-job-daily.timer", "dify-job-http.socket"):
            assert fresh.run("systemctl", "is-active", unit).stdout.strip() == "active", unit
        assert server.runs[0].status == "running"


def test_upgrade_does_not_end_or_start_a_run(fresh: Machine) -> None:
    with FakeDify([App(KEY, nodes=(Node("Start"), Node("Think", 10.0), Node("End")))]) as server:
        fresh.run("dpkg", "-i", "/srv/0.1.0.deb")
        configure(fresh, server)
        fresh.run("dify-job", "install")
        started = fresh.run(
            "systemctl", "show", "-p", "NextElapseUSecRealtime", "dify-job-daily.timer"
        ).stdout
        fresh.run("systemctl", "start", "--no-block", "dify-job-daily.service")
        while not server.runs:
            time.sleep(0.1)
        fresh.run("dpkg", "--unpack", "/srv/0.1.1.deb")
        assert server.runs[0].status == "running"
        fresh.run("dpkg", "--configure", "dify-job")
        while fresh.run("systemctl", "is-active", "dify-job-daily.service", check=False).code == 0 or (
            server.runs[0].status == "running"
        ):
            time.sleep(0.2)
        time.sleep(1)
        [row] = json.loads(fresh.run("dify-job", "status", "--json").stdout)["jobs"]
        assert (row["last"]["outcome"], row["enabled"], row["sync"]) == ("succeeded", True, "as configured")
        shown = fresh.run("systemctl", "show", "-p", "NextElapseUSecRealtime", "dify-job-daily.timer").stdout
        assert (shown, len(server.runs)) == (started, 1)


def test_package_contains_what_its_readme_links(packages: dict[str, Path]) -> None:
    listed = subprocess.run(["dpkg-deb", "-c", packages["0.1.0"]], capture_output=True, text=True, check=True)
    links = re.findall(r"\]\(([\w./-]+\.md)\)", (REPOSITORY / "README.md").read_text())
    assert "docs/systemd.md" in links
    assert [link for link in links if f"./usr/share/doc/dify-job/{link}\n" not in listed.stdout] == []


def test_dpkg_refuses_an_unsupported_python(fresh: Machine) -> None:
    fresh.run("dpkg", "--force-depends", "-i", python3(fresh, "3.15.0-1"))
    refused = fresh.run("dpkg", "-i", "/srv/0.1.0.deb", check=False)
    assert refused.code == 1
    assert "dify-job depends on python3 (<< 3.15~)" in refused.stderr
    fresh.run("dpkg", "--force-all", "-i", python3(fresh, "3.13.5-1"))
    fresh.run("dpkg", "--configure", "dify-job")
    assert fresh.run("dify-job", "--version").code == 0


def test_package_refuses_a_virtual_environment_in_its_place(fresh: Machine) -> None:
    fresh.run("python3", "-m", "venv", "--without-pip", "/opt/dify-job")
    refused = fresh.run("dpkg", "-i", "/srv/0.1.0.deb", check=False)
    assert refused.code == 1
    assert "mv /opt/dify-job /opt/dify-job.old, then install again" in refused.stderr
    fresh.run("mv", "/opt/dify-job", "/opt/dify-job.old")
    fresh.run("dpkg", "-i", "/srv/0.1.0.deb")
    fresh.run("dpkg", "-r", "dify-job")
    fresh.run("dpkg", "-i", "/srv/0.1.1.deb")
    assert fresh.run("dify-job", "--version").code == 0
    fresh.run("mkdir", f"/{SITE}/apprise")  # pip --python /opt/dify-job/bin/python
    fresh.run("dpkg", "-P", "dify-job")
    assert not fresh.exists("/opt/dify-job")


def test_modules_are_compiled_again_when_the_python_of_the_host_changes(fresh: Machine) -> None:
    tag = fresh.run("python3", "-c", "import sys; print(sys.implementation.cache_tag)").stdout.strip()
    fresh.run("dpkg", "-i", "/srv/0.1.0.deb")
    assert compiled(fresh) == {tag}, "those of the Python that made the package are not in it"
    fresh.run("find", f"/{SITE}", "-name", "*.pyc", "-delete")
    fresh.run("dpkg-trigger", "--by-package=python3-minimal", "/usr/bin/python3")  # as its upgrade does
    fresh.run("dpkg", "--triggers-only", "--pending")
    assert compiled(fresh) == {tag}
    fresh.run("dpkg", "-P", "dify-job")
    assert not fresh.exists("/opt/dify-job")


def test_package_works_with_every_supported_python(fresh: Machine) -> None:
    fresh.run("dpkg", "-i", "/srv/0.1.0.deb")
    output = fresh.run("dpkg-query", "-W", "-f", "${Depends}", "dify-job").stdout
    oldest, too_new = (int(part.split("3.")[1].split(")")[0].rstrip("~")) for part in output.split(",")[:2])
    pythons = [f"3.{minor}" for minor in range(oldest, too_new)]
    assert {path.name for path in (fresh.root / "opt/dify-job/lib").iterdir()} == {
        "python3",
        *(f"python{version}" for version in pythons),
    }
    for metadata in (fresh.root / SITE).glob("*.dist-info/METADATA"):
        for line in metadata.read_text().splitlines():
            if not line.startswith("Requires-Dist: "):
                continue
            marker = Requirement(line.removeprefix("Requires-Dist: ")).marker
            wanted = {
                marker.evaluate({"python_version": version, "python_full_version": f"{version}.0"})
                for version in pythons
                if marker is not None
            }
            assert len(wanted) < 2, (metadata.parent.name, line)
