"""Stopping a run on the server: ask, wait until it is confirmed, and say how far it came."""

import time

from ..dify.client import ConnectionLost, DifyClient, Message, PendingCall, Reply
from ..dify.models import WorkflowRun
from ..exit_codes import Outcome
from ..messages.message import msg
from ..system.values import replace
from .event_queue import Cancel
from .outcome import End, RunOutcome, decide, unknown

_CONFIRMING = 10.0  # seconds for the server to confirm; with all that comes before it stays under 20
_FIRST_IDS = 5.0  # for the run to show itself, where it has not when its end is wanted
_HINT = msg("look at the run in the app's Logs; the node that was running goes on to its end")


class Stop:
    """One stop of one run. cancel: the signal that wants it, or None where the deadline does.

    known_running: when it was wanted. until: monotonic, when to leave even if nothing is confirmed. call: the
    request, once it is sent.
    """

    def __init__(self, cancel: Cancel | None, *, known_running: bool) -> None:
        self._cancel = cancel
        self._known_running = known_running
        self._trouble: str = msg("no task id was known yet")
        self.call: PendingCall | None = None
        self.until = time.monotonic() + _FIRST_IDS

    def send(self, dify: DifyClient, task_id: str, user: str) -> None:
        """Ask the server; that it answers success proves nothing (`stop-unknown-task`)."""
        self._trouble = msg("the server did not answer")
        self.call = dify.stop(task_id, user)
        self.until = time.monotonic() + _CONFIRMING

    def hear(self, message: Message) -> None:
        """Take the answer to the request."""
        match message:
            case Reply(status=200):
                self._trouble = ""
            case Reply(status=status):
                self._trouble = f"HTTP {status}"
            case ConnectionLost(reason=reason):
                self._trouble = reason

    def before_anything_left(self) -> RunOutcome:
        """The verdict where the connection never stood, so that nothing was started."""
        if self._cancel is None:
            return replace(decide(End(unsent=msg("no connection before the deadline"))), again=False)
        return cancelled(self._cancel)

    def confirmed(self, run: WorkflowRun) -> RunOutcome:
        """The verdict where the run ended as a stopped one does."""
        verdict = self._verdict(msg("stop was sent, and the server confirmed it"))
        return replace(verdict, run=run, unsettled=False)

    def unconfirmed(self, *, streaming: bool, known_running: bool, lost: str) -> RunOutcome:
        """The verdict on leaving without a confirmation; 124 only if the run was known to be running."""
        if self.call is None:
            trouble = self._trouble if streaming else msg("a blocking call never learns its task id")
            how = msg("stop could not be asked: {trouble}; a run may go on", trouble=trouble)
        elif self._trouble:
            how = msg("stop was sent, but not confirmed: {trouble}; the run may go on", trouble=self._trouble)
        else:
            how = msg("stop was sent, but the server did not confirm it; the run may go on")
        if self._cancel is None and not (known_running or self._known_running):
            return unknown(f"{lost or 'the deadline passed'}; {how}")
        return self._verdict(how)

    def _verdict(self, how: str) -> RunOutcome:
        if self._cancel is None:
            return RunOutcome(
                Outcome.TIMEOUT, msg("the deadline passed; {how}", how=how), _HINT, unsettled=True
            )
        signum = self._cancel.signum
        return RunOutcome(
            Outcome.CANCELLED, msg("cancelled; {how}", how=how), _HINT, signum=signum, unsettled=True
        )


def cancelled(cancel: Cancel) -> RunOutcome:
    """A signal that came before anything was sent."""
    return RunOutcome(Outcome.CANCELLED, msg("cancelled; no run had been started"), signum=cancel.signum)
