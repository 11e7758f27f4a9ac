"""Text of the overview page; tests/browser tests it in a browser."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dify_job.exit_codes import Outcome
from dify_job.messages.command import command
from dify_job.messages.errors import JobError
from dify_job.messages.message import msg
from dify_job.report.job_status import configured_status
from dify_job.report.page import render_page
from dify_job.report.past_runs import JobHistory
from dify_job.report.status import HostStatus
from tests.support.histories import record
from tests.support.statuses import NOW, host, installed, job_status, records


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


def test_page_names_why_a_job_has_no_next_run() -> None:
    paused = job_status("a", [], installed=installed("a", paused=True))
    page = render_page(replace(host(1), jobs=(paused, configured_status("b", None, NOW))), host="h")
    assert re.findall(r"Next run</dt><dd[^>]*>([^<]*)</dd>", page) == ["paused", "not installed"]


def test_page_is_in_the_language_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    mistake = JobError(
        Outcome.CONFIG,
        msg("the configuration file {path} is not TOML: {error}", path="/c.toml", error="x"),
        msg(
            "correct the configuration file, then check it: {command}",
            command=command("dify-job", "config", "validate"),
        ),
    )
    row = job_status("a", [record(NOW)], schedule=msg("every {timespan_text}", timespan_text="2h"))
    page = render_page(replace(host(1), jobs=(row,), config_errors=(("/c.toml", mistake),)), host="h")
    assert "/c.toml 不是 TOML" in page
    assert "dify-job config validate" in page
    assert "每 2h" in page


def cells_of(page: str) -> list[int]:
    """Return the number of cells in each strip of a page."""
    strips = re.findall(r'<svg class="strip".*?</svg>', page, re.DOTALL)
    return [strip.count("<title>") for strip in strips]


@pytest.mark.parametrize("number", [1, 3, 12, 60, 200])
def test_strip_has_the_width_of_its_runs_and_names_the_first(number: int) -> None:
    row = job_status("a", records("a", number))
    page = render_page(HostStatus(at=NOW, jobs=(row,)), host="h")
    shown = min(number, 60)
    first = NOW - timedelta(minutes=40 * shown)
    assert cells_of(page) == [shown]
    assert f"{shown} run" in page
    assert f"since {first.astimezone():%Y-%m-%d %H:%M:%S}" in page
    assert f'viewBox="0 0 {max(shown, 10) * 8} 46"' in page


def test_charts_of_days_begin_with_the_first_run() -> None:
    young = HostStatus(at=NOW, jobs=(job_status("a", records("a", 3)),))
    page = render_page(young, host="h", days=30)
    assert f"<span>{NOW.date() - timedelta(days=6)}</span><span>{NOW.date()}</span>" in page
    assert "tokensday" not in page[page.index("<body>") :], "one day is a number, not a chart"
    old = HostStatus(at=NOW, jobs=(job_status("a", records("a", 500)),))
    assert f"<span>{NOW.date() - timedelta(days=7)}</span>" in render_page(old, host="h", days=7)
    older = HostStatus(at=NOW, jobs=(job_status("a", [record(NOW - timedelta(days=20))]),))
    assert f"<span>{NOW.date() - timedelta(days=20)}</span>" in render_page(older, host="h", days=30)


def test_job_without_runs_has_no_chart() -> None:
    page = render_page(HostStatus(at=NOW, jobs=(job_status("a", []),)), host="h")
    assert "no runs yet" in page
    assert cells_of(page) == []


def test_every_time_of_the_page_is_absolute_and_every_exit_code_is_labelled() -> None:
    seen = host(10)
    page = render_page(seen, host="h")
    body = page[page.index("<body>") :]
    assert not re.search(r"\bago\b|\bin \d+(?:s|min|h)\b", body)
    assert "failed (exit 80)" in body
    assert not re.search(r"\w \(\d+\)", re.sub(r"Failures .*", "", body))
    times = re.findall(r"\d\d:\d\d(?::\d\d)?[^\"<]{0,4}", re.sub(r'datetime="[^"]*"', "", body))
    zone = f"{NOW.astimezone():%Z}"
    assert [at for at in times if not at.endswith(f" {zone}")] == []


def test_commands_of_the_page_name_the_configuration() -> None:
    page = render_page(host(1), host="h", config_options=("--config", "/srv/x.toml"))
    assert "sudo dify-job --config /srv/x.toml logs" in page
