"""A run that an earlier process of the same run id may have begun: looked for in the log before any POST.

What an absent row proves depends on the server: before 1.10 rows come when a run ends, and from 1.13 a run
has none while it is queued. So where an earlier process is known to be lost, nothing is started at all.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from .. import log
from ..dify import models
from ..dify.client import ConnectionLost, DifyClient, InternalError, Message, Reply
from ..dify.models import Event, WorkflowRun
from ..exit_codes import Outcome
from ..messages.message import msg
from .event_queue import Cancel, EventQueue
from .monitor import RunMonitor
from .outcome import End, RunOutcome, decide, unknown
from .poller import CallOptions
from .stop import cancelled

_LOOK_LIMIT = 10.0
_PAUSE = 1.0
_TRIES = 3
_FINAL = frozenset({400, 401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingRunLookup:
    """What is needed to find and follow such a run. Times are monotonic.

    lost: an earlier process ended without a word, so its run may exist. run_id: the id that it left behind.
    noted, progress: as of Pursuit.
    """

    dify: DifyClient
    inbox: EventQueue
    terms: CallOptions
    lost: bool
    run_id: str | None = None
    network_until: float
    noted: Callable[[str | None, str | None, bool], None]
    progress: Callable[[Event], None]

    def take(self) -> RunOutcome | None:
        """The end of the run that was begun earlier; None where there is none, and a POST may begin it."""
        if not self.terms.searchable:
            return (
                unknown(msg("a process was lost, and a fixed end_user hides its run")) if self.lost else None
            )
        run_id = self.run_id
        if run_id is None:
            rows = self._look()
            if isinstance(rows, RunOutcome):
                return rows
            if not rows and not self.lost:
                return None
            run_id = rows[0].run_id if rows else None
        log.info(msg("an earlier process began this run; none is started"), user=self.terms.user, run=run_id)
        pursuit = RunMonitor(self.dify, self.inbox, self.terms, noted=self.noted, progress=self.progress)
        return pursuit.resume(run_id, msg("an earlier process of this run was lost"))

    def _look(self) -> tuple[WorkflowRun, ...] | RunOutcome:
        tries = 0
        while True:
            tries += 1
            call = self.dify.logs(self.terms.user)
            heard = self.inbox.answer_of(call, min(self.terms.deadline, time.monotonic() + _LOOK_LIMIT))
            call.hang_up()
            if isinstance(heard, Cancel):
                return cancelled(heard)
            found = self._read(heard)
            if not isinstance(found, str):
                return found
            again = time.monotonic() + _PAUSE
            if again >= self.terms.deadline or (tries >= _TRIES and again >= self.network_until):
                from .connection_hints import connection_error_hint  # noqa: PLC0415 - after a fault only

                return RunOutcome(
                    Outcome.UNREACHABLE,
                    msg(
                        "the server could not be asked whether this run was begun before: {found}; none was",
                        found=found,
                    ),
                    connection_error_hint(found),
                )
            if (cancel := self.inbox.pause(again)) is not None:
                return cancelled(cancel)

    def _read(self, message: Message | None) -> tuple[WorkflowRun, ...] | RunOutcome | str:
        """The runs of this user, a refusal that is final, or why it could not be told."""
        match message:
            case InternalError(error=error):
                raise error
            case ConnectionLost(reason=reason):
                return reason
            case Reply(status=404):
                return ()  # a server without logs; whether the address is right the POST will tell
            case Reply(status=200, body=body):
                rows = models.read_logs(body, self.terms.user)
                return msg("the answer is no page of Dify's log") if rows is None else rows
            case Reply() as reply if reply.status in _FINAL:
                refusal = models.read_refusal(reply.status, reply.headers, reply.body)
                return decide(End(refusal=refusal), workflow_id=self.terms.workflow_id)
            case Reply(status=status):
                return f"HTTP {status}"
        return msg("no answer came")
