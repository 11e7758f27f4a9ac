"""Telling others how a run ended: pings as Healthchecks wants them, messages by apprise.

All of it together is bounded, whatever the receiver does: each errand has a thread of its own that is left
behind when the time is up. What fails is a warning, and never changes how the run ended.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from urllib.parse import urlencode, urlsplit, urlunsplit

from .. import log
from ..config.model import Notify, Secret, file_of
from ..config.secrets import read_urls
from ..messages.errors import JobError
from ..messages.message import msg
from .notification import Notification

LIMIT = 10.0  # seconds that all of it may take after the run
_LONGEST_BODY = 10_000  # bytes; Healthchecks keeps as much by default
_ANSWER = 5.0  # seconds without a byte
_PAUSE = 1.0  # before a second try
_TICK = 0.02


class _Failed(Exception):  # noqa: N818 - the end of an errand, not a fault
    """Why an errand came to nothing, without any address in it."""


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class _Delivery:
    """One message to one place, on its way."""

    def __init__(self, what: str, do: Callable[[], None]) -> None:
        self.what = what
        self._do = do
        self._why: str | None = None
        self._thread = threading.Thread(target=self._go, daemon=True, name=what)
        self._thread.start()

    def _go(self) -> None:
        try:
            self._do()
        except _Failed as failed:
            self._why = str(failed)
        except Exception as error:  # noqa: BLE001 - whatever a library does, it is a message that failed
            self._why = type(error).__name__

    @property
    def under_way(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        self._thread.join(max(0.0, seconds))

    @property
    def fault(self) -> str | None:
        """Why it came to nothing; None where it went well."""
        return msg("no answer in time") if self.under_way else self._why

    def warn(self) -> None:
        """Say what came of it, if that is worth a word."""
        if self.fault is not None:
            log.warning(msg("{what} failed: {fault}", what=self.what, fault=self.fault))


class Notifier:
    """Tells those whom a job names. rid: the UUID by which the pings of one run belong together."""

    def __init__(self, notify: Notify, rid: str) -> None:
        self._notify = notify
        self._rid = rid
        self._start: _Delivery | None = None
        if notify.healthchecks:
            _hide(notify.healthchecks)

    def begins(self) -> None:
        """Ping that the run begins, without waiting for it."""
        if self._notify.healthchecks:
            url = ping_url(self._notify.healthchecks, "start", self._rid)
            self._start = _Delivery(msg("the start ping"), lambda: _ping(url, b"", time.monotonic() + LIMIT))

    def leaves(self) -> None:
        """The unit's handler tells how it ended; the start must be on record before."""
        if self._start is not None:
            self._start.wait(LIMIT)
            self._start.warn()

    def ends(self, report: Notification, pause: Callable[[float], bool] = _sleep) -> None:
        """Tell how it ended, within LIMIT seconds. pause: waits some seconds; true when we must leave."""
        until = time.monotonic() + LIMIT
        errands = self._messages(_occasions(self._notify, report), report)
        if self._notify.healthchecks:
            url = ping_url(self._notify.healthchecks, report.ping, self._rid)
            body = _bounded(report.body, log.recent())
            errands.append(_Delivery(msg("the ping"), lambda: self._ping_after_start(url, body, until)))
        _wait(errands, until, pause)
        for errand in errands:
            errand.warn()

    def tries(self, report: Notification) -> dict[str, str | None]:
        """Send a message to each address there is, and a ping that changes nothing; what failed, and why."""
        until = time.monotonic() + LIMIT
        notify = self._notify
        names = (*notify.on_failure, *notify.on_success, *notify.on_recovery)
        unreadable = {str(file_of(name)): error for name in names if (error := _fault_of(name)) is not None}
        errands = self._messages([(report.title, names)], report)
        if notify.healthchecks:
            url, body = ping_url(notify.healthchecks, "log", self._rid), report.body.encode()
            errands.append(_Delivery(msg("the ping"), lambda: _ping(url, body, until)))
        _wait(errands, until, _sleep)
        return unreadable | {errand.what: errand.fault for errand in errands}

    def _ping_after_start(self, url: str, body: bytes, until: float) -> None:
        if self._start is not None:  # a start that arrives after the end would be a run that never ends
            self._start.wait(min(_ANSWER, until - time.monotonic()))  # and the end must have time, too
            self._start.warn()
        _ping(url, body, until)

    def _messages(
        self, occasions: Sequence[tuple[str, Sequence[str]]], report: Notification
    ) -> list[_Delivery]:
        """One message to each URL, whichever lists it stands in: the first of its titles."""
        titles: dict[Secret, tuple[str, str]] = {}
        for title, names in occasions:
            for name in dict.fromkeys(names):
                for number, url in enumerate(_urls(name), 1):
                    titles.setdefault(
                        url,
                        (
                            title,
                            msg(
                                "the message to line {number} of {file_of}",
                                number=number,
                                file_of=file_of(name),
                            ),
                        ),
                    )
        body = log.redact(report.body)
        return [_Delivery(what, _message(url, title, body, report)) for url, (title, what) in titles.items()]


