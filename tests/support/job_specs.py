"""Job specifications, and functions that install, uninstall and pause them."""

import sys
from pathlib import Path

from dify_job.config.model import ScheduleConfig
from dify_job.schedulers import installation
from dify_job.schedulers.backend import Backend, InstallOptions
from dify_job.schedulers.job_spec import JobSpec
from dify_job.schedulers.reconcile import InstallResult


def job_spec(job: str = "daily", **changes: object) -> JobSpec:
    settings = {
        "job": job,
        "description": job,
        "schedule": ScheduleConfig(every=3600.0),
        "config_path": Path("/etc/dify-job/config.toml"),
        "python": Path(sys.executable).resolve(),
        "timeout": 60.0,
        "fingerprint": "0" * 16,
    }
    return JobSpec(**{**settings, **changes})  # type: ignore[arg-type]


def install(scheduler: Backend, *specs: JobSpec, start: bool | None = None) -> tuple[InstallResult, ...]:
    options = InstallOptions(start=start)
    return installation.apply_plan(scheduler, lambda: scheduler.plan_install(specs, options)).results


def uninstall(scheduler: Backend, *jobs: str) -> tuple[InstallResult, ...]:
    return installation.apply_plan(
        scheduler, lambda: scheduler.plan_install((), InstallOptions(), jobs)
    ).results


def pause(scheduler: Backend, job: str, *, paused: bool) -> InstallResult:
    (result,) = installation.apply_plan(scheduler, lambda: scheduler.plan_pause([job], paused=paused)).results
    return result
