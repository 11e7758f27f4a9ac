"""A booted host for the whole session, with dify-job installed from the wheel."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import APPS
from tests.support.command_result import CommandResult
from tests.support.fake_dify.server import FakeDify

from .machine import Machine

ROOT = Path(os.environ.get("DIFY_JOB_TEST_ROOT", "/"))  # tests/matrix sets another
PYTHON = "/opt/dify-job/bin/python"
_DIRECTORIES = ("etc/systemd/system", "usr/lib/systemd/system", "etc/cron.d", "var/lib/systemd/timers")
CANARY = "app-canary-0123456789abcdef"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "since(version): needs that version of systemd")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    version: int | None = None
    for item in list(items):
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker(pytest.mark.timeout(600))
        if missing_requirement() is None and (since := item.get_closest_marker("since")) is not None:
            version = version or _version(ROOT)
            if version < since.args[0]:
                items.remove(item)
                config.hook.pytest_deselected(items=[item])


def _version(root: Path) -> int:
    done = subprocess.run(
        ["/usr/sbin/chroot", root, "systemctl", "--version"], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[1])


def missing_requirement() -> str | None:
    if os.geteuid() != 0:
        return "only root can boot a host: sudo make test"
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is missing: apt-get install systemd-container"
    if not Path("/usr/sbin/cron").exists():
        return "cron is missing: apt-get install cron"
    return None


@contextlib.contextmanager
def booted(name: str, root: Path = Path("/")) -> Iterator[Machine]:
    """Boot a host with users for the block.

    Where none can boot, the tests are skipped, or fail in CI.
    """
    if (missing := missing_requirement()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"host tests cannot run: {missing}")
        pytest.skip(missing)
    made = Machine(root, name)
    try:
        made.mount()
        made.start()
        for user in ("alice", "mallory"):
            made.run("useradd", "--create-home", "--shell", "/bin/bash", user)
        yield made
    finally:
        made.discard()


@pytest.fixture(scope="session")
def machine(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with booted("dify-job-test", ROOT) as made:
        _install(made, built, tmp_path_factory.mktemp("wheels"))
        yield made


def _install(machine: Machine, built: Path, wheels: Path) -> None:
    """Install the wheel and its dependencies in /opt/dify-job, for the host's Python."""
    python = "/opt/python/bin/python3" if machine.exists("/opt/python") else "/usr/bin/python3"
    version = machine.run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").stdout.strip()
    [wheel] = built.glob("*.whl")
    options = ["--only-binary=:all:", "--python-version", version, "--find-links", str(wheels)]
    for command in (
        [
            "wheel",
            "--wheel-dir",
            str(wheels),
            f"{wheel}[notify]",
        ],  # wheels of sdists too
        ["download", "--dest", str(wheels), *options, f"{wheel}[notify]", "pip"],
    ):
        argv = [sys.executable, "-m", "pip", "-q", *command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    shutil.copytree(wheels, machine.root / "opt/test-wheels")
    [pip] = wheels.glob("pip-*.whl")
    machine.run(python, "-m", "venv", "--without-pip", "/opt/dify-job", timeout=120)
    install = ("install", "-q", "--no-index", "--find-links=/opt/test-wheels", "dify-job[notify]")
    env = {"PYTHONPATH": f"/opt/test-wheels/{pip.name}"}
    machine.run("/opt/dify-job/bin/python", "-m", "pip", *install, env=env, timeout=300)


def _merge_duplicates(entry: dict[str, Any]) -> dict[str, Any]:
    """Merge equal duplicates of a field: systemd 247 adds LogExtraFields= to dify-job's own field."""
    merged = {
        name: value[0] for name, value in entry.items() if isinstance(value, list) and len({*value}) == 1
    }
    return entry | merged


@dataclass
class Host:
    """A machine with dify-job, configs, and a fake Dify server that both can reach."""

    machine: Machine
    server: FakeDify

    def __call__(self, *args: str, user: str = "root", check: bool = True, **settings: Any) -> CommandResult:
        return self.machine.run("/opt/dify-job/bin/dify-job", *args, user=user, check=check, **settings)

    def run(self, *argv: str, **settings: Any) -> CommandResult:
        return self.machine.run(*argv, **settings)

    def configure(self, text: str, *, key: str = CANARY, jobs: tuple[str, ...] = ("daily",)) -> None:
        """Write /etc/dify-job/config.toml with [defaults], and a key file per job."""
        defaults = f'[defaults]\nbase_url = "{self.server.base_url}"\n'
        self.machine.write("/etc/dify-job/config.toml", defaults + text)
        for job in jobs:
            self.machine.write(f"/etc/dify-job/credentials/{job}.key", key + "\n", 0o600)
        (self.machine.root / "etc/dify-job/credentials").chmod(0o700)

    def job(self, text: str, *, name: str = "daily", key: str = CANARY) -> None:
        """Configure a single job."""
        file = f"/etc/dify-job/credentials/{name}.key"
        self.configure(f'[jobs.{name}]\napi_key_file = "{file}"\n{text}\n', key=key, jobs=(name,))

    def drop_in(self, unit: str, text: str) -> str:
        """Write a drop-in of a system unit, and reload systemd; return its path."""
        path = f"/etc/systemd/system/{unit}.d/override.conf"
        self.machine.write(path, text)
        self.run("systemctl", "daemon-reload")
        return path

    def wait(self, ready: Callable[[], Any], seconds: float = 20.0) -> Any:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := ready():
                return found
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s")

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def journal(self, *match: str) -> list[dict[str, Any]]:
        self.run("journalctl", "--sync")
        output = self.run("journalctl", "-q", "-o", "json", "--all", "--no-pager", *match).stdout
        return [json.loads(line, object_hook=_merge_duplicates) for line in output.splitlines()]

    def status(self, *args: str, **settings: Any) -> dict[str, Any]:
        """Return the row of `status --json` of the named job, or of the first installed one."""
        rows = json.loads(self("status", "--json", *args, check=False, **settings).stdout)["jobs"]
        wanted = [row for row in rows if row["job"] in args or (row["backend"] and not args)]
        found: dict[str, Any] = (wanted or rows)[0]
        return found


@pytest.fixture
def port_8000() -> Iterator[None]:
    """Lock port 8000, which all containers of a machine share."""
    with (Path(tempfile.gettempdir()) / "dify-job-test-8000.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def host(machine: Machine) -> Iterator[Host]:
    with FakeDify(APPS, ping=0.5) as server:
        made = Host(machine, server)
        yield made
        made("uninstall", "--all", "--purge", check=False)
        left = [str(path) for place in _DIRECTORIES for path in (machine.root / place).rglob("*dify-job*")]
        for path in left:
            machine.run("rm", "-rf", "/" + str(Path(path).relative_to(machine.root)))
        machine.run("systemctl", "daemon-reload")
        machine.run("sh", "-c", "systemctl reset-failed; rm -rf /etc/dify-job /var/lib/dify-job")
        machine.run(
            "sh",
            "-c",
            "rm -rf /var/lib/private/dify-job /srv/out; journalctl --rotate --vacuum-time=1s",
            check=False,
        )
        # a directory that root created in a home would block a user's install in the next test
        machine.run("sh", "-c", "rm -rf /home/*/.config /home/*/.local /home/*/.env")
