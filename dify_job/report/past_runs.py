"""The past runs of jobs, from their state directories; nothing is locked or written there."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..config.model import Config
from ..exit_codes import Outcome
from ..run.state_directory import state_directory
from ..run.unit_records import with_unit_result
from ..schedulers.detect import is_from
from ..schedulers.model import InstalledJob
from ..state.directories import base_of, directory_of
from ..state.history import RunRecord, UnitOutcome, read_history
from ..state.reader import read_abandoned
from ..state.store import InFlight
from ..system.paths import is_missing
from ..system.unit_result import UnitResult

_UNDATED = datetime.min.replace(tzinfo=UTC)
_PRINTED = (
    "job", "call_time", "outcome", "exit_code", "duration_s", "total_tokens", "attempts", "workflow_run_id",
    "message", "hint",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class JobHistory:
    """The runs of one job.

    Attributes:
        job: Its name.
        directory: The state directory, which need not exist.
        runs: All recorded runs, oldest first; empty if they cannot be read.
        error: Why they cannot be read, or None.
        console_url: The address of the app's log in Dify's console, if the job has it.
        abandoned: The run whose process ended without recording an outcome; None if a process still runs.
    """

    job: str
    directory: Path
    runs: tuple[RunRecord, ...] = ()
    error: OSError | None = None
    console_url: str | None = None
    abandoned: InFlight | None = None


def job_history(
    job: str, directory: Path, console_url: str | None = None, unit_result: UnitResult | None = None
) -> JobHistory:
    """Read the history of one job, including the last start of its unit if that has no record.

    Args:
        job: Its name.
        directory: The state directory.
        console_url: The job's setting.
        unit_result: The result of the unit's last process; None if unknown.
    """
    abandoned = read_abandoned(directory, datetime.now(UTC))
    try:
        runs = with_unit_result(read_history(directory), unit_result, abandoned)
    except OSError as error:
        return JobHistory(job, directory, error=error, console_url=console_url, abandoned=abandoned)
    return JobHistory(job, directory, runs, console_url=console_url, abandoned=abandoned)


def find_job(job: str, installed: Sequence[InstalledJob], config: Config | None) -> InstalledJob | None:
    """Return the installed job with a name; None if none is installed.

    Args:
        job: The name.
        installed: The visible installed jobs, the caller's own first.
        config: The caller's configuration, or None; its jobs precede others with the same name.
    """
    named = [one for one in installed if one.job == job]
    of_config = (one for one in named if config is not None and is_from(one, config))
    return next(of_config, named[0] if named else None)


def state_of(job: str, installed: InstalledJob | None, config: Config | None, scope: str | None) -> Path:
    """Return the state directory of a job's runs.

    Args:
        job: Its name.
        installed: The installed job, or None.
        config: The caller's configuration, or None.
        scope: `user`, `system`, or None if the caller names none.
    """
    if installed is not None and not os.environ.get("STATE_DIRECTORY"):
        return installed.state
    if scope is not None:
        return base_of(system=scope == "system") / job
    own = (
        state_directory(config.jobs[job], config.path)
        if config is not None and job in config.jobs
        else directory_of(job, config.path if config is not None else None)
    )
    system = base_of(system=True) / job
    return system if is_missing(own) and os.path.lexists(system) else own


def newest_first(
    histories: Iterable[JobHistory], *, since: datetime | None = None, failed: bool = False
) -> list[RunRecord]:
    """Merge the runs of several jobs by time, each with the name of its job.

    Args:
        histories: The histories of the jobs.
        since: Only runs that began at this time or later, aware.
        failed: Only runs that failed.
    """
    merged = [
        run._replace(job=history.job)
        for history in histories
        for run in history.runs
        if (not failed or has_failed(run)) and (since is None or began_since(run, since))
    ]
    return sorted(merged, key=lambda run: run.began or _UNDATED, reverse=True)


def run_as_json(run: RunRecord) -> dict[str, Any]:
    """Return a run as `history --json` prints it.

    Args:
        run: A record with the name of its job.
    """
    record = run.as_json()
    return {key: record[key] for key in _PRINTED} | {"failed_node": failed_node(run)}


def distinct(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Remove records that a later record of the same workflow run replaces.

    A run that lost its process has two records: of the service manager, and of the process that settled it.

    Args:
        runs: The records, oldest first.
    """
    seen: set[str] = set()
    stored = []
    for run in reversed(runs):
        names = {name for name in (run.run_id, run.call_time) if name}
        if not names & seen:
            stored.append(run)
        seen |= names
    return stored[::-1]


class RunKind(StrEnum):
    """The kind of an outcome, which determines its colour."""

    OK = "ok"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    FAILED = "failed"


def run_kind(run: RunRecord) -> RunKind:
    """Return the kind of a run's outcome; unknown if its process did not end by itself.

    Args:
        run: A record.
    """
    if run.succeeded:
        return RunKind.OK
    if run.skipped:
        return RunKind.SKIPPED
    return (
        RunKind.UNKNOWN
        if run.outcome in (Outcome.UNKNOWN, UnitOutcome.KILLED, UnitOutcome.CRASHED)
        else RunKind.FAILED
    )


def has_failed(run: RunRecord) -> bool:
    """Return whether a run, or a start without a run, failed.

    Args:
        run: A record.
    """
    return not run.succeeded and not run.skipped


def failures_since(runs: Sequence[RunRecord], since: datetime, until: datetime) -> list[RunRecord]:
    """Return the failed runs that began in a period, oldest first, each once.

    Args:
        runs: Of one job, oldest first.
        since: Aware.
        until: Aware; a run of a clock that was far ahead began later.
    """
    failed = filter(has_failed, runs)
    return distinct([run for run in failed if began_since(run, since) and not began_since(run, until)])


def began_since(run: RunRecord, since: datetime) -> bool:
    """Return whether a run began at a time or later.

    Args:
        run: A record; one without a time began before any.
        since: Aware.
    """
    began = run.began
    return began is not None and began >= since


def failed_node(run: RunRecord) -> dict[str, str | None] | None:
    """Return title, type and error of the node at which a run failed; None if unknown.

    Args:
        run: A record.
    """
    node = run.failed_node
    return dict(node) if node is not None and node.get("title") else None
