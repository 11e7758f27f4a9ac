"""Constructed statuses of hosts for the overview page; deterministic."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dify_job.report.job_status import JobStatus, Sync
from dify_job.report.past_runs import JobHistory, failures_since
from dify_job.report.status import HostStatus
from dify_job.schedulers.model import InstalledJob, Scope
from dify_job.state.history import RunRecord, summary
from dify_job.system.managed_files import FileState, FileStatus

from .histories import JOBS, record

NOW = datetime(2026, 1, 31, 7, 30, tzinfo=UTC)


def installed(job: str, **more: Any) -> InstalledJob:
    """Return a job installed with systemd as a system job."""
    values: dict[str, Any] = {
        "backend": "systemd",
        "scope": Scope.SYSTEM,
        "files": {Path(f"/etc/systemd/system/dify-job-{job}.timer"): FileStatus(FileState.MANAGED)},
        "fingerprint": "0" * 16,
        "source": "/etc/dify-job/config.toml",
        "enabled": True,
    }
    return InstalledJob(job=job, **values | more)


def job_status(job: str, records: list[dict[str, Any]], **more: Any) -> JobStatus:
    """Return the status of a job with these records, oldest first."""
    runs = tuple(RunRecord.of(each) for each in records)
    values: dict[str, Any] = {
        "sync": Sync.CONFIGURED,
        "installed": installed(job),
        "schedule": "every 1h",
        "next_runs": tuple(NOW + timedelta(hours=hours, minutes=30) for hours in (0, 1, 2)),
        "last": runs[-1] if runs else None,
        "history": JobHistory(
            job, Path("/nowhere"), runs, console_url=f"https://dify.example.com/app/{job}/logs"
        ),
        "past": summary(runs),
        "failures": tuple(failures_since(runs, NOW - timedelta(days=1), NOW + timedelta(days=1))),
    }
    return JobStatus(job=job, **values | more)


def records(job: str, number: int, *, failed: float = 0.03, last: str = "succeeded") -> list[dict[str, Any]]:
    """Return records of a job, one each 40 minutes, oldest first.

    Args:
        job: Name of the job, which seeds the random values.
        number: Number of records.
        failed: Share of failed runs.
        last: Outcome of the last three runs.
    """
    rng = random.Random(job)
    seconds, tokens = rng.uniform(4, 90), rng.randint(300, 6000)
    found = []
    for ago in range(number, 0, -1):
        bad = rng.random() < failed and ago > 60
        outcome = last if ago <= 3 else rng.choice(["failed", "timeout", "unknown"]) if bad else "succeeded"
        spent = seconds * rng.uniform(0.7, 1.8)
        used = int(tokens * rng.uniform(0.5, 1.6))
        found.append(
            record(NOW - timedelta(minutes=40 * ago), outcome, duration_s=round(spent, 1), total_tokens=used)
        )
    return found


def host(jobs: int, runs: int = 200) -> HostStatus:
    """Return a host with `jobs` jobs of `runs` runs each; of the first ten, two fail."""
    names = [*JOBS, *(f"job-{number:03d}" for number in range(jobs))][:jobs]
    last = {"invoices": "failed", "daily-report": "unreachable"}
    rows = [job_status(name, records(name, runs, last=last.get(name, "succeeded"))) for name in names]
    return HostStatus(
        at=NOW, jobs=tuple(sorted(rows, key=lambda row: list(row.health.__class__).index(row.health)))
    )
