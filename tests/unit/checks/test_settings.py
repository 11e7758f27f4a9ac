"""Checks of settings against the host."""

import time
import venv
from datetime import UTC
from pathlib import Path

import pytest

from dify_job.checks import settings
from dify_job.checks.context import HostContext
from dify_job.checks.finding import Severity
from dify_job.config.model import Config, Notify, ScheduleConfig
from dify_job.schedulers.cron import Cron, CronFiles, UserCrontab
from dify_job.schedulers.model import Scope
from tests.support.host_contexts import NOW, context_of, installed_context_of, make_job


def test_notifications_need_apprise_in_the_interpreter_of_the_job(tmp_path: Path) -> None:
    urls = tmp_path / "urls"
    urls.write_text("json://localhost\n")
    urls.chmod(0o600)
    venv.create(tmp_path / "other", symlinks=True)
    job = make_job(notify=Notify(on_failure=(f"apprise-url-from-file:{urls}",)))
    check = settings.check_apprise(installed_context_of(job))
    assert check is not None
    assert check.severity is Severity.OK, "these tests have it"
    other = tmp_path / "other/bin/python"
    check = settings.check_apprise(installed_context_of(job, other))
    assert check is not None
    assert (check.severity, check.message) == (
        Severity.WARN,
        f"nobody will be notified: the Python environment of {other} does not contain apprise",
    )
    assert check.fix == f"python3 -m pip --python {other} install apprise"


def test_missing_zone_data_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "_ZONEINFO", tmp_path)
    zoned = make_job(schedule=ScheduleConfig(calendar=("07:00",), timezone="Asia/Shanghai"))
    assert settings.check_zone(context_of(zoned)).severity is Severity.FAIL
    named = make_job(schedule=ScheduleConfig(calendar=("07:00 Europe/Berlin",)))
    assert "Europe/Berlin" in settings.check_zone(context_of(named)).message
    (tmp_path / "Asia").mkdir()
    (tmp_path / "Asia/Shanghai").touch()
    assert settings.check_zone(context_of(zoned)).severity is Severity.OK
    assert settings.check_zone(context_of(make_job())).severity is Severity.OK


def test_time_of_the_machine_does_not_depend_on_tz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dify_job.schedule.zones.zone_of", lambda _: UTC)
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        message = settings.check_zone(context_of(make_job())).message
    finally:
        monkeypatch.undo()
        time.tzset()
    assert message.endswith(f"this machine's time is {NOW:%H:%M} UTC")


@pytest.mark.parametrize(
    ("scheduler", "run_as", "accepted"),
    [
        (UserCrontab(Scope.SYSTEM), None, True),
        (UserCrontab(Scope.SYSTEM), "root", True),
        (UserCrontab(Scope.SYSTEM), "nobody", False),
        (CronFiles(), "nobody", True),
    ],
)
def test_crontab_of_root_starts_no_job_as_another_user(
    scheduler: Cron, run_as: str | None, accepted: bool
) -> None:
    config = Config(path=None, files=(), jobs={})
    context = HostContext(job=make_job(run_as=run_as), config=config, scheduler=scheduler, now=NOW)
    problem = settings.check_run_as(context)
    assert (problem is None) is accepted
    assert problem is None or "cannot start the job as nobody" in problem.message
