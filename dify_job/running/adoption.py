"""A run that an earlier process of the same run id may have begun: looked for in the log before any POST.

What an absent row proves depends on the server: before 1.10 rows come when a run ends, and from 1.13 a run
has none while it is queued. So where an earlier process is known to be lost, nothing is started at all.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from .. import log
from ..dify import dialects
from ..dify.client import Broken, Crashed, Dify, Message, Reply
from ..dify.dialects import Event, WorkflowRun
from ..exits import Outcome
from .inbox import Cancel, Inbox
from .outcome import End, Verdict, decide, unknown
from .pursuit import Pursuit
from .records import Terms
from .stop import cancelled

_LOOK_LIMIT = 10.0
_PAUSE = 1.0
_TRIES = 3
_FINAL = frozenset({400, 401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What is needed to find and follow such a run. Times are monotonic.

    lost: an earlier process ended without a word, so its run may exist. run_id: the id that it left behind.
    noted, progress: as of Pursuit.
    """

    dify: Dify
    inbox: Inbox
    terms: Terms
    lost: bool
    run_id: str | None = None
    network_until: float
    noted: Callable[[str | None, str | None, bool], None]
    progress: Callable[[Event], None]

    def take(self) -> Verdict | None:
        """The end of the run that was begun earlier; None where there is none, and a POST may begin it."""
        if not self.terms.searchable:
            return unknown("a process was lost, and a fixed end_user hides its run") if self.lost else None
        run_id = self.run_id
        if run_id is None:
            rows = self._look()
            if isinstance(rows, Verdict):
                return rows
            if not rows and not self.lost:
                return None
            run_id = rows[0].run_id if rows else None
        log.info("an earlier process began this run; none is started", user=self.terms.user, run=run_id)
        pursuit = Pursuit(self.dify, self.inbox, self.terms, noted=self.noted, progress=self.progress)
        return pursuit.resume(run_id, "an earlier process of this run was lost")

    def _look(self) -> tuple[WorkflowRun, ...] | Verdict:
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
                from .connection import mend_of_connection  # noqa: PLC0415 - after a fault only

                return Verdict(
                    Outcome.UNREACHABLE,
                    f"the server could not be asked whether this run was begun before: {found}; none was",
                    mend_of_connection(found),
                )
            if (cancel := self.inbox.pause(again)) is not None:
                return cancelled(cancel)

    def _read(self, message: Message | None) -> tuple[WorkflowRun, ...] | Verdict | str:
        """The runs of this user, a refusal that is final, or why it could not be told."""
        match message:
            case Crashed(error=error):
                raise error
            case Broken(reason=reason):
                return reason
            case Reply(status=404):
                return ()  # a server without logs; whether the address is right the POST will tell
            case Reply(status=200, body=body):
                rows = dialects.read_logs(body, self.terms.user)
                return "the answer is no page of Dify's log" if rows is None else rows
            case Reply() as reply if reply.status in _FINAL:
                refusal = dialects.read_refusal(reply.status, reply.headers, reply.body)
                return decide(End(refusal=refusal), workflow_id=self.terms.workflow_id)
            case Reply(status=status):
                return f"HTTP {status}"
        return "no answer came"
