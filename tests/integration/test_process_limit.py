"""Commands at the process limit of a user: facts that need another program are reported as unknown."""

import json

import pytest

from tests.support.fake_manager import install_programs
from tests.support.home import CONFIG, Home

pytestmark = pytest.mark.timeout(600)  # on a loaded machine
# Behaves like fork(2), clone(2) and pthread_create(3) at RLIMIT_NPROC, which root does not have.
_AT_THE_LIMIT = (
    "import _thread, errno, os, subprocess, threading\n"
    "subprocess.run  # executes the module, which dify-job imports lazily\n"
    "def full(*_, **__): raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n"
    'def no_thread(*_, **__): raise RuntimeError("can\'t start new thread")\n'
    "subprocess._fork_exec = os.fork = full\n"
    "threading._start_new_thread = threading._start_joinable_thread = no_thread\n"  # the latter from 3.13 on
)
_REASON = "could not be started: Resource temporarily unavailable"


@pytest.fixture
def full(home: Home) -> Home:
    """A home in which a job was installed before the limit was reached."""
    home.configure(CONFIG + 'inputs = { topic = "{{ today }}" }\n')
    assert home("install", "--user").code == 0
    install_programs(home.path, home.path / "bin", started=True)
    home.first = _AT_THE_LIMIT
    home.env["STATE_DIRECTORY"] = str(home.path / "state/dify-job/daily")
    return home


@pytest.mark.parametrize(
    "words",
    [
        "doctor",
        "doctor daily --user --json",
        "status",
        "status --json",
        "history",
        "next",
        "install --user",
        "install --user --check",
        "install --user --backend cron",
        "uninstall daily --user",
        "pause daily --user",
        "stop daily --user",
        "secret set daily --encrypt",
        "config validate",
        "run daily",
        "report -o report.html",
    ],
)
def test_command_at_the_process_limit_does_not_crash(words: str, full: Home) -> None:
    before = {path: content for path, content in full.all_files().items() if "/dify-job-" in path}
    done = full(*words.split())
    assert "Traceback" not in done.stderr
    assert done.code != 70, done.stderr
    after = full.all_files()
    assert {path: after.get(path) for path in before} == before


def test_doctor_reports_programs_that_could_not_be_started(full: Home) -> None:
    (full.manager.units / "dify-job-daily.timer").unlink()
    (full.manager.units / "dify-job-daily.service").unlink()
    done = full("doctor", "daily", "--user", "--json")
    checks = {check["check"]: check for check in json.loads(done.stdout)["jobs"][0]["checks"]}
    assert _REASON in checks["units"]["message"], "not: it is not installed"
    assert "no process can be started" in checks["inputs"]["message"]
    assert checks["inputs"]["level"] == "warn"
    assert "ulimit -u" in checks["server"]["fix"]


def test_run_that_cannot_render_its_inputs_has_a_safe_code(full: Home) -> None:
    done = full("run", "daily")
    assert (done.code, done.result["outcome"], done.result["attempts"]) == (69, "unreachable", 0)
    assert "no process can be started" in done.result["message"]


@pytest.mark.parametrize("words", ["notify daily", "demo", "demo --serve 0"])
def test_command_that_needs_a_thread_says_that_none_can_be_started(words: str, full: Home) -> None:
    full.configure(CONFIG + 'notify = { healthchecks = "http://127.0.0.1:9/ping" }\n')
    done = full(*words.split())
    assert done.code == 69, done.stderr
    assert "no thread can be started" in done.stderr
    assert "ulimit -u" in done.stderr
    assert "Traceback" not in done.stderr


def test_notifications_of_a_run_that_no_thread_can_send_are_a_warning(full: Home) -> None:
    notify = 'notify = { healthchecks = "http://127.0.0.1:9/ping" }\n'
    full.configure(CONFIG.replace('"http://127.0.0.1:9"', '"http://127.0.0.1:9"\ntimeout = "5s"') + notify)
    done = full("run", "daily")
    assert (done.code, done.result["outcome"]) == (69, "unreachable")
    assert "the ping to healthchecks failed: no thread can be started" in done.stderr
