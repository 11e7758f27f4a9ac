"""Text of `status`: 80 columns, in both languages."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from dify_job.exit_codes import Outcome
from dify_job.messages.command import Reader
from dify_job.messages.errors import JobError
from dify_job.messages.message import msg
from dify_job.report.job_status import Health, JobStatus, Sync, configured_status
from dify_job.report.page import render_page
from dify_job.report.past_runs import JobHistory
from dify_job.report.status import HostStatus
from dify_job.report.status_text import failure_text, status_lines
from dify_job.report.text import Terminal, columns_of
from dify_job.schedulers.model import Scope
from tests.support.histories import record
from tests.support.statuses import NOW, host, installed, job_status, records

pytestmark = pytest.mark.usefixtures("english")
LONG = "a-job-with-a-name-of-forty-eight-characters-here"


def lines_of(*jobs: JobStatus, **more: Any) -> list[str]:
    seen = HostStatus(at=NOW, jobs=jobs, **more)
    return status_lines(seen, Terminal(columns=80), Reader(lacks_root=True))


def text_of(*jobs: JobStatus, **more: Any) -> str:
    return "\n".join(lines_of(*jobs, **more))


def past(*outcomes: str) -> list[dict[str, Any]]:
    """Return records one hour apart; the last one is an hour old."""
    return [
        record(NOW - timedelta(hours=len(outcomes) - place), outcome)
        for place, outcome in enumerate(outcomes)
    ]


@pytest.mark.parametrize("language", ["C", "zh_CN.UTF-8"])
def test_status_fits_80_columns(monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    monkeypatch.setenv("LC_ALL", language)
    jobs = (
        *host(10).jobs,
        job_status("running", records("running", 20), running=True, running_since=NOW - timedelta(minutes=2)),
        job_status("paused", records("p", 20), installed=installed("paused", paused=True)),
        job_status(LONG[:-1], past("cannot-write"), sync=Sync.OUTDATED, other_problems=("x " * 80,)),
        configured_status("absent", None, NOW),
    )
    text = text_of(
        *jobs, config_errors=(("/etc/dify-job/config.d/x.toml", JobError(Outcome.CONFIG, "y " * 90)),)
    )
    assert [line for line in text.split("\n") if columns_of(line) > 80] == []
    assert LONG in text
    assert ("未安装" in text) == language.startswith("zh")


@pytest.mark.parametrize("language", ["C", "zh_CN.UTF-8"])
@pytest.mark.parametrize("columns", [60, 66])
def test_status_fits_a_narrow_terminal_with_all_headings(
    monkeypatch: pytest.MonkeyPatch, language: str, columns: int
) -> None:
    monkeypatch.setenv("LC_ALL", language)
    rows = (job_status("a-name", past("cannot-write")), job_status(LONG[:-1], past("succeeded")))
    lines = status_lines(HostStatus(at=NOW, jobs=rows), Terminal(columns=columns), Reader())
    assert [line for line in lines if columns_of(line) > columns] == []
    whole = status_lines(HostStatus(at=NOW, jobs=rows), Terminal(columns=100), Reader())
    for heading in whole[1].split():
        assert heading in "\n".join(lines[:4])


def test_command_in_a_text_stays_on_one_line() -> None:
    hidden = JobHistory("a", Path("/var/lib/dify-job/a"), error=PermissionError(13, "Permission denied"))
    job = replace(job_status("a", []), history=hidden, past=None)
    for columns in range(40, 100):
        lines = status_lines(
            HostStatus(at=NOW, jobs=(job,)), Terminal(columns=columns), Reader(lacks_root=True)
        )
        assert any("sudo dify-job status" in line for line in lines)


def test_job_with_an_unreadable_history_is_unknown() -> None:
    hidden = JobHistory("a", Path("/var/lib/dify-job/a"), error=PermissionError(13, "Permission denied"))
    unknown = replace(job_status("a", []), history=hidden, past=None)
    assert unknown.health is Health.UNKNOWN
    assert unknown.healthy  # it is not known to need attention
    assert text_of(unknown).startswith("1 job: 1 unknown")
    assert "\n? a " in text_of(unknown)
    assert replace(unknown, running=True).health is Health.RUNNING
    assert replace(unknown, other_problems=("x",)).health is Health.ATTENTION
    failed = job_status("a", past("failed")).last  # systemd shows the result of the unit to every user
    assert replace(unknown, last=failed).health is Health.FAILING


def test_hint_that_is_a_command_is_shown_as_a_command() -> None:
    argv = ["chmod", "600", "/k" * 60]
    row = job_status("a", [record(NOW, "cannot-write", hint=" ".join(argv), hint_data={"argv": argv})])
    lines = status_lines(HostStatus(at=NOW, jobs=(row,)), Terminal(colours=True), Reader())
    assert lines[-2:] == [f"    \x1b[1m{' '.join(argv)}\x1b[0m", "    \x1b[1mdify-job logs a\x1b[0m"]


def test_screen_that_is_too_small_shows_every_job_and_the_reasons_of_the_worst() -> None:
    jobs = [job_status(f"job-{number}", past("failed", "failed")) for number in range(8)]
    seen, reader = HostStatus(at=NOW, jobs=tuple(jobs)), Reader()
    whole = status_lines(seen, Terminal(), reader)
    assert status_lines(seen, Terminal(), reader, most=len(whole)) == whole
    for most in range(12, len(whole)):
        lines = status_lines(seen, Terminal(), reader, most=most)
        assert len(lines) <= most
        assert all(any(line.startswith(f"✗ {job.job} ") for line in lines) for job in jobs)
        assert lines[-1] == f"{len(whole) - len(lines) + 1} more lines do not fit on the screen"
    assert "    dify-job logs job-0" in status_lines(seen, Terminal(), reader, most=18)
    assert len(status_lines(seen, Terminal(), reader, most=5)) == 5


def test_failing_job_has_reason_time_and_hint() -> None:
    text = text_of(job_status("invoices", past("succeeded", "failed", "failed")))
    assert "✗ invoices  failed (80)      1h " in text
    assert 'failed at "Summarise" (llm): [Errno 111] Connection refused' in text
    assert "2 failures in a row; last success: 2026-01-31 04:30:00" in text
    assert "    sudo dify-job logs invoices" in text.split("\n")
    assert "       ✓✗✗" in text


def test_job_with_an_error_in_its_config_is_configured() -> None:
    row = replace(configured_status("bad", None, NOW), config_error="its configuration has a mistake")
    text = text_of(row)
    assert "neither" not in text
    assert "    dify-job config validate" in text.split("\n")


def test_recent_failure_needs_attention_even_after_a_success() -> None:
    row = job_status("mails", past("failed", "succeeded"))
    assert (row.health, row.healthy) == (Health.ATTENTION, False)
    text = text_of(row)
    assert "! mails  succeeded" in text
    assert "a run failed at 2026-01-31 05:30:00" in text
    assert "sudo dify-job history mails --failed --since yesterday" in text


def test_worst_states_are_counted_first() -> None:
    text = text_of(job_status("a", past("failed")), job_status("b", past("succeeded")))
    assert text.startswith("2 jobs: 1 failing, 1 ok  ")
    assert text.split("\n")[0].endswith(f"{NOW.astimezone():%Y-%m-%d %H:%M:%S %Z}")


def test_running_job_shows_elapsed_and_usual_time() -> None:
    row = job_status("a", past("succeeded"), running=True, running_since=NOW - timedelta(seconds=125))
    assert row.health is Health.RUNNING
    assert "running for 2min 5s (usually 12.3s)" in text_of(row)
    assert "a run is in progress" in text_of(replace(row, running_since=None))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sync": Sync.OUTDATED}, "sudo dify-job install a"),
        ({"sync": Sync.EDITED}, "sudo dify-job install a --diff"),
        ({"sync": Sync.ORPHAN}, "sudo dify-job uninstall a"),
        ({"other_problems": ("its timer is masked",)}, "its timer is masked"),
        ({"config_error": "broken"}, "the job's configuration has an error (shown above)"),
        ({"installed": installed("a", paused=True)}, "paused"),
        ({"installed": installed("a", enabled=False)}, "not enabled"),
    ],
)
def test_state_has_a_hint(more: dict[str, Any], words: str) -> None:
    assert words in text_of(job_status("a", past("succeeded"), **more))


def test_broken_configuration_is_reported_once_at_the_top() -> None:
    rows = [job_status(name, past("succeeded"), config_error="bad key") for name in ("a", "b", "c")]
    text = text_of(*rows, config_errors=(("/c.toml", JobError(Outcome.CONFIG, "/c.toml:3: bad key")),))
    assert text.startswith("! the configuration has an error: /c.toml:3: bad key\n")
    assert text.count("bad key") == 1


def test_colours_follow_the_terminal() -> None:
    seen = HostStatus(at=NOW, jobs=(job_status("a", past("failed", "succeeded", "unknown")),))
    plain = status_lines(seen, Terminal(columns=80), Reader())
    colourful = status_lines(seen, Terminal(columns=80, colours=True), Reader())
    assert "\x1b" not in "".join(plain)
    assert [columns_of(line) for line in colourful] == [columns_of(line) for line in plain]
    assert "\x1b[31m✗\x1b[0m" in "".join(colourful)
    ascii_only = status_lines(seen, Terminal(columns=80, utf8=False), Reader())
    assert "".join(ascii_only).isascii()


def test_control_characters_of_a_record_are_escaped() -> None:
    bad = record(NOW - timedelta(hours=1), "failed") | {"outcome": "\x1b[2Jx\x9b", "message": "\x1b]0;x\x07"}
    text = text_of(job_status("a", [bad]))
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "\\x1b]0;x\\x07" in text


def test_json_is_the_same_in_every_language(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = host(3)
    english = seen.as_json()
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert seen.as_json() == english
    row = english["jobs"][1]
    assert row["job"] == "invoices"
    assert row["last"]["failed_node"]["title"] == "Summarise"
    assert (row["health"], row["enabled"], row["failures_since_yesterday"]) == ("failing", True, 3)
    assert len(row["recent"]) == 10


def test_rows_of_one_name_have_distinct_labels_and_an_order_of_their_own() -> None:
    of_machine = job_status("daily", past("failed"), installed=installed("daily"))
    own = job_status("daily", past("succeeded"), installed=installed("daily", scope=Scope.USER))
    by_cron = job_status("daily", past("succeeded"), installed=installed("daily", backend="cron"))
    other = job_status("other", past("succeeded"))
    for jobs in permutations((of_machine, own, by_cron, other)):
        seen = HostStatus(at=NOW, jobs=jobs)
        rows = seen.as_json()["jobs"]
        assert [(row["job"], row["scope"], row["backend"]) for row in rows] == [
            ("daily", "system", "cron"),
            ("daily", "system", "systemd"),
            ("daily", "user", "systemd"),
            ("other", "system", "systemd"),
        ]
    text = text_of(of_machine, own, by_cron, other)
    assert "✗ daily (system, systemd)" in text
    assert "✓ daily (user, systemd)" in text
    assert "✓ other " in text
    page = render_page(seen, host="h")
    for anchor in ("job-daily-system-systemd", "job-daily-user-systemd", "job-other"):
        assert page.count(f'id="{anchor}"') == 1
        assert f'href="#{anchor}"' in page


@pytest.mark.parametrize("title", ["LLM", "a", "workflow"])
def test_failure_names_the_node_unless_the_message_does(title: str) -> None:
    node = {"title": title, "type": "llm", "error": "no"}
    named = msg('workflow failed at "{title}" ({type}): {why}', title=title, type="llm", why="no")
    assert failure_text(named, node) == named
    unnamed = msg("a workflow that calls an LLM ended")
    assert failure_text(unnamed, node) == f'at "{title}": a workflow that calls an LLM ended'
    assert failure_text(msg("stopped: {how}", how=named), node) == f"stopped: {named}"
