"""The system's own commands on jobs that install left behind."""

import time

from .conftest import Host


def test_a_timer_of_two_seconds_runs_the_job_and_the_journal_has_its_fields(host: Host) -> None:
    host.job('calendar = "*:*:0/2"')
    told = host("install").stdout
    assert "daily: installed" in told
    assert "armed" in told
    host.wait(lambda: len(host.server.runs) >= 2)
    host.run("systemctl", "stop", "dify-job-daily.timer")
    host.wait(lambda: host.show("dify-job-daily.service", "ActiveState") == "inactive")
    assert host.show("dify-job-daily.service", "Result") == "success"
    last = host.journal("-u", "dify-job-daily.service", "DIFY_OUTCOME=succeeded")
    assert last, host.run("journalctl", "--no-pager", "-u", "dify-job-daily.service").stdout
    entry = last[-1]
    assert entry["DIFY_JOB"] == "daily"
    assert entry["DIFY_EXIT_CODE"] == "0"
    assert entry["DIFY_WORKFLOW_RUN_ID"] in {run.run_id for run in host.server.runs}
    assert host.journal(f"DIFY_WORKFLOW_RUN_ID={entry['DIFY_WORKFLOW_RUN_ID']}")
    assert host.journal("-u", "dify-job-daily.service", "-p", "err") == []


def test_install_starts_nothing_and_says_what_comes_next(host: Host) -> None:
    host.job('every = "1h"')
    told = host("install", "daily").stdout
    for command in (
        "systemctl start dify-job-daily.service",
        "journalctl -fu dify-job-daily.service",
        "systemctl stop dify-job-daily.service",
        "dify-job uninstall daily",
    ):
        assert command in told
    assert told.splitlines()[-1] == "daily is armed"
    time.sleep(2)
    assert host.server.runs == []
    again = host("install", "daily").stdout
    assert "daily: unchanged" in again
    assert "dify-job-daily.timer" in host.run("systemctl", "list-timers", "--no-pager").stdout
