"""Notifications and metrics after a run: pings for Healthchecks, messages by apprise, a .prom file.

Each delivery has a thread, and the process does not wait for it beyond the time limit. Errors are logged as
warnings and never change the outcome.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

import requests

from .. import log
from ..config.model import Job, Secret, file_of
from ..config.secrets import read_urls
from ..dify.event_queue import EventQueue, InterruptedRunError
from ..exit_codes import TABLE, Outcome, RetrySafety
from ..messages.command import command
from ..messages.errors import JobError, no_thread
from ..messages.i18n import translate
from ..messages.message import Message, join, msg
from ..state.history import RunRecord, Summary, UnitOutcome, read_history, summary
from ..state.store import JobState
from ..system.transaction import write_whole
from .call_options import RunLimits
from .observers import RunObserver
from .result import Result

_MAX_BODY = 10_000  # bytes; Healthchecks stores as much by default
_POLL_INTERVAL = 0.02
# Outcomes without a readable configuration or with an internal error: in a unit, the failure unit notifies.
_BY_FAILURE_UNIT = frozenset({Outcome.USAGE, Outcome.BUG, Outcome.CONFIG})
_BY_RUN = frozenset(row.code for row in TABLE if row.outcome not in _BY_FAILURE_UNIT)


def is_notified_by_run(exit_code: int) -> bool:
    """Return True if `run` in a unit notifies of this exit code, False if the failure unit does."""
    return exit_code in _BY_RUN


class Notification(NamedTuple):
    """The content of notifications about one run.

    Attributes:
        job: The name of the job.
        run: The record of the run.
        failures_before: The number of consecutive failures before this run.
        console: The address of the app's log in Dify's console.
    """

    job: str
    run: RunRecord
    failures_before: int = 0
    console: str | None = None

    @property
    def title(self) -> Message:
        """The subject in one line."""
        values = {"job": self.job, "outcome": self.run.outcome, "host": socket.gethostname()}
        if self.run.succeeded:
            return msg("dify-job: {job} succeeded on {host}", **values)
        if self.run.outcome in (Outcome.FAILED, UnitOutcome.KILLED):
            return msg("dify-job: {job} {outcome} on {host}", **values)
        return msg("dify-job: {job} failed: {outcome} on {host}", **values)

    @property
    def recovery_title(self) -> Message:
        """The subject of a recovery in one line."""
        count, host = self.failures_before, socket.gethostname()
        if count == 1:
            return msg("dify-job: {job} succeeded after a failure on {host}", job=self.job, host=host)
        return msg(
            "dify-job: {job} succeeded after {count} failures on {host}", job=self.job, count=count, host=host
        )

    @property
    def body(self) -> Message:
        """The body: a few lines for a person."""
        run = self.run
        texts = {
            RetrySafety.SAFE: msg("retry: yes, it is safe"),
            RetrySafety.NOT_SAFE: msg("retry: only after you checked the run in Dify"),
        }
        lines = (
            run.message_text,
            run.hint_text,
            msg("outcome: {outcome}", outcome=run.outcome)
            if run.exit_code is None
            else msg("outcome: {outcome}, exit status {code}", outcome=run.outcome, code=run.exit_code),
            next((texts.get(row.retry) for row in TABLE if row.code == run.exit_code), None),
            msg("started: {at}", at=run.call_time),
            None if run.duration is None else msg("duration: {duration:.1f} s", duration=run.duration),
            msg("attempts: {number}", number=run.attempts) if run.attempts else None,
            None if run.tokens is None else msg("tokens: {number}", number=run.tokens),
            msg("run: {run_id}", run_id=run.run_id) if run.run_id else None,
            msg("console: {url}", url=self.console) if self.console else None,
            msg("log: {command}", command=command("dify-job", "logs", self.job)),
        )
        return join("\n", filter(None, lines))


class Notifier(RunObserver):
    """The notifications and metrics of a job."""

    def __init__(
        self,
        job: Job,
        *,
        by_unit: bool = False,
        invocation: str | None = None,
        limits: RunLimits | None = None,
    ) -> None:
        """Send nothing yet.

        Args:
            job: The job.
            by_unit: A unit with a failure unit started the run; the failure unit notifies of some exit codes.
            invocation: The invocation id of the unit, for the failure unit; `run` reads INVOCATION_ID.
            limits: Pauses and limits; None for the usual ones.
        """
        self._limits = limits or RunLimits()
        self._job = job
        self._notify = job.notify
        self._by_unit = by_unit
        self._start: _Delivery | None = None
        try:
            self._rid = str(uuid.UUID(invocation or (os.environ.get("INVOCATION_ID", "") if by_unit else "")))
        except ValueError:
            self._rid = str(uuid.uuid4())
        if self._notify.healthchecks:
            _hide(self._notify.healthchecks)

    def started(self) -> None:
        """Send the start ping without waiting for its end."""
        if self._notify.on_recovery and self._job.state == "none":
            log.warning(msg('on_recovery has no effect with state = "none": earlier runs are not recorded'))
        with _errors_as_warnings():
            self._ping_start()

    def _ping_start(self) -> None:
        if self._notify.healthchecks:
            url = ping_url(self._notify.healthchecks, "start", self._rid)
            until = time.monotonic() + self._limits.deliveries
            self._start = _Delivery(
                msg("the start ping to healthchecks"), lambda: _ping(url, b"", until, self._limits)
            )

    def notify(self, result: Result, directory: Path | None, events: EventQueue) -> None:
        """Notify of a final, stored result; a skipped run sends nothing.

        Args:
            result: The result.
            directory: The job's state directory.
            events: The queue of signals. A first SIGINT or a second signal ends the wait; a first SIGTERM
                does not.
        """
        if result.outcome is Outcome.SKIPPED:
            return
        cancelled = result.outcome is Outcome.CANCELLED

        def pause(seconds: float) -> bool:
            try:
                events.pause(time.monotonic() + seconds)
            except InterruptedRunError as interrupted:
                return cancelled or interrupted.signum == signal.SIGINT
            return False

        with _errors_as_warnings():
            run = result.record
            before = [one for one in past_runs(directory) if one.call_time != run.call_time]
            by_failure_unit = self._by_unit and not is_notified_by_run(result.exit_code)
            self.ended(run, before, pause, by_failure_unit=by_failure_unit, directory=directory)

    def ended(
        self,
        run: RunRecord,
        before: Sequence[RunRecord],
        pause: Callable[[float], object] = time.sleep,
        *,
        by_failure_unit: bool = False,
        directory: Path | None = None,
    ) -> None:
        """Write the metrics of a run and notify, within the limit of deliveries.

        Args:
            run: The run.
            before: The earlier runs, oldest first.
            pause: Waits some seconds; returns True to end the wait.
            by_failure_unit: The failure unit notifies; the start ping must arrive first.
            directory: The job's state directory; None for `state = "none"`.
        """
        _write_metrics(self._job, run, before, directory)
        if by_failure_unit:
            if self._start is not None:
                self._start.wait(self._limits.deliveries)
                self._start.warn()
            return
        failures = summary(before).failures_in_a_row
        notification = Notification(self._job.name, run, failures, self._job.console_url)
        until = time.monotonic() + self._limits.deliveries
        occasions = [
            (notification.title, self._notify.on_success if run.succeeded else self._notify.on_failure)
        ]
        if run.succeeded and failures:
            occasions.insert(0, (notification.recovery_title, self._notify.on_recovery))
        deliveries, unreadable = _messages(occasions, notification)
        for error in unreadable.values():
            log.warning(msg("a notification was not sent: {message}", message=error.message), hint=error.hint)
        if self._notify.healthchecks:
            # The exit status; a killed process has none.
            what = "fail" if run.exit_code is None else str(run.exit_code)
            url = ping_url(self._notify.healthchecks, what, self._rid)
            body = _bounded(translate(notification.body), log.recent())
            deliveries.append(
                _Delivery(msg("the ping to healthchecks"), lambda: self._ping_after_start(url, body, until))
            )
        _wait(deliveries, until, pause)
        for delivery in deliveries:
            delivery.warn()

    def test(self, notification: Notification) -> dict[str, str | None]:
        """Send a test message to each address, and a `log` ping, which does not change the check.

        Args:
            notification: The content.

        Returns:
            The error of each delivery; None for success.

        Raises:
            JobError: No thread can be started for a message (unreachable).
        """
        until = time.monotonic() + self._limits.deliveries
        notify = self._notify
        names = (*notify.on_failure, *notify.on_success, *notify.on_recovery)
        deliveries, unreadable = _messages([(notification.title, names)], notification)
        if notify.healthchecks:
            url, body = ping_url(notify.healthchecks, "log", self._rid), translate(notification.body).encode()
            deliveries.append(
                _Delivery(msg("the ping to healthchecks"), lambda: _ping(url, body, until, self._limits))
            )
        _wait(deliveries, until)
        for delivery in deliveries:
            if delivery.obstacle is not None:
                raise delivery.obstacle
        faults: dict[str, str | None] = {
            str(file): msg("{message}; {hint}", message=error.message, hint=error.hint)
            if error.hint
            else error.message
            for file, error in unreadable.items()
        }
        return faults | {delivery.what: delivery.error for delivery in deliveries}

    def _ping_after_start(self, url: str, body: bytes, until: float) -> None:
        if self._start is not None:  # a start ping after the end ping would look like a run without an end
            self._start.wait((until - time.monotonic()) / 2)  # half of the time is for the end ping
            self._start.warn()
        _ping(url, body, until, self._limits)


@contextlib.contextmanager
def _errors_as_warnings() -> Iterator[None]:
    """Log errors in the block as warnings, because they must not change the result."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a fault here must not become the run's
        log.warning(
            msg(
                "no notification was sent, because of an internal error: {name}: {error}",
                name=type(error).__name__,
                error=error,
            )
        )


