"""The context of a job's checks: which installation it has."""

from pathlib import Path

import pytest

from dify_job.checks import scheduler
from dify_job.checks.context import HostContext
from dify_job.checks.finding import Severity
from dify_job.config.model import Config
from dify_job.schedulers import systemctl
from dify_job.schedulers.cron import UserCrontab
from dify_job.schedulers.model import InstalledJob, Scope, Unit
from dify_job.schedulers.systemd import Systemd
from tests.support.host_contexts import NOW, make_job


def test_jobs_of_one_name_are_the_same_only_with_the_same_config(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    config = Config(path=path, files=(path,), jobs={})

    def installed(scope: Scope, source: Path) -> tuple[UserCrontab, InstalledJob]:
        one = InstalledJob(
            job="daily",
            backend="cron",
            scope=scope,
            files={},
            fingerprint="",
            source=str(source),
            enabled=True,
        )
        return UserCrontab(scope), one

    mine = installed(Scope.USER, path)
    machines = installed(Scope.SYSTEM, Path("/etc/dify-job/config.toml"))
    case = HostContext.of(make_job(), config, [mine, machines], NOW)
    assert [one for _, one in case.installed] == [mine[1]]
    both = HostContext.of(make_job(), config, [mine, installed(Scope.SYSTEM, path)], NOW)
    check = scheduler.check_sync(both)
    assert check is not None
    assert check.severity is Severity.FAIL
    assert (
        check.message
        == "the job is installed twice (cron (user) and cron (system)), so it runs twice each time"
    )
    elsewhere = HostContext.of(make_job(), config, [machines], NOW)
    assert elsewhere.installed_job == machines[1]


def test_timer_that_dify_job_did_not_install_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemctl, "version", lambda: 252)
    shown = {"dify-job-daily.timer": Unit({"LoadState": "loaded", "FragmentPath": "/usr/lib/x.timer"})}
    monkeypatch.setattr(systemctl.Manager, "show", lambda *_: shown)
    config = Config(path=None, files=(), jobs={})
    context = HostContext(job=make_job(), config=config, scheduler=Systemd(Scope.SYSTEM), now=NOW)
    problem = scheduler.check_sync(context)
    assert problem is not None
    assert problem.message == "dify-job did not install the job, but the timer /usr/lib/x.timer exists"
    shown.clear()
    problem = scheduler.check_sync(context)
    assert problem is not None
    assert "so nothing starts it" in problem.message
