"""`systemctl start` always runs a job: max_late and intervals only skip starts by the timer."""

import time

import pytest

from .conftest import Host


@pytest.mark.since(252)  # TRIGGER_UNIT
def test_manual_start_ignores_max_late(host: Host) -> None:
    host.job('calendar = "*-*-* 00:00:00 UTC"\nmax_late = "1min"')
    assert "systemctl start dify-job-daily.service" in host("install").stdout
    host.run("systemctl", "start", "dify-job-daily.service")
    assert len(host.server.runs) == 1
    assert host.journal("-u", "dify-job-daily.service", "DIFY_OUTCOME=succeeded")


@pytest.mark.since(252)
def test_manual_start_ignores_an_interval_that_is_not_due(host: Host) -> None:
    host.job('every = "7h"')
    host("install")
    host.run("systemctl", "start", "dify-job-daily.service")
    host.run("systemctl", "start", "dify-job-daily.service")
    assert len(host.server.runs) == 2


@pytest.mark.since(252)
def test_timer_of_an_interval_that_is_not_due_starts_no_run(host: Host) -> None:
    host.job('every = "7h"')
    host("install")
    host.machine.write(
        "/etc/systemd/system/dify-job-daily.timer.d/often.conf", "[Timer]\nOnCalendar=*:*:0/2\n"
    )
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", "dify-job-daily.timer")
    host.wait(lambda: host.journal("-u", "dify-job-daily.service", "DIFY_OUTCOME=skipped"))
    time.sleep(3)
    host.run("systemctl", "stop", "dify-job-daily.timer")
    assert host.server.runs == []
    assert host.journal("-u", "dify-job-daily.service", "-p", "err") == []