def past_runs(directory: Path | None) -> tuple[RunRecord, ...]:
    """Return the history in a state directory; empty if it is missing or unreadable."""
    try:
        return read_history(directory) if directory is not None else ()
    except OSError as error:
        log.warning(
            msg("the job's history could not be read for the notification: {reason}", reason=error.strerror),
            path=str(directory),
        )
        return ()


class _DeliveryError(Exception):
    """Why a delivery failed, without any address in it."""


class _Delivery:
    """One message to one place, in a thread."""

    def __init__(self, what: str, send: Callable[[], None]) -> None:
        self.what = what
        self._send = send
        self._error: str | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name=what)
        self.obstacle: JobError | None = None  # why the thread was not started
        try:
            self._thread.start()
        except RuntimeError as error:
            self.obstacle = no_thread(error)
            self._error = self.obstacle.message

    def _work(self) -> None:
        try:
            self._send()
        except _DeliveryError as error:
            self._error = error.args[0]
        except Exception as error:  # noqa: BLE001 - whatever a library raises, it is a message that failed
            self._error = type(error).__name__

    @property
    def pending(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        if self.pending:
            self._thread.join(max(0.0, seconds))

    @property
    def error(self) -> str | None:
        """The error of the delivery; None for success."""
        return msg("the server did not answer in time") if self.pending else self._error

    def warn(self) -> None:
        if self.error is not None:
            log.warning(msg("{what} failed: {reason}", what=self.what, reason=self.error))


def _wait(
    deliveries: Sequence[_Delivery], until: float, pause: Callable[[float], object] = time.sleep
) -> None:
    while any(delivery.pending for delivery in deliveries) and time.monotonic() < until:
        if pause(_POLL_INTERVAL):
            return


def _messages(
    occasions: Sequence[tuple[str, Sequence[str]]], notification: Notification
) -> tuple[list[_Delivery], dict[Path, JobError]]:
    """Send one message to each URL, even if several lists have it; the first title is used.

    Returns:
        The messages, and the errors of URL files that cannot be read.
    """
    titles: dict[Secret, tuple[str, str]] = {}
    unreadable: dict[Path, JobError] = {}
    for title, names in occasions:
        for file in dict.fromkeys(map(file_of, names)):
            try:
                urls = read_urls(file)
            except JobError as error:
                unreadable[file] = error
                continue
            for number, url in enumerate(urls, 1):
                _hide(url.reveal())
                what = msg("the notification to the URL in line {number} of {file}", number=number, file=file)
                titles.setdefault(url, (translate(title), what))
    body = log.redact(translate(notification.body))
    messages = [
        _Delivery(what, _message(url, title, body, notification)) for url, (title, what) in titles.items()
    ]
    return messages, unreadable


def ping_url(base: str, what: str, rid: str) -> str:
    """Return `BASE/what?rid=...`; the base may end in a slash, and may have a query.

    Args:
        base: The address of the check.
        what: The last part of the path: start, log, fail or an exit status.
        rid: The id of the run, a UUID.
    """
    parts = urlsplit(base)
    query = "&".join(filter(None, (parts.query, urlencode({"rid": rid}))))
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{what}", query=query))


def _ping(url: str, body: bytes, until: float, limits: RunLimits) -> None:
    """POST, and repeat it once if the first certainly did not arrive."""
    why = _post(url, body, limits.receiver)
    if why is not None and time.monotonic() + limits.delivery_retry < until:
        time.sleep(limits.delivery_retry)
        why = _post(url, body, limits.receiver)
    if why is not None:
        raise _DeliveryError(why)


def _post(url: str, body: bytes, timeout: float) -> str | None:
    """Return None if the ping arrived, otherwise why it did not. Raises _DeliveryError if that is unknown."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "dify-job"}
    try:
        with requests.post(url, data=body, headers=headers, timeout=timeout, stream=True) as answer:
            if not answer.ok:
                raise _DeliveryError(f"HTTP {answer.status_code}")
            said = next(answer.iter_content(200), b"")
            if said.startswith(b"OK ("):  # Healthchecks: "OK (not found)", "OK (rate limited)"
                text = said.decode(errors="replace")
                raise _DeliveryError(msg("the receiver answered {answer!r}", answer=text))
    except requests.exceptions.SSLError:
        raise _DeliveryError(msg("the TLS certificate of the receiver is not trusted")) from None
    except requests.exceptions.ConnectTimeout:
        return msg("the receiver cannot be reached")
    except requests.exceptions.RequestException as error:
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        if type(reason).__name__ in ("NewConnectionError", "NameResolutionError"):
            return msg("the receiver cannot be reached")
        raise _DeliveryError(
            msg("the receiver's answer was incomplete ({name})", name=type(error).__name__)
        ) from None
    return None


def _message(url: Secret, title: str, body: str, notification: Notification) -> Callable[[], None]:
    def send() -> None:
        try:
            apprise = import_module("apprise")  # an extra, and only for jobs with messages
        except ImportError:
            raise _DeliveryError(
                msg("the Python environment of dify-job does not contain apprise: pip install apprise")
            ) from None
        _silence_apprise()
        service = apprise.Apprise()  # one instance each, because URLs in one instance wait for each other
        if not service.add(url.reveal()):
            raise _DeliveryError(
                msg("Apprise does not know this kind of URL (https://github.com/caronc/apprise/wiki)")
            )
        kind = apprise.NotifyType.SUCCESS if notification.run.succeeded else apprise.NotifyType.FAILURE
        if not service.notify(
            body=body, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT
        ):
            raise _DeliveryError(msg("Apprise could not deliver the notification"))

    return send


@cache
def _silence_apprise() -> None:
    """Send apprise's log to the program's logging without secrets, never to stderr."""
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.NullHandler())
    logger.addFilter(_hide_secrets)


def _hide_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = log.redact(record.getMessage()), ()
    return True


def _bounded(body: str, lines: Sequence[str]) -> bytes:
    """Return the body and the newest log lines that fit."""
    head = f"{log.redact(body)}\n\n".encode()[:_MAX_BODY]
    tail = "\n".join(lines).encode()[-(_MAX_BODY - len(head)) :] if len(head) < _MAX_BODY else b""
    return (head + tail).decode(errors="ignore").encode()


def _hide(url: str) -> None:
    """Redact an address and its secrets in the log: logins, and parts that look like tokens."""
    log.add_secret(url)
    login, at, rest = url.partition("://")[2].rpartition("@")
    for piece in (*re.split(r"[:/]", login if at else ""), *re.split(r"[/?&=#]", rest)):
        if len(piece) >= 16 or (at and piece in login.split(":")):
            log.add_secret(piece)


def _write_metrics(job: Job, run: RunRecord, before: Sequence[RunRecord], directory: Path | None) -> None:
    """Write the metrics of a run for Prometheus, readable for everybody; errors are logged as warnings."""
    path = job.metrics.textfile
    if path is None:
        return
    text = "".join(exposition(job.name, run, summary((*before, run))))
    try:
        write_whole(path, text.encode(errors="replace"), 0o644)
        if directory is not None:
            with contextlib.closing(JobState(directory)) as state:
                state.add_metrics_file(str(path))
    except OSError as error:
        reason = msg("the metrics file could not be written: {reason}", reason=error.strerror)
        log.warning(reason, path=str(path))


def exposition(job: str, run: RunRecord, past: Summary) -> Iterator[str]:
    """Yield the metrics in the text format of Prometheus.

    Args:
        job: The job's name.
        run: The last run.
        past: The summary of the history, this run included.
    """
    gauges: tuple[tuple[str, str, float | None], ...] = (
        ("last_run_timestamp_seconds", "When the last run began.", _seconds(run)),
        ("last_run_success", "1 where it exited with 0, else 0.", float(run.exit_code == 0)),
        ("last_run_exit_code", "Its exit status; absent where it was killed.", run.exit_code),
        ("last_run_duration_seconds", "How long it took.", run.duration),
        ("last_run_attempts", "How many requests to start it were sent.", run.attempts),
        ("last_run_tokens", "The tokens that Dify counted.", run.tokens),
        (
            "last_success_timestamp_seconds",
            "When the last run that succeeded began.",
            _seconds(run._replace(call_time=past.last_success or "")),
        ),
        ("failures_in_a_row", "Runs that failed since the last success.", past.failures_in_a_row),
    )
    for name, text, value in gauges:
        if value is not None:
            yield f"# HELP dify_job_{name} {text}\n# TYPE dify_job_{name} gauge\n"
            yield f'dify_job_{name}{{job="{_escaped(job)}"}} {value!r}\n'
    yield "# HELP dify_job_last_run_info How the last run ended.\n# TYPE dify_job_last_run_info gauge\n"
    labels = {"job": job, "outcome": run.outcome, "workflow_run_id": run.run_id or ""}
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    yield f"dify_job_last_run_info{{{pairs}}} 1\n"


def _seconds(run: RunRecord) -> float | None:
    return run.began.timestamp() if run.began is not None else None


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
