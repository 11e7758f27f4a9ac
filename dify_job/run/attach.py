"""A run that an earlier process of the same run id may have begun: looked for in the log before any POST.

What an absent row proves depends on the server: before 1.10 rows come when a run ends, and from 1.13 a run
has none while it is queued. So where an earlier process is known to be lost, nothing is started at all.
"""

import time

from .. import log
from ..dify.client import DifyClient
from ..dify.models import RunNotFound, WorkflowRun
from ..exit_codes import Outcome
from ..messages.message import msg
from ..system.values import dataclass
from .event_queue import Cancel, EventQueue
from .monitor import RunMonitor
from .observers import RunObserver
from .outcome import RunOutcome, connection_error_hint, decide, unknown
from .poller import RunPoller, Unreadable
from .run_spec import CallOptions
from .stop import cancelled


@dataclass(frozen=True, kw_only=True)
class ExistingRunLookup:
    """What is needed to find and follow such a run. Times are monotonic.

    lost: an earlier process ended without a word, so its run may exist. run_id: the id that it left behind.
    observer: as of RunMonitor.
    """

    dify: DifyClient
    inbox: EventQueue
    options: CallOptions
    lost: bool
    run_id: str | None = None
    network_until: float
    observer: RunObserver

    def take(self) -> RunOutcome | None:
        """The end of the run that was begun earlier; None where there is none, and a POST may begin it."""
        if not self.options.searchable:
            if not self.lost:
                return None
            return unknown(msg("a process was lost, and a fixed end_user hides its run"))
        run_id = self.run_id
        if run_id is None:
            found = self._look()
            if isinstance(found, RunOutcome):
                return found
            if isinstance(found, RunNotFound) and not self.lost:
                return None
            run_id = found.run_id if isinstance(found, WorkflowRun) else None
        log.info(
            msg("an earlier process began this run; none is started"), user=self.options.user, run=run_id
        )
        monitor = RunMonitor(self.dify, self.inbox, self.options, self.observer)
        return monitor.resume(run_id, msg("an earlier process of this run was lost"))

    def _look(self) -> WorkflowRun | RunNotFound | RunOutcome:
        limits, poller = self.options.limits, RunPoller(self.dify, self.options)
        tries = 0
        while True:
            tries += 1
            found = poller.look(self.inbox, self.options.deadline)
            if poller.denied is not None:
                return decide(poller.denied, self.options.terms)
            if isinstance(found, Cancel):
                return cancelled(found)
            if not isinstance(found, Unreadable):
                return found
            again = time.monotonic() + limits.existing_run_pause
            patient = tries < limits.existing_run_polls or again < self.network_until
            if again >= self.options.deadline or not patient:
                return RunOutcome(
                    Outcome.UNREACHABLE,
                    msg(
                        "the server could not be asked whether this run was begun before: {reason}; none was",
                        reason=found.reason,
                    ),
                    connection_error_hint(found.reason),
                )
            if (cancel := self.inbox.pause(again)) is not None:
                return cancelled(cancel)
