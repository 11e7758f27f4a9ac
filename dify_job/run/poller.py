"""Poll the server's records of a run: run detail, or the log while the run id is unknown."""

import contextlib
import time
from typing import NamedTuple

from ..dify import models
from ..dify.client import CallEvent, ConnectionLost, DifyClient, PendingCall, Reply
from ..dify.event_queue import EventQueue
from ..dify.models import ApiError, Failure, FailureCause, LogPage, RunNotFound, WorkflowRun
from ..messages.message import msg
from .call_options import CallOptions
from .outcome import RunOutcome, unknown

_LOG_ROWS_AT_START = (1, 11)  # dify#28640, #28701
_LOG_PAGES = 10  # of a log without a filter, which can be very long
_RUNS_QUEUE_SINCE = (1, 13)  # from this version on, a queued run has neither a log row nor run detail


class Unreadable(NamedTuple):
    """The records could not be read, and why."""

    reason: str


Answer = WorkflowRun | RunNotFound | Unreadable


class RunPoller:
    """A poller with one poll at a time. Its caller reports what happens, which sets the growing pauses.

        event            pauses         next poll         search
        on_stream_alive  15 s to 60 s   after a pause     as before
        on_stream_lost   0.5 s to 30 s  now               begins, and can be given up
        on_stop          1 s            now, or after it  ends, because a stop has its own limits

    Attributes:
        poll_at: Monotonic time of the next poll.
        call: The poll in progress.
        version: The version of the server, once it is known.
        run_id: The run id; None while the log is searched.
        incomplete: The log is longer than the pages that were read, so its end can contain the run.
        denied: Dify's own rejection of the last poll: of the key, the app or its API.
    """

    def __init__(self, dify: DifyClient, options: CallOptions, run_id: str | None = None) -> None:
        """Poll nothing yet.

        Args:
            dify: The client.
            options: The options of the call that started the run.
            run_id: The run id, if it is known.
        """
        self._dify = dify
        self._options = options
        self._limits = options.limits
        # The time of the first of the latest answers without the run; the run, its id and an unreadable log
        # reset it.
        self._absent_since: float | None = None
        self._unreadable = ""  # why the last poll was no answer
        self._searching = False
        self._may_be_queued = False
        self._page = 1
        self.run_id = run_id
        self.incomplete = False
        self.version: tuple[int, int] | None = None
        self.call: PendingCall | None = None
        self.denied: ApiError | None = None
        self.on_stream_alive()

    # What is known

    @property
    def logs_only_ended_runs(self) -> bool:
        """True if the log shows only ended runs (before 1.11)."""
        return self.version is not None and self.version < _LOG_ROWS_AT_START

    @property
    def run_may_queue(self) -> bool:
        """True if the server, or a server of unknown version, can queue runs without a record."""
        return self.version is None or self.version >= _RUNS_QUEUE_SINCE

    @property
    def empty_log_is_proof(self) -> bool:
        """True if the log has a row for each run that began some seconds ago."""
        return not (self.logs_only_ended_runs or self.run_may_queue or self.incomplete)

    @property
    def searchable(self) -> bool:
        """True if the records can distinguish this run from others."""
        return self.run_id is not None or self._options.searchable

    @property
    def absent_for(self) -> float:
        """Seconds since the first of the latest answers without the run; 0 if there is none."""
        return 0.0 if self._absent_since is None else time.monotonic() - self._absent_since

    def learn_version(self, version: tuple[int, int] | None) -> None:
        """Store the version of the server, from the first answer that has one."""
        self.version = self.version or version

    def learn_run_id(self, run_id: str) -> None:
        """Ask run detail from now on."""
        if self.run_id is None:
            self.run_id = run_id
            self._absent_since = None

    # How often

    def on_stream_alive(self) -> None:
        """Postpone the next poll, because the stream sent data."""
        self._set_pauses(self._limits.first_poll, self._limits.longest_poll, at_once=False)

    def on_stream_lost(self, *, accepted: bool) -> None:
        """Search for the run.

        Args:
            accepted: The server accepted the request, so the run may wait in a queue.
        """
        self._set_pauses(*self._limits.recovery_polls, at_once=True)
        self._searching = True
        self._may_be_queued = accepted and self.run_may_queue

    def on_stop(self, *, at_once: bool) -> None:
        """Poll for the end of the run after a stop."""
        self._set_pauses(self._limits.stop_poll, self._limits.stop_poll, at_once=at_once)
        self._searching = False

    def _set_pauses(self, first: float, longest: float, *, at_once: bool) -> None:
        self._pause, self._longest = first, longest
        self.poll_at = time.monotonic() + (0.0 if at_once else first)

    # A poll

    def poll(self) -> None:
        """Poll now, and abandon an earlier poll without an answer."""
        if self.call is not None:
            self.call.close()
            self.call = None
            self._miss(msg("the server did not answer"))
        self.poll_at = time.monotonic() + self._limits.answer
        if self.run_id is not None:
            self.call = self._dify.detail(self.run_id)
        elif self._options.searchable:
            self.call = self._dify.logs(self._options.user, self._page)

    def on_answer(self, event: CallEvent | None) -> Answer:
        """Return the run of run detail or its log row.

        Args:
            event: The answer to a poll; None without an answer.
        """
        self.call = None
        self._pause = min(self._longest, 2 * self._pause)
        self.poll_at = time.monotonic() + self._limits.uniform(0.8, 1.0) * self._pause
        if not isinstance(event, Reply):
            return self._miss(
                event.reason if isinstance(event, ConnectionLost) else msg("the server did not answer")
            )
        self.learn_version(models.version_of(event.headers))
        error = models.read_error(event.status, event.headers, event.body)
        self.denied = error if event.status in (401, 403) and error.from_dify else None
        # A server without logs reports that itself; a proxy answers so for any path while Dify is down.
        found = RunNotFound() if self._is_without_logs(error) else self._read(event)
        if found is None:
            return self._miss(f"HTTP {event.status}")
        if isinstance(found, Unreadable):
            return self._miss(found.reason)
        if isinstance(found, WorkflowRun) and self.run_id not in (None, found.run_id):
            # A cache between dify-job and the server can send it.
            return self._miss(msg("the server's answer is about another run"))
        self._unreadable = ""
        if isinstance(found, WorkflowRun):
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = time.monotonic()
        if self._absent_since is not None and self.run_id is None and self._searching:
            search_ends = self._absent_since + self._limits.search
            if time.monotonic() < search_ends:  # a run that may be queued is searched for longer
                self.poll_at = min(self.poll_at, search_ends)
        return found

    def _is_without_logs(self, error: ApiError) -> bool:
        return self.run_id is None and error.status == 404 and error.from_dify

    def _read(self, reply: Reply) -> WorkflowRun | RunNotFound | Unreadable | None:
        if self.run_id is not None:
            return models.read_detail(reply.status, reply.body)
        page = models.read_logs(reply.body, self._options.user)
        return None if page is None else self._found_in(page)

    def _found_in(self, page: LogPage) -> WorkflowRun | RunNotFound | Unreadable:
        """Return the run, or go on with the next page of a log without a filter."""
        self.incomplete = page.incomplete and not page.runs
        if self.incomplete and self._page < _LOG_PAGES:
            self._page += 1
            self.poll_at = time.monotonic()
            return Unreadable(msg("the list of runs on the server has more pages"))
        self._page = 1
        if not page.runs:
            return RunNotFound()
        if page.runs[0].run_id is not None:
            self.poll_at = time.monotonic()
        return page.runs[0]

    def _miss(self, reason: str) -> Unreadable:
        self._unreadable = reason
        if self.run_id is None:
            self._absent_since = None  # an unreadable log does not prove absence
        return Unreadable(reason)

    # The search

    def outcome_if_given_up(self, why: str) -> RunOutcome | None:
        """Return the outcome of a lost run if polls cannot find it; None if they still may.

        Args:
            why: Why the run was lost.
        """
        if self.run_id is None and not self._options.searchable:
            return unknown(
                msg(
                    "{reason}. dify-job cannot find this run in the server's list of runs, because all "
                    "runs of the job have the same end_user",
                    reason=why,
                )
            )
        if self._absent_since is None or not self._searching:
            return None
        if self.run_id is not None and self.absent_for > self._limits.absent:
            return unknown(
                msg("{reason}, and the server has no run {run_id}", reason=why, run_id=self.run_id)
            )
        may_appear_later = self.logs_only_ended_runs or self._may_be_queued
        if self.run_id is None and not may_appear_later and self.absent_for >= self._limits.search:
            return unknown(self.search_result(why))
        return None

    def search_result(self, why: str) -> str:
        """Return why a run was lost, with the result of the search in the log.

        Args:
            why: Why the run was lost.
        """
        if self.run_id is not None or not self._searching:
            return why
        if self._unreadable:
            return msg(
                "{reason}, and dify-job could not read the list of runs on the server ({why_unread})",
                reason=why,
                why_unread=self._unreadable,
            )
        if self._absent_since is not None:
            return msg("{reason}, and the list of runs on the server does not contain this run", reason=why)
        return why

    # Polls for the run of an earlier process

    def poll_until(self, events: EventQueue, until: float, *, absent_is_final: bool) -> Answer:
        """Poll until the server reports the run; a log row leads to its run detail.

        Args:
            events: The queue of answers.
            until: Monotonic time limit.
            absent_is_final: The first answer without the run is final. Otherwise, where an empty log is a
                proof, the run can appear in it until the limit.

        Raises:
            InterruptedRunError: A signal came.
        """
        self.on_stream_lost(accepted=True)
        while True:
            found = self._poll_and_wait(events)
            if isinstance(found, WorkflowRun) and self.run_id is None and found.run_id is not None:
                self.learn_run_id(found.run_id)
                continue
            if isinstance(found, RunNotFound) and absent_is_final and self.incomplete:
                long = msg("the list of runs on the server is too long to be searched")
                return Unreadable(Failure.of(long, FailureCause.LONG_LOG))
            absent = isinstance(found, RunNotFound) and not absent_is_final and self.empty_log_is_proof
            final = not (absent or isinstance(found, Unreadable)) or self.denied is not None
            if final or not self.searchable:
                return found
            events.pause(min(until, self.poll_at))
            if time.monotonic() >= until:
                return found

    def _poll_and_wait(self, events: EventQueue) -> Answer:
        self.poll()
        if self.call is None:
            return Unreadable(
                msg(
                    "dify-job cannot find this run in the server's list of runs, because all runs of "
                    "the job have the same end_user"
                )
            )
        until = min(self._options.deadline, time.monotonic() + self._limits.answer)
        with contextlib.closing(self.call) as call:
            return self.on_answer(events.answer_of(call, until))
