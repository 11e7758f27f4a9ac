"""Whose turn it is: the job's lock, and a run that an earlier process left without an end."""

import time

from .. import log
from ..config.model import Job
from ..dify.client import Dify
from ..exits import Outcome, code_of
from ..state import InFlight, JobState, Locked, cannot_write
from ..values import dataclass
from .inbox import Inbox
from .outcome import Verdict
from .pursuit import Pursuit, Terms
from .result import Result
from .stop import cancelled

_BLOCKS_FOR = 20 * 60.0  # seconds after its own deadline: on real servers a record can say `running` for ever
_LOOK_UP = 10.0  # seconds for one look-up of an earlier run
_PAUSE = 0.5


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What is needed to wait for, or refuse, a job's turn. Times are monotonic."""

    job: Job
    state: JobState
    dify: Dify
    key_id: str
    inbox: Inbox
    deadline: float
    network_until: float

    def take(self) -> Verdict | None:
        """Take the lock and settle an earlier run; None when it is our turn, else what the policy says.

        The lock is held until the process ends, or the caller closes it. Raises JobError (cannot-write).
        """
        while True:
            try:
                self.state.lock()
            except Locked as locked:
                if (
                    verdict := self._held(f"another run of this job is under way ({locked.holder})")
                ) is not None:
                    return verdict
            except OSError as error:
                raise cannot_write(self.state.directory, error) from None
            else:
                return self._settle_earlier()

    def _held(self, why: str) -> Verdict | None:
        """The overlap policy's word; None after a wait: try again."""
        if self.job.overlap == "skip":
            return Verdict(Outcome.SKIPPED, f"skipped: {why}")
        now = time.monotonic()
        if self.job.overlap == "fail" or now >= self.deadline:
            return Verdict(Outcome.BUSY, why, 'let it end, or set overlap = "wait" or "skip" in the job')
        cancel = self.inbox.pause(min(self.deadline, now + _PAUSE))
        return cancelled(cancel) if cancel is not None else None

    def _settle_earlier(self) -> Verdict | None:
        earlier = self.state.in_flight()
        while earlier is not None:
            verdict = self._look_up(earlier)
            if verdict.outcome is Outcome.CANCELLED:
                return verdict
            if verdict.outcome is Outcome.UNREACHABLE:
                if time.monotonic() >= self.network_until:
                    return verdict
            elif verdict.outcome is not Outcome.TIMEOUT or earlier.stopped or earlier.overdue(_BLOCKS_FOR):
                self._enter(earlier, verdict)
                return None
            else:
                held = self._held(f"run {verdict.run and verdict.run.run_id} of this job is still under way")
                if held is not None:
                    return held
        return None

    def _look_up(self, earlier: InFlight) -> Verdict:
        why = "its process ended before it did"
        if earlier.base_url != self.job.base_url or earlier.key_id != self.key_id:
            return Verdict(Outcome.UNKNOWN, f"{why}, and the job now calls another app")
        terms = Terms(
            user=earlier.user,
            deadline=min(self.deadline, time.monotonic() + _LOOK_UP),
            idle=self.job.idle_timeout,
            searchable=self.job.end_user is None,
            partial=self.job.partial,
        )
        pursuit = Pursuit(self.dify, self.inbox, terms, noted=lambda *_: None, progress=lambda _: None)
        return pursuit.look_up(earlier.workflow_run_id, why)

    def _enter(self, earlier: InFlight, verdict: Verdict) -> None:
        """Enter the earlier run's end in the history; what is still running then will never be known."""
        if self.job.expect:
            from .expecting import judged  # noqa: PLC0415 - for jobs that expect something

            verdict = judged(verdict, self.job.expect)
        outcome = Outcome.UNKNOWN if verdict.outcome is Outcome.TIMEOUT else verdict.outcome
        log.info("an earlier run was settled", run=earlier.workflow_run_id, outcome=outcome.value)
        result = Result(
            job=self.job.name,
            outcome=outcome,
            exit_code=code_of(outcome),
            message=log.redact(verdict.message),
            hint=verdict.hint,
            call_time=earlier.started,
            attempts=1,
            duration=(verdict.run.elapsed_time if verdict.run else None) or 0.0,
            run=verdict.run,
        )
        try:
            self.state.remember(result.as_record())
            self.state.clear_in_flight()
        except OSError as error:
            raise cannot_write(self.state.directory, error) from None
