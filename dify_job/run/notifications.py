"""Who is told of a run besides its caller: a ping, messages, figures. Nothing here changes how it ended."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .. import log
from ..config.model import Job, Notify
from ..exit_codes import Outcome
from ..messages.message import msg
from ..state.history import RunRecord, read_history, summary
from .event_queue import EventQueue
from .notification import Notification, is_told_by_run
from .result import Result

if TYPE_CHECKING:
    from .notifiers import Notifier


class Notifications:
    """What is told of one run of a job.

    by_unit: it was started by a unit of ours, whose handler tells what `run` leaves to it.
    """

    def __init__(self, job: Job, *, by_unit: bool, environ: Mapping[str, str] = os.environ) -> None:
        self._job = job
        self._by_unit = by_unit
        self._notifier = notifier_of(job, rid_of(environ.get("INVOCATION_ID") if by_unit else None))

    def begins(self) -> None:
        """It is the run's turn."""
        if self._job.notify.on_recovery and self._job.state == "none":
            log.warning(msg('on_recovery has no effect with state = "none": earlier runs are not recorded'))
        if self._notifier is not None:
            _harmless(self._notifier.begins)

    def ends(self, result: Result, directory: Path | None, inbox: EventQueue) -> None:
        """The result stands, is kept in `directory` and is with the caller. A skip is nobody's news."""
        if result.outcome is not Outcome.SKIPPED:
            _harmless(lambda: self._end(result, directory, inbox))

    def _end(self, result: Result, directory: Path | None, inbox: EventQueue) -> None:
        job, run = self._job, RunRecord.of(result.as_record())
        before = tuple(one for one in past_of(directory) if one.call_time != run.call_time)
        write_metrics(job, run, before)
        if self._notifier is None:
            return
        if self._by_unit and not is_told_by_run(result.exit_code):
            self._notifier.leaves()
            return
        cancelled = result.outcome is Outcome.CANCELLED
        self._notifier.ends(report_of(job, run, before), _leave_on(inbox, cancelled=cancelled))


def _harmless(tell: Callable[[], None]) -> None:
    """Tell others; whatever goes wrong with it, the run and its result stand."""
    try:
        tell()
    except Exception as error:  # noqa: BLE001 - a fault of ours in this must not become the run's
        log.warning(msg("others could not be told: {name}: {error}", name=type(error).__name__, error=error))


def rid_of(invocation: str | None) -> str:
    """The UUID of a run: its unit's invocation, which the unit's handler knows as well, or a new one."""
    try:
        return str(uuid.UUID(invocation or ""))
    except ValueError:
        return str(uuid.uuid4())


def report_of(job: Job, run: RunRecord, before: tuple[RunRecord, ...]) -> Notification:
    """What others are told of a run, given those before it."""
    failures = summary(before).failures_in_a_row
    return Notification(job=job.name, run=run, failures_before=failures, console=job.console_url)


def write_metrics(job: Job, run: RunRecord, before: tuple[RunRecord, ...]) -> None:
    """Leave the figures of a run where the job wants them; what fails is a warning."""
    if job.metrics.textfile is None:
        return
    from . import metrics  # noqa: PLC0415 - start-up time; few jobs have them

    try:
        metrics.write(job.metrics.textfile, job.name, run, summary((*before, run)))
    except OSError as error:
        log.warning(
            msg("the metrics could not be written: {strerror}", strerror=error.strerror),
            path=str(job.metrics.textfile),
        )


def past_of(directory: Path | None) -> tuple[RunRecord, ...]:
    """The history in a state directory; empty where there is none or it cannot be read."""
    try:
        return read_history(directory) if directory is not None else ()
    except OSError as error:
        log.warning(
            msg("the history could not be read: {strerror}", strerror=error.strerror), path=str(directory)
        )
        return ()


def notifier_of(job: Job, rid: str) -> Notifier | None:
    """Who sends what the job's `notify` wants; None where it wants nothing."""
    if job.notify == Notify():
        return None
    from .notifiers import Notifier  # noqa: PLC0415 - start-up time; few runs have anybody to tell

    return Notifier(job.notify, rid)


def _leave_on(inbox: EventQueue, *, cancelled: bool) -> Callable[[float], bool]:
    """A second signal leaves at once, and so does a person's; a first SIGTERM lets the messages go out."""

    def pause(seconds: float) -> bool:
        heard = inbox.pause(time.monotonic() + seconds)
        return heard is not None and (cancelled or heard.signum == signal.SIGINT)

    return pause
