"""The description of a job to install."""

import sys
from pathlib import Path

from dify_job.config.model import ScheduleConfig
from dify_job.schedulers.job_spec import JobSpec


def plan(job: str = "daily", **changes: object) -> JobSpec:
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
