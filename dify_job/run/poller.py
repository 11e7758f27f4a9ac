"""What the server's records say of a run: run detail, or the log as long as the run has no id."""

import time

from ..dify import models
from ..dify.client import ConnectionLost, DifyClient, InternalError, Message, PendingCall, Reply
from ..dify.models import ApiError, RunNotFound, WorkflowRun
from ..messages.message import msg
from ..system.values import dataclass
from .event_queue import Cancel, EventQueue
from .outcome import RunOutcome, unknown
from .run_spec import CallOptions

_LOG_ROWS_AT_START = (1, 10)
_RUNS_QUEUE = (1, 13)  # from here on a run has no row, and no detail, while it waits in a queue


@dataclass(frozen=True)
class Unreadable:
    """The records could not be read, and why."""

    reason: str


class RunPoller:
    """One look at a time, at growing pauses. look_at: monotonic, when the next look is due.

    call: the look under way. denied: Dify's own refusal of the last look: the key, the app or its API.
    """

    def __init__(self, dify: DifyClient, options: CallOptions) -> None:
        self._dify = dify
        self._options = options
        self._limits = options.limits
        self._run_id: str | None = None
        self._absent_since: float | None = None
        self._unreadable = ""
        self._searching = False
        self._patient = False
        self.version: tuple[int, int] | None = None
        self.call: PendingCall | None = None
        self.denied: ApiError | None = None
        self.poll_beside_stream()

    # How often

    def poll_beside_stream(self) -> None:
        """Something came: the stream is well, and there is no need to look soon."""
        self._pause, self._longest = self._limits.first_poll, self._limits.longest_poll
        self.look_at = time.monotonic() + self._pause

    def poll_alone(self, *, accepted: bool) -> None:
        """The stream is lost: look now.

        Args:
            accepted: The server took the request, so that the run may wait in a queue.
        """
        (self._pause, self._longest), self.look_at = self._limits.recovery_polls, time.monotonic()
        self._searching = True
        self._patient = accepted and self.run_may_queue

    def poll_for_end(self, *, at_once: bool) -> None:
        """Stop was wanted: look whether it has come about."""
        self._pause = self._longest = self._limits.stop_poll
        self._searching = False
        self.look_at = time.monotonic() + (0.0 if at_once else self._pause)

    # What is known

    @property
    def rows_come_late(self) -> bool:
        """True where the log shows a run only once it has ended (before 1.10)."""
        return self.version is not None and self.version < _LOG_ROWS_AT_START

    @property
    def run_may_queue(self) -> bool:
        """True where a run can wait in a queue without a trace; an unknown server may be such a one."""
        return self.version is None or self.version >= _RUNS_QUEUE

    @property
    def empty_log_is_proof(self) -> bool:
        """True where a run that began some seconds ago has a row in the log."""
        return not self.rows_come_late and not self.run_may_queue

    @property
    def searchable(self) -> bool:
        """True where the records can tell this run from others."""
        return self.knows_run or self._options.searchable

    @property
    def knows_run(self) -> bool:
        """True where run detail can be asked."""
        return self._run_id is not None

    @property
    def absent_for(self) -> float:
        """Seconds for which the records have shown no run."""
        return 0.0 if self._absent_since is None else time.monotonic() - self._absent_since

    def learn_version(self, version: tuple[int, int] | None) -> None:
        """Take the version that an answer told; the first one counts."""
        self.version = self.version or version

    def learn_run_id(self, run_id: str) -> None:
        """Run detail can be asked from now on."""
        if self._run_id is None:
            self._run_id = run_id
            self._absent_since = None

    def give_up(self, why: str) -> RunOutcome | None:
        """The outcome of a lost run where another look is of no use; None where it may be.

        Args:
            why: How the run was lost.
        """
        if self._run_id is None and not self._options.searchable:
            return unknown(
                msg("{why}; with a fixed end_user the server's log cannot tell this run from others", why=why)
            )
        if self._absent_since is None or not self._searching:
            return None
        if self._run_id is not None and self.absent_for > self._limits.absent:
            return unknown(
                msg("{why}, and the server does not know run {run_id}", why=why, run_id=self._run_id)
            )
        impatient = not self.rows_come_late and not self._patient
        if self._run_id is None and impatient and self.absent_for >= self._limits.search:
            return unknown(self.found_nothing(why))
        return None

    def found_nothing(self, why: str) -> str:
        """How a run without an id was lost, and what the log said of it."""
        if self._run_id is not None or not self._searching:
            return why
        if self._unreadable:
            return msg(
                "{why}, and the server's log could not be read ({reason})", why=why, reason=self._unreadable
            )
        if self._absent_since is not None:
            return msg("{why}, and the server's log does not show it", why=why)
        return why

    # A look

    def ask(self) -> None:
        """Look now; a look that has not been answered is over."""
        if self.call is not None:
            self.call.hang_up()
            self.call = None
            self._miss(msg("no answer came"))
        self.look_at = time.monotonic() + self._limits.answer
        if self._run_id is not None:
            self.call = self._dify.detail(self._run_id)
        elif self._options.searchable:
            self.call = self._dify.logs(self._options.user)

    def look(self, inbox: EventQueue, until: float) -> WorkflowRun | RunNotFound | Unreadable | Cancel:
        """Look once, and wait for the answer.

        Args:
            inbox: Where the answer arrives.
            until: Monotonic.
        """
        self.ask()
        if self.call is None:
            return Unreadable(msg("a fixed end_user tells no run from others"))
        call = self.call
        message = inbox.answer_of(call, min(until, time.monotonic() + self._limits.answer))
        call.hang_up()
        if isinstance(message, Cancel):
            return message
        if isinstance(message, InternalError):
            raise message.error
        return self.hear(message)

    def hear(self, message: Message | None) -> WorkflowRun | RunNotFound | Unreadable:
        """Take the answer to a look: the run as run detail or its log row shows it."""
        self.call = None
        self._pause = min(self._longest, 2 * self._pause)
        self.look_at = time.monotonic() + self._limits.uniform(0.8, 1.0) * self._pause
        if not isinstance(message, Reply):
            reason = message.reason if isinstance(message, ConnectionLost) else msg("no answer came")
            return self._miss(reason)
        self.learn_version(models.version_of(message.headers))
        error = models.read_refusal(message.status, message.headers, message.body)
        self.denied = error if message.status in (401, 403) and error.from_dify else None
        found = self._read(message)
        if found is None:
            return self._miss(f"HTTP {message.status}")
        self._unreadable = ""
        if isinstance(found, WorkflowRun):
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = time.monotonic()
        if self._absent_since is not None and self._run_id is None and self._searching:
            self.look_at = min(self.look_at, max(time.monotonic(), self._absent_since + self._limits.search))
        return found

    def _read(self, reply: Reply) -> WorkflowRun | RunNotFound | None:
        if self._run_id is not None:
            return models.read_detail(reply.status, reply.body)
        if reply.status == 404:  # a server without logs
            return RunNotFound()
        rows = models.read_logs(reply.body, self._options.user)
        if rows is None:
            return None
        if rows:
            self.look_at = time.monotonic()
        return rows[0] if rows else RunNotFound()

    def _miss(self, reason: str) -> Unreadable:
        self._unreadable = reason
        if self._run_id is None:
            self._absent_since = None  # the log is empty only as long as it can be read
        return Unreadable(reason)