def _occasions(notify: Notify, report: Notification) -> list[tuple[str, Sequence[str]]]:
    if not report.run.succeeded:
        return [(report.title, notify.on_failure)]
    recovery = notify.on_recovery if report.recovered else ()
    return [(report.title_of_recovery, recovery), (report.title, notify.on_success)]


def _wait(errands: Sequence[_Delivery], until: float, pause: Callable[[float], bool]) -> None:
    while any(errand.under_way for errand in errands) and time.monotonic() < until:
        if pause(_TICK):
            return


def ping_url(base: str, what: str, rid: str) -> str:
    """`BASE/what?rid=...`; the base may end in a slash, and keeps its query."""
    parts = urlsplit(base)
    query = "&".join(filter(None, (parts.query, urlencode({"rid": rid}))))
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{what}", query=query))


def _ping(url: str, body: bytes, until: float) -> None:
    """POST, and once more where the first certainly did not arrive."""
    why = _post(url, body)
    if why is not None and time.monotonic() + _PAUSE < until:
        time.sleep(_PAUSE)
        why = _post(url, body)
    if why is not None:
        raise _Failed(why)


def _post(url: str, body: bytes) -> str | None:
    """None when a ping arrived, else why it certainly did not. Raises _Failed where that is not sure."""
    import requests  # noqa: PLC0415 - start-up time; a job that tells nobody does without

    headers = {"Content-Type": msg("text/plain; charset=utf-8"), "User-Agent": "dify-job"}
    try:
        with requests.post(url, data=body, headers=headers, timeout=_ANSWER, stream=True) as answer:
            if not answer.ok:
                raise _Failed(f"HTTP {answer.status_code}")
            said = next(answer.iter_content(200), b"")
            if said.startswith(b"OK ("):  # Healthchecks: "OK (not found)", "OK (rate limited)"
                raise _Failed(msg("the receiver says {decode!r}", decode=said.decode(errors="replace")))
    except requests.exceptions.SSLError:
        raise _Failed(msg("its TLS certificate is not trusted")) from None
    except requests.exceptions.ConnectTimeout:
        return msg("no connection")
    except requests.exceptions.RequestException as error:
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        if type(reason).__name__ in ("NewConnectionError", "NameResolutionError"):
            return msg("no connection")
        raise _Failed(msg("no whole answer ({name})", name=type(error).__name__)) from None
    return None


def _fault_of(name: str) -> str | None:
    """Why no message can go to the addresses of a file; None where it names some."""
    try:
        read_urls(file_of(name))
    except JobError as error:
        return (
            msg("{message}; {hint}", message=error.message, hint=error.hint) if error.hint else error.message
        )
    return None


def _urls(name: str) -> Sequence[Secret]:
    try:
        found = read_urls(file_of(name))
    except JobError as error:
        log.warning(msg("a message was not sent: {message}", message=error.message), hint=error.hint)
        return ()
    for url in found:
        _hide(url.reveal())
    return found


def _message(url: Secret, title: str, body: str, report: Notification) -> Callable[[], None]:
    def send() -> None:
        try:
            import apprise  # noqa: PLC0415 - an extra, and only for jobs with messages
        except ImportError:
            raise _Failed(msg("apprise is not installed beside dify-job: pip install apprise")) from None

        _keep_apprise_discreet()
        service = apprise.Apprise()  # one each: several in one would wait for one another
        if not service.add(url.reveal()):
            raise _Failed(msg("it is not a URL that apprise knows (https://github.com/caronc/apprise/wiki)"))
        kind = apprise.NotifyType.SUCCESS if report.run.succeeded else apprise.NotifyType.FAILURE
        if not service.notify(
            body=body, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT
        ):
            raise _Failed(msg("apprise could not deliver it"))

    return send


@cache
def _keep_apprise_discreet() -> None:
    """What it says goes to the log of the program that has one, without secrets, and never to stderr."""
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.NullHandler())
    logger.addFilter(_hide_secrets)


def _hide_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = log.redact(record.getMessage()), ()
    return True


def _bounded(body: str, lines: Sequence[str]) -> bytes:
    """The report and as many of the last lines as fit, the newest kept."""
    head = f"{log.redact(body)}\n\n".encode()[:_LONGEST_BODY]
    tail = "\n".join(lines).encode()[-(_LONGEST_BODY - len(head)) :] if len(head) < _LONGEST_BODY else b""
    return (head + tail).decode(errors="ignore").encode()


def _hide(url: str) -> None:
    """Keep an address and what is secret in it out of the log: its logins, and what looks like a token."""
    log.hide(url)
    login, at, rest = url.partition("://")[2].rpartition("@")
    for piece in (*re.split(r"[:/]", login if at else ""), *re.split(r"[/?&=#]", rest)):
        if len(piece) >= 16 or (at and piece in login.split(":")):
            log.hide(piece)
