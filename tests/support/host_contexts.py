"""Contexts of checks, from values in place of a host."""

from datetime import UTC, datetime
from pathlib import Path

from dify_job.checks.context import HostContext
from dify_job.config.model import Config, Job, KeySource
from dify_job.dify.app_info import AppProbe
from dify_job.schedulers.cron import UserCrontab
from dify_job.schedulers.model import InstalledJob, Scope

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


def make_job(base_url: str = "https://dify.example.com/v1", **settings: object) -> Job:
    return Job(name="daily", base_url=base_url, key=KeySource(), **settings)  # type: ignore[arg-type]


def context_of(job: Job, app: AppProbe | None = None) -> HostContext:
    """Return the context of a job that is not installed.

    Args:
        job: The job.
        app: The answer of its server.
    """
    config = Config(path=None, files=(), jobs={})
    context = HostContext(job=job, config=config, scheduler=UserCrontab(Scope.USER), now=NOW)
    vars(context).update(app=app, key=None)
    return context


def installed_context_of(job: Job, python: Path | None = None) -> HostContext:
    """Return the context of a job in the user's crontab.

    Args:
        job: The job.
        python: The interpreter of its crontab entry.
    """
    scheduler = UserCrontab(Scope.USER)
    one = InstalledJob(
        job=job.name, backend="cron", scope=Scope.USER, files={}, fingerprint="", source="", python=python
    )
    config = Config(path=None, files=(), jobs={})
    return HostContext(job=job, config=config, scheduler=scheduler, now=NOW, installed=((scheduler, one),))
