"""The context of a job's checks: which installation it has."""

from pathlib import Path

from dify_job.checks import scheduler
from dify_job.checks.context import HostContext
from dify_job.checks.finding import Severity
from dify_job.config.model import Config
from dify_job.schedulers.cron import UserCrontab
from dify_job.schedulers.model import InstalledJob, Scope
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
