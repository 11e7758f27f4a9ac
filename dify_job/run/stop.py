"""Stopping a run on the server: ask, wait until it is confirmed, and say how far it came."""

import time

from ..dify.client import ConnectionLost, DifyClient, Message, PendingCall, Reply
from ..dify.models import FailedNode, WorkflowRun
from ..exit_codes import Outcome
from ..messages.message import msg
from ..system.values import replace
from .event_queue import Cancel
from .outcome import Next, NotSent, RunOutcome, decide, unknown
from .run_spec import RunLimits

_HINT_RUNNING = msg("check the run in the app's Logs; Dify finishes the node that is currently executing")
_HINT_QUEUED = msg("look for the run in the app's Logs: one that waits in Dify's queue can begin later")


class Stop:
    """One stop of one run. cancel: the signal that wants it, or None where the deadline does.

    known_running: when it was wanted. until: monotonic, when to leave even if nothing is confirmed. call: the
    request, once it is sent. accepted: the server answered it with success.
    """

    def __init__(self, cancel: Cancel | None, limits: RunLimits, *, known_running: bool) -> None:
        self._cancel = cancel
        self._limits = limits
        self._known_running = known_running
        self._trouble = msg("no task id was known yet")
        self.accepted = False
        self.call: PendingCall | None = None
        self.until = time.monotonic() + limits.first_ids

    def send(self, dify: DifyClient, task_id: str, user: str) -> None:
        """Ask the server; that it answers success proves nothing (`stop-unknown-task`)."""
        self._trouble = msg("the server did not answer")
        self.call = dify.stop(task_id, user)
        self.until = time.monotonic() + self._limits.stop_confirmation

    def hear(self, message: Message) -> None:
        """Take the answer to the request."""
        match message:
            case Reply(status=status) if 200 <= status < 300:
                self.accepted = True
            case Reply(status=status):
                self._trouble = msg("HTTP {status}", status=status)
            case ConnectionLost(reason=reason):
                self._trouble = msg("{reason}", reason=reason)

    def before_anything_left(self) -> RunOutcome:
        """The outcome where the connection never stood, so that nothing was started."""
        if self._cancel is None:
            return replace(decide(NotSent(msg("no connection before the deadline"))), next=Next.FINAL)
        return cancelled(self._cancel)

    def confirmed(self, run: WorkflowRun) -> RunOutcome:
        """The outcome where the run ended as a stopped one does."""
        how = msg("stop was sent, and the server confirmed it")
        outcome = self._outcome(how, run.failed_node, _HINT_RUNNING)
        return replace(outcome, run=run, unsettled=False)

    def unconfirmed(
        self, *, streaming: bool, known_running: bool, lost: str, node: FailedNode | None
    ) -> RunOutcome:
        """The outcome on leaving without a confirmation; 124 only if the run was known to be running."""
        known_running |= self._known_running
        if self.call is None and not streaming:
            how = msg("stop could not be asked: a blocking call never learns its task id; a run may go on")
        elif self.call is None:
            how = msg("stop could not be asked: {reason}; a run may go on", reason=self._trouble)
        elif not self.accepted:
            how = msg("stop was sent, but not confirmed: {reason}; the run may go on", reason=self._trouble)
        else:
            how = msg("stop was sent, but the server did not confirm it; the run may go on")
        if self._cancel is None and not known_running:
            lost = lost or msg("the deadline passed")
            return unknown(msg("{lost}; {how}", lost=lost, how=how))
        return self._outcome(how, node, _HINT_RUNNING if known_running else _HINT_QUEUED)

    def _outcome(self, how: str, node: FailedNode | None, hint: str) -> RunOutcome:
        if self._cancel is not None:
            signum = self._cancel.signum
            message = msg("cancelled; {how}", how=how)
            return RunOutcome(Outcome.CANCELLED, message, hint, signum=signum, unsettled=True)
        if node is None:
            message = msg("the deadline passed; {how}", how=how)
        else:
            title, kind = node.title, node.type
            message = msg('the deadline passed at "{title}" ({kind}); {how}', title=title, kind=kind, how=how)
        return RunOutcome(Outcome.TIMEOUT, message, hint, unsettled=True)


def cancelled(cancel: Cancel) -> RunOutcome:
    """The outcome of a signal that came before anything was sent."""
    return RunOutcome(Outcome.CANCELLED, msg("cancelled; no run had been started"), signum=cancel.signum)
