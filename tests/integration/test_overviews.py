"""status, history, next, logs and report for a home with failed, running and paused jobs."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dify_job.report.text import columns_of
from tests.support.histories import JOBS, hourly, ten_jobs, write_history
from tests.support.home import CONFIG, Home
from tests.support.patience import PATIENCE

LANGUAGES = ("C.UTF-8", "zh_CN.UTF-8")


@pytest.fixture(scope="module")
def _night(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return ten_jobs(Home(tmp_path_factory.mktemp("night")), datetime.now(UTC))


@pytest.fixture
def night(_night: Home) -> Home:
    _night.env = {"COLUMNS": "80", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    return _night


def test_status_shows_failures_reasons_and_next_runs(night: Home) -> None:
    done = night("status", "--user")
    assert done.code == 1
    lines = done.stdout.split("\n")
    assert lines[0].startswith("10 jobs: 2 failing, 1 with problems, 6 ok, 1 paused")
    order = [line.split()[1] for line in lines if line[:2] in ("✗ ", "! ", "✓ ", "- ")]
    assert order[:3] == ["daily-report", "invoices", "translate-mails"]
    assert order[-1] == "paused"
    assert 'failed at "Summarise" (llm): [Errno 111] Connection refused' in done.stdout
    assert "https://dify.example.com/v1 could not be reached" in done.stdout
    assert f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%d %H:00:00 UTC}" in done.stdout


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "words",
    [
        ("status", "--user"),
        ("status", "--user", "invoices"),
        ("history", "--user"),
        ("history", "--user", "--failed"),
        ("history", "--user", "invoices", "-n", "5"),
        ("next",),
        ("next", "--user"),
        ("exit-codes",),
    ],
    ids=" ".join,
)
def test_output_fits_80_columns(night: Home, words: tuple[str, ...], language: str) -> None:
    done = subprocess.run(
        [*night.command, *words],
        env=night.environ | {"LC_ALL": language},
        cwd=night.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout
    assert [line for line in done.stdout.split("\n") if columns_of(line) > 80] == []


def test_times_have_the_same_format_with_zone_in_every_command(night: Home) -> None:
    form = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d\S*(?: \S+)?")
    for words in (("status", "--user"), ("history", "--user"), ("next",)):
        found = form.findall(night(*words).stdout)
        assert found, words
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", at.rstrip(":")) for at in found), words


def test_history_failed_since_yesterday_has_job_message_node_and_run_id(night: Home) -> None:
    done = night("history", "--user", "--failed", "--since", "2h")
    assert done.code == 0
    assert done.stdout.count("✗") == 2
    assert "invoices" in done.stdout
    assert 'failed at "Summarise" (llm)' in done.stdout
    ids = [line.strip() for line in done.stdout.split("\n") if line.count("-") == 4 and "T" not in line]
    assert [len(each) for each in ids] == [36, 36], "whole, on lines of their own"
    data = night("history", "--user", "--failed", "--since", "2h", "--json").result
    assert {run["job"] for run in data["runs"]} == {"invoices", "daily-report"}
    (node,) = [run["failed_node"] for run in data["runs"] if run["failed_node"]]
    assert node == {"title": "Summarise", "type": "llm", "error": "[Errno 111] Connection refused"}
    assert all(set(run["workflow_run_id"]) <= set("0123456789abcdef-") for run in data["runs"])


def test_history_of_several_jobs_is_merged_by_time(night: Home) -> None:
    data = night("history", "--user", "news", "crawl", "-n", "6", "--json").result["runs"]
    assert {run["job"] for run in data} == {"news", "crawl"}
    assert [run["call_time"] for run in data] == sorted((run["call_time"] for run in data), reverse=True)


def test_next_merges_jobs_by_time_and_lists_disabled_ones(night: Home) -> None:
    done = night("next", "--user", "-n", "12")
    assert done.code == 0
    times = [line[:19] for line in done.stdout.split("\n")[1:13]]
    assert times == sorted(times)
    assert not re.search(r"UTC +paused\b", done.stdout), "no run of a job that the scheduler does not start"
    assert (
        "these jobs will not run, because they are paused: paused\n    dify-job resume paused\n"
        in done.stdout
    )
    assert re.search(r"UTC +paused\b", night("next", "--user", "paused").stdout), "unless it is asked for"
    assert "these jobs will not run, because they are not installed: " in night("next", "--system").stdout
    data = night("next", "--json", "-n", "3").result
    assert len(data["runs"]) == 3
    assert {job["job"] for job in data["jobs"]} == set(JOBS)


@pytest.mark.parametrize("words", [("history", "--since", "soon"), ("logs", "--since", "+2h")], ids=" ".join)
def test_invalid_time_is_rejected_with_examples(night: Home, words: tuple[str, ...]) -> None:
    done = night(*words)
    assert (done.code, done.stdout) == (64, "")
    assert "write it as yesterday, '2h ago', 2026-01-31" in done.stderr


# logs


@pytest.fixture
def journal(night: Home) -> Path:
    """A journalctl that prints its arguments."""
    program = night.path / "bin/journalctl"
    program.write_text('#!/bin/sh\nfor word; do echo "<$word>"; done\n')
    program.chmod(0o755)
    night.first = (
        f"import dify_job.cli.logs as l; l._JOURNAL = Path({str(program)!r}); l._SYSLOG = Path('/nowhere')"
    )
    return program


@pytest.mark.parametrize(
    ("words", "handed"),
    [
        (["--user"], ["--user", "-u", "dify-job-*.service", "-u", "dify-job.http.service"]),
        (["--user", "news"], ["--user", "-u", "dify-job-news.service"]),
        (["news", "--user", "--failed"], ["--user", "-u", "dify-job-news.service", "-p", "err"]),
        (["--user", "news", "-n", "5", "-f"], ["--user", "-u", "dify-job-news.service", "-f", "-n", "5"]),
        (["--user", "news", "--", "-o", "json"], ["--user", "-u", "dify-job-news.service", "-o", "json"]),
        (["--user", "news", "--since", "2026-01-31 07:00 UTC"],
         ["--user", "-u", "dify-job-news.service", "--since", "2026-01-31 07:00:00 UTC"]),
        (["--user", "--since", "@1769814000", "--", "news"],
         ["--user", "-u", "dify-job-*.service", "-u", "dify-job.http.service",
          "--since", "2026-01-30 23:00:00 UTC", "news"]),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("journal")
def test_logs_executes_journalctl(night: Home, words: list[str], handed: list[str]) -> None:
    done = night("logs", *words)
    assert done.code == 0, done.stderr
    assert [line.strip("<>") for line in done.stdout.split("\n") if line] == handed


@pytest.mark.usefixtures("journal")
def test_logs_since_today_is_a_time(night: Home) -> None:
    done = night("logs", "--user", "--since", "today")
    assert f"<{datetime.now(UTC):%Y-%m-%d} 00:00:00 UTC>" in done.stdout
    assert "<today>" not in done.stdout


@pytest.mark.parametrize("words", [["nosuch"], ["news", "nosuch"], ["nosuch", "--since", "today"]])
@pytest.mark.usefixtures("journal")
def test_logs_of_an_unknown_job_executes_nothing(night: Home, words: list[str]) -> None:
    done = night("logs", "--user", *words)
    assert (done.code, done.stdout) == (78, "")
    assert "there is no job 'nosuch'" in done.stderr


@pytest.mark.usefixtures("journal")
def test_journalctl_option_before_dashes_is_answered_with_the_syntax(night: Home) -> None:
    done = night("logs", "-p", "err")
    assert (done.code, done.stdout) == (64, "")
    assert "dify-job logs -- -p" in done.stderr


# Terminals


def on_terminal(
    home: Home, *words: str, enough: Callable[[bytes], bool] = lambda _: False, **env: str
) -> tuple[bytes, int]:
    """Run a command on a terminal; send Ctrl-C when `enough` is true of its output.

    Returns:
        The bytes written to the terminal, and the exit status.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(home.path)
        os.execve(home.command[0], [*home.command, *words], home.environ | {"TERM": "xterm"} | env)
    shown, until, stopped = b"", time.monotonic() + PATIENCE, False
    while True:
        if not stopped and (enough(shown) or time.monotonic() > until):
            os.kill(pid, signal.SIGINT)
            stopped = True
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            came = os.read(terminal, 65536)
        except OSError:  # the process has closed the terminal
            break
        if not came:
            break
        shown += came
    os.close(terminal)
    return shown, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(
    ("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_follow_the_terminal_and_no_color(night: Home, env: dict[str, str], coloured: bool) -> None:
    shown, code = on_terminal(night, "status", "--user", **env)  # type: ignore[arg-type]
    assert code == 1
    assert (b"\x1b[31m" in shown) == coloured
    assert b"\x1b" in shown or not coloured


def test_terminal_gets_text_in_its_encoding(night: Home) -> None:
    shown, _ = on_terminal(night, "status", "--user", LC_ALL="zh_CN.UTF-8", PYTHONIOENCODING="gbk")
    assert "任务" in shown.decode("gbk")


def test_watch_refreshes_the_status_until_ctrl_c(night: Home) -> None:
    night.first = "import dify_job.cli.status as s; s._REFRESH_INTERVAL = 0.2"
    shown, code = on_terminal(
        night, "status", "--user", "--watch", enough=lambda seen: seen.count(b"10 jobs: 2 failing") >= 2
    )
    night.first = ""
    assert shown.count(b"10 jobs: 2 failing") >= 2
    assert code == 1, "the state that it showed last"


def test_watch_prints_once_without_a_terminal(night: Home) -> None:
    done = night("status", "--user", "--watch")
    assert done.code == 1
    assert done.stdout.count("10 jobs: ") == 1
    assert "\x1b" not in done.stdout
    assert night("status", "--watch", "--json").code == 64


# report


def test_report_writes_a_page_to_a_file_or_a_pipe(night: Home) -> None:
    page = night.path / "report.html"
    assert night("report", "--user", "--output", str(page)).code == 0
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert all(f'id="job-{job}"' in text for job in JOBS)
    assert "[Errno 111] Connection refused" in text
    piped = night("report", "--user", "invoices", "--days", "2")
    assert piped.code == 0
    assert 'id="job-news"' not in piped.stdout
    assert night("report", "--user", "--output", "-").stdout.startswith("<!DOCTYPE html>")
    assert not (night.path / "-").exists()


def test_report_rejects_a_terminal_and_an_unwritable_path(night: Home) -> None:
    shown, code = on_terminal(night, "report", "--user")
    assert code == 64
    assert b"dify-job report --output report.html" in shown
    done = night("report", "--user", "--output", "/proc/nowhere/x.html")
    assert done.code == 73
    assert "/proc/nowhere/x.html cannot be written" in done.stderr
    directory = night.path / "taken"
    directory.mkdir()
    assert night("report", "--user", "--output", str(directory)).code == 73


def cpu_of(argv: list[str], home: Home) -> float:
    """Seconds of CPU time that a process takes."""
    before = os.times()
    subprocess.run(argv, env=home.environ, check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.mark.slow
def test_page_of_100_jobs_with_1000_runs_takes_2_seconds_and_2_megabytes(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    job = '[jobs.job-{n}]\nbase_url = "http://127.0.0.1:9"\napi_key_file = "{{home}}/key"\nevery = "1h"\n'
    home.configure("".join(job.format(n=n) for n in range(100)))
    assert home("install", "--user").code == 0
    now = datetime.now(UTC)
    past = hourly(now, 1000, lambda ago: "failed" if ago % 9 == 0 else "succeeded")
    for number in range(100):
        write_history(tmp_path / f"state/dify-job/job-{number}", past)
    read = "import json, pathlib, sys\nfor f in pathlib.Path(sys.argv[1]).glob('*/history.jsonl'):\n"
    read += "    for line in f.read_text().split('\\n'): line and json.loads(line)"
    least = min(
        cpu_of([sys.executable, "-c", read, str(tmp_path / "state/dify-job")], home) for _ in range(3)
    )
    words = ["report", "--user", "--output", str(tmp_path / "page.html")]
    used = min(cpu_of([*home.command, *words], home) for _ in range(3))
    # Relative to reading the records (0.25 s of 1.4 s), because a busy machine slows both.
    assert used < 8 * least
    assert (tmp_path / "page.html").stat().st_size < 2_000_000


def test_status_shows_manual_runs_of_a_job_that_is_not_installed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_history(
        tmp_path / "state/dify-job/daily",
        hourly(datetime.now(UTC), 3, lambda ago: "failed" if ago == 1 else ""),
    )
    home.env = {"STATE_DIRECTORY": str(tmp_path / "state/dify-job/daily")}
    done = home("status", "--user")
    assert "the job is not installed, so nothing starts it" in done.stdout
    assert "[Errno 111] Connection refused" in done.stdout


def test_job_of_the_configuration_is_no_orphan_for_a_caller_with_an_env_file(home: Home) -> None:
    """Otherwise status would suggest to uninstall it."""
    assert home("install", "--user").code == 0
    (home.path / "other.env").write_text("DIFY_API_KEY=app-canary-0123456789\n")
    shown = home("--env-file", str(home.path / "other.env"), "status", "--user").stdout
    assert "uninstall daily" not in shown
    rows = home("--env-file", str(home.path / "other.env"), "status", "--json", "--user").result["jobs"]
    assert {row["job"]: row["sync"] for row in rows} == {"daily": "as configured", "default": "not installed"}
    assert next(row for row in rows if row["job"] == "daily")["schedule"] == "every 2h"


def test_job_of_another_configuration_is_compared_with_that_one(home: Home) -> None:
    """Otherwise a job whose next run fails would be healthy, and the fixes would not work."""
    home.configure(CONFIG + CONFIG.replace("daily", "weekly"))
    assert home("install", "--user").code == 0
    home.configure(CONFIG)
    home.configure(CONFIG.replace("daily", "weekly"), "split.toml")
    split = str(home.path / "config/dify-job/split.toml")

    def job(name: str, *words: str) -> tuple[str, str, str]:
        seen = home(*words, "status", "--user", "--json").result["jobs"]
        shown = home(*words, "status", "--user").stdout
        [sync] = [row["sync"] for row in seen if row["job"] == name]
        doctor = home(*words, "doctor", name, "--user").stdout
        return sync, shown, " ".join(doctor.split())

    sync, shown, _ = job("weekly")
    assert (sync, "dify-job uninstall weekly" in shown) == ("orphan", True)
    sync, shown, doctor = job("weekly", "--config", split)
    assert (sync, f"dify-job --config {split} install weekly" in shown) == ("orphan", True)
    assert "which no longer contains it" in doctor
    assert f"dify-job --config {split} install weekly" in doctor
    assert home("--config", split, "install", "--user").code == 0
    assert job("weekly", "--config", split)[0] == "as configured"
    assert job("weekly")[0] == "as configured"

    home.configure(CONFIG.replace("daily", "weekly").replace("2h", "4h"), "split.toml")
    sync, shown, _ = job("weekly")
    assert (sync, f"dify-job --config {split} install weekly" in shown) == ("outdated", True)
    (home.path / "config/dify-job/split.toml").unlink()
    assert job("weekly")[0] == "orphan"


def test_job_in_a_file_with_an_error_is_not_called_lost(home: Home) -> None:
    """The fix of a lost job moves or removes it."""
    team = home.path / "config/dify-job/config.d/team.toml"
    team.parent.mkdir(parents=True)
    team.write_text(CONFIG.replace("daily", "weekly").replace("{home}", str(home.path)))
    assert home("install", "--user").code == 0
    home.configure(CONFIG.replace("daily", "weekly"), "../other/config.toml")
    other = ("--config", str(home.path / "config/other/config.toml"))
    team.write_text("x")
    for words in ((), other):
        rows = home(*words, "status", "--json", "--user").result["jobs"]
        [row] = [row for row in rows if row["job"] == "weekly"]
        assert (row["sync"], row["healthy"]) == ("as configured", False)
        shown = home(*words, "status", "--user").stdout
        assert "install weekly" not in shown
        fix = f"dify-job --config {home.path}/config/dify-job/config.toml config validate"
        assert fix in shown or not words
    doctor = home(*other, "doctor", "weekly", "--user").stdout
    assert "no longer contains" not in doctor
    assert "but the command that you run now uses" in " ".join(doctor.split())


def test_commands_name_the_configuration_of_a_job_if_the_callers_has_an_error(home: Home) -> None:
    home.configure(CONFIG.replace("daily", "weekly"), "other.toml")
    other = str(home.path / "config/dify-job/other.toml")
    assert home("--config", other, "install", "--user").code == 0
    home.configure(CONFIG.replace("daily", "weekly").replace("2h", "4h"), "other.toml")
    home.configure("x")
    assert f"dify-job --config {other} install weekly" in home("status", "--user").stdout
