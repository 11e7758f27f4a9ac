"""Whose turn it is: the job's lock, and a run that an earlier process left without an end."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import log
from ..dify.client import DifyClient
from ..exit_codes import Outcome
from ..messages.message import msg
from ..state.store import InFlight, JobState, LockHeld, cannot_write
from ..system.values import dataclass, replace
from .event_queue import Cancel, EventQueue
from .monitor import RunMonitor
from .outcome import RunOutcome
from .poller import CallOptions
from .result import result_of
from .stop import cancelled

if TYPE_CHECKING:
    from .run_spec import RunSpec

_POLICY = msg('let it end, or set overlap = "wait" or "skip" in the job')
_BLOCKS_FOR = 20 * 60.0  # seconds after its own deadline: on real servers a record can say `running` for ever
_LOOK_UP = 10.0  # seconds for one look-up of an earlier run
_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # between tries for the lock; between looks at an earlier run
_NOT_LOOKED_UP = (Outcome.CANCELLED, Outcome.DENIED, Outcome.CONFIG)


class _LookUp(RunMonitor):
    """Finds out about a run of an earlier process, and never stops it; else it is as Records.so_far says."""

    def _begin_stop(self, cancel: Cancel | None) -> RunOutcome:
        return cancelled(cancel) if cancel else self._so_far()

    def _untold(self) -> RunOutcome | None:
        return self._so_far() if self._records.refused else None

    def _still_running(self) -> RunOutcome:
        return self._so_far()

    def _join(self) -> None:
        """Its events would bring it no sooner to an end."""

    def _so_far(self) -> RunOutcome:
        return self._records.so_far(self._lost, under_way=self._known_running)


@dataclass(frozen=True)
class ConcurrencyGuard:
    """What it takes to wait for, or refuse, a run's turn; what is left of that run is not an earlier one."""

    request: "RunSpec"
    state: JobState
    dify: DifyClient
    inbox: EventQueue

    def take(self) -> RunOutcome | None:
        """Take the lock and settle an earlier run; None when it is our turn, else what the policy says.

        The lock is held until the process ends, or the caller closes it. Raises JobError (cannot-write).
        """
        while True:
            try:
                self.state.lock()
            except LockHeld as locked:
                why = msg("another run of this job is under way ({holder})", holder=locked.holder)
                if (verdict := self._held(why)) is not None:
                    return verdict
            except OSError as error:
                raise cannot_write(self.state.directory, error) from None
            else:
                return self._settle_earlier()

    def _held(self, why: str, pause: float = _PAUSE, hint: str = _POLICY) -> RunOutcome | None:
        """The overlap policy's word; None after a wait: try again."""
        if self.request.job.overlap == "skip":
            return RunOutcome(Outcome.SKIPPED, msg("skipped: {why}", why=why))
        now = time.monotonic()
        if self.request.job.overlap == "fail" or now >= self.request.deadline:
            return RunOutcome(Outcome.BUSY, why, hint)
        cancel = self.inbox.pause(min(self.request.deadline, now + pause))
        return cancelled(cancel) if cancel is not None else None

    def _settle_earlier(self) -> RunOutcome | None:
        earlier = self.state.in_flight()
        pause = _PAUSE
        while earlier is not None and earlier.run != self.request.run:
            verdict = self._look_up(earlier)
            if verdict.outcome in _NOT_LOOKED_UP:
                return verdict
            if verdict.outcome is Outcome.UNREACHABLE:
                if time.monotonic() >= self.request.network_until:
                    return verdict
            elif verdict.outcome is not Outcome.TIMEOUT or earlier.stopped or earlier.overdue(_BLOCKS_FOR):
                self._enter(earlier, verdict)
                return None
            elif (held := self._held_by(earlier, verdict, pause)) is not None:
                return held
            else:
                pause = min(_LONGEST_PAUSE, 2 * pause)
        return None

    def _held_by(self, earlier: InFlight, verdict: RunOutcome, pause: float) -> RunOutcome | None:
        name = (
            msg("run {run_id}", run_id=verdict.run.run_id)
            if verdict.run
            else msg("a run whose id is not known")
        )
        end = f"{earlier.overdue_at(_BLOCKS_FOR):%Y-%m-%d %H:%M}"
        hint = msg("its process is gone; let it end: it is waited for until {end} at the longest", end=end)
        return self._held(msg("{name} of this job may still be under way", name=name), pause, hint)

    def _look_up(self, earlier: InFlight) -> RunOutcome:
        why = msg("its process ended before it did")
        if earlier.base_url != self.request.job.base_url:
            return RunOutcome(Outcome.UNKNOWN, msg("{why}, and the job now calls another server", why=why))
        terms = CallOptions(
            user=earlier.user,
            deadline=min(self.request.deadline, time.monotonic() + _LOOK_UP),
            idle=self.request.job.idle_timeout,
            searchable=earlier.user.endswith(earlier.run),
            partial=self.request.job.partial,
        )
        look_up = _LookUp(self.dify, self.inbox, terms, noted=lambda *_: None, progress=lambda _: None)
        return look_up.resume(earlier.workflow_run_id, why)

    def _has_entered(self, record: Mapping[str, Any]) -> bool:
        """True where the process that began a run had entered this end of it before it was killed."""
        same = ("workflow_run_id", "outcome")
        return record["workflow_run_id"] is not None and any(
            all(entry.get(key) == record[key] for key in same) for entry in self.state.history()[-2:]
        )

    def _enter(self, earlier: InFlight, verdict: RunOutcome) -> None:
        """Enter the earlier run's end in the history; what is still running then will never be known."""
        if self.request.job.expect:
            from .assertions import apply_assertions  # noqa: PLC0415 - for jobs that expect something

            verdict = apply_assertions(verdict, self.request.job.expect)
        outcome = Outcome.UNKNOWN if verdict.outcome is Outcome.TIMEOUT else verdict.outcome
        log.info(msg("an earlier run was settled"), run=earlier.workflow_run_id, outcome=outcome.value)
        result = result_of(
            replace(verdict, outcome=outcome),
            self.request.job.name,
            call_time=earlier.started,
            attempts=1,
            duration=(verdict.run.elapsed_time if verdict.run else None) or 0.0,
        )
        record = result.as_record()
        try:
            if outcome is Outcome.UNKNOWN or not self._has_entered(record):
                self.state.remember(record)
            self.state.clear_in_flight()
        except OSError as error:
            raise cannot_write(self.state.directory, error) from None
