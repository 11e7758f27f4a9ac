"""Text of the overview page; tests/browser tests it in a browser."""

from dataclasses import replace
from pathlib import Path

import pytest

from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from dify_job.messages.message import msg
from dify_job.messages.problem import command
from dify_job.report.page import render_page
from dify_job.report.past_runs import JobHistory
from tests.support.histories import record
from tests.support.statuses import NOW, host, job_status


def test_page_without_permission_reports_missing_results() -> None:
    seen = host(2)
    hidden = JobHistory("a", Path("/var/lib/dify-job/a"), error=PermissionError(13, "Permission denied"))
    rows = [replace(job_status("a", []), history=hidden, past=None), *seen.jobs]
    page = render_page(replace(seen, jobs=tuple(rows)), host="h")
    assert "you have no permission to read the runs of 1 of 3 jobs" in page
    assert "sudo dify-job report --output report.html" in page
    alone = render_page(replace(seen, jobs=tuple(rows[:1])), host="h")
    assert "No run failed" not in alone
    assert "Nothing needs attention" not in alone
    assert "no runs yet" not in alone
    assert "<b>" in alone
    assert ">0<" not in alone, "neither runs nor tokens nor failures are counted"
    assert "no permission" not in render_page(seen, host="h")


def test_page_is_in_the_language_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    mistake = JobError(
        Outcome.CONFIG,
        msg("{path} is not TOML: {error}", path="/c.toml", error="x"),
        msg("fix it, then run: {command}", command=command("dify-job", "config", "validate")),
    )
    row = job_status("a", [record(NOW)], schedule=msg("every {timespan_text}", timespan_text="2h"))
    page = render_page(replace(host(1), jobs=(row,), config_errors=(("/c.toml", mistake),)), host="h")
    assert "/c.toml 不是 TOML" in page
    assert "dify-job config validate" in page
    assert "每 2h" in page
