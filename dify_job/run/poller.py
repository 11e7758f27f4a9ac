"""What the server's records say of a run: run detail, or the log as long as the run has no id."""

import random
import time

from ..dify import models
from ..dify.client import DifyClient, Message, PendingCall, Reply
from ..dify.models import ApiError, RunNotFound, WorkflowRun
from ..exit_codes import Outcome
from ..messages.message import msg
from ..system.values import dataclass, replace
from .outcome import End, RunOutcome, decide, unknown

_FIRST_LOOK = 15.0  # seconds of nothing but pings; to 1.12 a pause is not announced
_LONGEST_PAUSE = 60.0  # between looks beside a stream
_RECOVERY_PAUSES = (0.5, 30.0)  # the first and the longest between looks once the stream is lost
_STOP_PAUSE = 1.0  # between looks for the end that stop should bring
_LOOK_LIMIT = 10.0  # for the answer to one look
_SEARCH = 30.0  # how long a run without an id is looked for
_ABSENT = 120.0  # how long run detail may deny an id that the server gave (`celery-store-run`)
_LOG_ROWS_AT_START = (1, 10)


@dataclass(frozen=True)
class CallOptions:
    """What the job asks of a call. deadline: monotonic; idle: seconds.

    searchable: the end user is this run's own, so a log row of that user is this run.
    """

    user: str
    deadline: float
    idle: float
    streaming: bool = True
    searchable: bool = True
    partial: str = "failure"
    workflow_id: str | None = None


class RunPoller:
    """One look at a time, at growing pauses. look_at, give_up_at: monotonic, the next look and the last."""

    def __init__(self, dify: DifyClient, terms: CallOptions) -> None:
        self._dify = dify
        self._terms = terms
        self._run_id: str | None = None
        self._absent_since: float | None = None
        self.version: tuple[int, int] | None = None
        self.call: PendingCall | None = None
        self.refused: ApiError | None = None  # by Dify itself: the key, the app or its API
        self._answered = False
        self.give_up_at = float("inf")
        self.beside_a_stream()

    # How often

    def beside_a_stream(self) -> None:
        """Something came: the stream is well, and there is no need to look soon."""
        self._pause, self._longest = _FIRST_LOOK, _LONGEST_PAUSE
        self.look_at = time.monotonic() + _FIRST_LOOK

    def alone(self) -> None:
        """The stream is lost: look now, and for a run without an id not for ever."""
        now = time.monotonic()
        (self._pause, self._longest), self.look_at = _RECOVERY_PAUSES, now
        if self._run_id is None and not self.rows_come_late:
            self.give_up_at = now + _SEARCH

    def for_the_end(self, *, at_once: bool) -> None:
        """Stop was wanted: look whether it has come about."""
        self._pause = self._longest = _STOP_PAUSE
        self.give_up_at = float("inf")
        self.look_at = time.monotonic() + (0.0 if at_once else _STOP_PAUSE)

    # What is known

    @property
    def rows_come_late(self) -> bool:
        """True where the log shows a run only once it has ended (before 1.10): no row says nothing."""
        return self.version is not None and self.version < _LOG_ROWS_AT_START

    def useless(self, why: str) -> RunOutcome | None:
        """The verdict on a lost run where looking is of no use; None where it may be. why: it is lost."""
        now = time.monotonic()
        if self._run_id is None and not self._terms.searchable:
            return unknown(
                msg("{why}; with a fixed end_user the server's log cannot tell this run from others", why=why)
            )
        if now >= self.give_up_at:
            return unknown(msg("{why}, and the server's log does not show it", why=why))
        if self._absent_since is not None and now > self._absent_since + _ABSENT:
            return unknown(
                msg("{why}, and the server does not know run {run_id}", why=why, run_id=self._run_id)
            )
        return None

    def learn_version(self, version: tuple[int, int] | None) -> None:
        """Take the version that an answer told; the first one counts."""
        self.version = self.version or version
        if self.rows_come_late:
            self.give_up_at = float("inf")

    def learn_run_id(self, run_id: str) -> None:
        """Run detail can be asked from now on."""
        self._run_id = run_id
        self.give_up_at = float("inf")

    # A look

    def ask(self) -> None:
        """Look now; a look that has not been answered is over."""
        if self.call is not None:
            self.call.hang_up()
            self.call = None
        self.look_at = time.monotonic() + _LOOK_LIMIT
        if self._run_id is not None:
            self.call = self._dify.detail(self._run_id)
        elif self._terms.searchable:
            self.call = self._dify.logs(self._terms.user)

    def hear(self, message: Message) -> WorkflowRun | RunNotFound | None:
        """The run as run detail or its log row shows it; None where the answer tells nothing."""
        self.call = None
        self._pause = min(self._longest, 2 * self._pause)
        self.look_at = time.monotonic() + self._pause * random.uniform(0.8, 1.0)  # noqa: S311 - jitter
        if not isinstance(message, Reply):
            return None
        self.learn_version(models.version_of(message.headers))
        refusal = models.read_refusal(message.status, message.headers, message.body)
        self.refused = refusal if message.status in (401, 403) and refusal.from_dify else None
        if self._run_id is None:
            rows = models.read_logs(message.body, self._terms.user)
            self._answered |= rows is not None
            if rows:
                self.look_at = time.monotonic()
            return rows[0] if rows else None
        found = models.read_detail(message.status, message.body)
        self._answered |= found is not None
        if not isinstance(found, RunNotFound):
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = time.monotonic()
        return found

    def so_far(self, why: str, *, under_way: bool) -> RunOutcome:
        """The verdict on a run of an earlier process that was looked for long enough.

        TIMEOUT says that it may be running, UNREACHABLE that Dify did not answer, DENIED that it refused to.
        """
        if under_way:
            return RunOutcome(Outcome.TIMEOUT, msg("{why}, and it is still running", why=why), unsettled=True)
        if self._run_id is None and self.rows_come_late:
            why += msg(", and this server's log shows a run only once it has ended")
            return RunOutcome(Outcome.TIMEOUT, why, unsettled=True)
        if self.refused is not None:
            return replace(decide(End(refusal=self.refused)), unsettled=True)
        if self._answered:
            return unknown(why)
        unreachable = decide(End(unsent=msg("an earlier run of this job could not be looked up")))
        return replace(unreachable, again=False, unsettled=True)
