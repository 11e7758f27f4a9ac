import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from dify_job.system import user
from tests.support.campaign import Campaign
from tests.support.fork_server import NO_SYSTEM_CONFIG

ROOT = Path(__file__).parents[1]

# No deadline: it would test the load of the machine.
settings.register_profile("dev", deadline=None, max_examples=25, derandomize=True)
settings.register_profile("ci", deadline=None, max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_configure() -> None:
    # A shell's & ignores SIGINT and nohup ignores SIGHUP; the processes that the tests start inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-contract", action="store_true", help="write the snapshot of the contract")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(ROOT / "tests/host"):
            item.add_marker(pytest.mark.host)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skipped test fail in CI."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session", autouse=True)
def untouched_home() -> Iterator[None]:
    """Fail if a test marks jobs as installed below the home of the account that runs the tests."""
    home = user.account_home() or Path("/nonexistent")
    before = set((home / ".local/state/dify-job").glob("*"))
    yield
    assert set((home / ".local/state/dify-job").glob("*")) == before


@pytest.fixture(autouse=True)
def account_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let HOME be the home of the account, as for a login, so that no test writes into the developer's."""
    monkeypatch.setattr("dify_job.system.user.account_home", Path.home)


@pytest.fixture(autouse=True)
def system_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine have no system configuration, whatever dify-job is installed on it."""
    monkeypatch.setattr("dify_job.config.discovery._SYSTEM_CONFIG", NO_SYSTEM_CONFIG)


@pytest.fixture(params=["sample", pytest.param("whole", marks=pytest.mark.slow)])
def campaign(request: pytest.FixtureRequest) -> Campaign:
    return Campaign.named(request.param)


@pytest.fixture
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages in English, whatever the locale of the developer."""
    monkeypatch.setenv("LC_ALL", "C")


def tracked(*paths: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *paths], cwd=ROOT, capture_output=True, check=True)
    return {name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with wheel and sdist."""
    return build(tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist"))


def build(source: Path, out: Path, *, umask: int = 0o022) -> Path:
    """Copy tracked files to `source`, and build wheel and sdist from there into `out`."""
    for name in tracked(
        "dify_job", "deploy", "docs/man", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"
    ):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        [sys.executable, str(ROOT / "packaging" / "build.py"), str(source), str(out)],
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out
