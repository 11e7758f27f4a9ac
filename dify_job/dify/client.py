"""The Service API over HTTP: each call runs in a thread and reports events as values.

The caller waits on one queue, so no DNS look-up, handshake or silent server delays a deadline or a
signal. tests/data/recordings has the behaviour of the endpoints in each version.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode, urljoin, urlsplit

import requests

from ..messages.message import msg
from . import transport
from .models import IRRELEVANT_LINES, Event, Failure, FailureCause, read_event
from .sse import Content, Parser, content_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .multipart import Body

_CHUNK = 65536
_SHORT_ANSWER = 30.0  # seconds without a byte, for calls that start no run
_AFTER_UPLOAD = 120.0  # seconds: the server stores the file before it answers
_KEEPS_METHOD = frozenset({307, 308})


class Reply(NamedTuple):
    """A complete answer that is not a stream. url: the address after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""


class StreamOpened(NamedTuple):
    """The head of a stream; from Dify 1.13 on, it arrives before any run exists."""

    headers: Mapping[str, str]


class StreamEvent(NamedTuple):
    """A relevant event of a stream."""

    event: Event


class StreamClosed:
    """The stream ended correctly, which proves nothing about the run."""


class ConnectionLost(NamedTuple):
    """No answer, or an incomplete one. sent: a byte of the request may have left, so a run may have begun."""

    sent: bool
    reason: str


CallEvent = Reply | StreamOpened | StreamEvent | StreamClosed | ConnectionLost
OnEvent = Callable[["PendingCall", CallEvent | Exception], None]


class PendingCall:
    """One call in progress.

    Attributes:
        last_byte: Monotonic time of the last received byte, pings included.
        tracker: The tracker of the connection.
    """

    def __init__(self, on_event: OnEvent, exchange: Callable[[PendingCall], Iterator[CallEvent]]) -> None:
        """Start the call in a thread.

        Args:
            on_event: Called from that thread with the call and each event, in order.
            exchange: Executes the call.
        """
        self.last_byte = time.monotonic()
        self.tracker = transport.ConnectionTracker()
        self._on_event = on_event
        self._exchange = exchange
        try:
            threading.Thread(target=self._work, daemon=True).start()
        except RuntimeError as error:
            reason = msg("no thread can be started ({error})", error=error)
            failure = Failure.of(reason, FailureCause.NO_THREAD)
            on_event(self, ConnectionLost(sent=False, reason=failure))

    def close(self) -> None:
        """Close the connection from another thread; the run on the server continues."""
        self.tracker.shut_down()

    def _work(self) -> None:
        try:
            for event in self._exchange(self):
                self._on_event(self, event)
        except MemoryError:
            self._on_event(
                self,
                ConnectionLost(
                    self.tracker.connected, msg("the response is too large for the memory of this process")
                ),
            )
        except transport.ERRORS as error:
            sent = self.tracker.connected and not transport.started_nothing(error)
            self._on_event(self, ConnectionLost(sent, transport.reason_of(error)))
        except Exception as error:  # noqa: BLE001 - raised again in the main thread, which waits for it
            self._on_event(self, error)


class DifyClient:
    """One app on one server."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        on_event: OnEvent,
        ca_file: Path | None = None,
        connect_timeout: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Make a client; nothing is sent.

        Args:
            base_url: The normalised address, ending in /v1.
            key: The app's API key.
            on_event: Called from the threads of the calls with the call and each event, in order.
            ca_file: Certificates to trust instead of the usual ones.
            connect_timeout: Seconds for each address tried.
            headers: Sent with every request to the origin of base_url, and to no other origin.
        """
        self._headers = dict(headers or {})
        self._base_url = base_url
        self._key = key
        self._on_event = on_event
        self._ca_file = ca_file
        self._connect_timeout = connect_timeout

    def run(
        self, inputs: Mapping[str, Any], user: str, *, mode: str = "streaming", workflow_id: str | None = None
    ) -> PendingCall:
        """POST /workflows/run, or /workflows/{workflow_id}/run for one published version (1.7.2).

        Args:
            inputs: The inputs to send.
            user: The end user.
            mode: "streaming" or "blocking".
            workflow_id: A published version; None for the newest.
        """
        path = f"/workflows/{quote(workflow_id, safe='')}/run" if workflow_id else "/workflows/run"
        body = {"inputs": dict(inputs), "response_mode": mode, "user": user}
        return self._post(path, body, read_timeout=None)

    def stop(self, task_id: str, user: str) -> PendingCall:
        """POST stop; the server always reports success (`stop-unknown-task`).

        Args:
            task_id: The run's task.
            user: The run's end user.
        """
        return self._post(f"/workflows/tasks/{quote(task_id, safe='')}/stop", {"user": user})

    def detail(self, run_id: str) -> PendingCall:
        """GET run detail."""
        return self.get(f"/workflows/run/{quote(run_id, safe='')}")

    def logs(self, user: str, page: int = 1) -> PendingCall:
        """GET a page with log rows of one end user (servers filter from 1.5.0 on).

        Args:
            user: The end user.
            page: The number of the page, from 1.
        """
        query = urlencode({"created_by_end_user_session_id": user, "page": page, "limit": 100})
        return self.get(f"/workflows/logs?{query}")

    def join(self, run_id: str, user: str) -> PendingCall:
        """GET the events of a run in progress from its start (1.14); the user must be the run's end user.

        Args:
            run_id: The run.
            user: Its end user.
        """
        query = urlencode({"user": user, "include_state_snapshot": "true"})
        return self.get(f"/workflow/{quote(run_id, safe='')}/events?{query}", read_timeout=None)

    def get(self, path: str, *, read_timeout: float | None = _SHORT_ANSWER) -> PendingCall:
        """GET anything below the base URL, such as /info and /parameters.

        Args:
            path: The path, with its query.
            read_timeout: Seconds without a byte; None for no limit.
        """
        return PendingCall(
            self._on_event, lambda call: self._exchange(call, "GET", path, None, {}, read_timeout)
        )

    def upload(self, file: AbstractContextManager[Body]) -> PendingCall:
        """POST one file, which is read while it is sent.

        If the file cannot be read, UnreadableFileError is among the events of the call.

        Args:
            file: The result of opened_body, with the end user of the run.
        """

        def exchange(call: PendingCall) -> Iterator[CallEvent]:
            with file as body:
                headers = {"Content-Type": body.content_type}
                yield from self._exchange(call, "POST", "/files/upload", body, headers, _AFTER_UPLOAD)

        return PendingCall(self._on_event, exchange)

    def _post(
        self, path: str, body: Mapping[str, Any], read_timeout: float | None = _SHORT_ANSWER
    ) -> PendingCall:
        data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        headers = {"Content-Type": "application/json"}
        return PendingCall(
            self._on_event, lambda call: self._exchange(call, "POST", path, data, headers, read_timeout)
        )

    def _exchange(
        self,
        call: PendingCall,
        method: str,
        path: str,
        body: bytes | Body | None,
        headers: Mapping[str, str],
        read_timeout: float | None,
    ) -> Iterator[CallEvent]:
        with transport.session(call.tracker, self._key) as session:
            response = self._send(call, session, method, self._base_url + path, body, headers, read_timeout)
            call.last_byte = time.monotonic()
            with response:
                if 200 <= response.status_code < 300:
                    yield from _answer(call, response)
                else:
                    content = _body(_chunks(call, response))
                    yield Reply(response.status_code, response.headers, content, response.url)

    def _send(
        self,
        call: PendingCall,
        session: requests.Session,
        method: str,
        url: str,
        body: bytes | Body | None,
        headers: Mapping[str, str],
        read_timeout: float | None,
    ) -> requests.Response:
        """Send a request, and follow a redirect only if neither the method nor the origin changes."""
        followed = transport.REDIRECT if method == "GET" else _KEEPS_METHOD
        for _ in range(transport.REDIRECTS):
            response = transport.send(
                session,
                method,
                url,
                ca_file=self._ca_file,
                timeout=(self._connect_timeout, read_timeout),
                data=body,
                headers={**self._headers, **headers},
            )
            target = _redirect_target(response, url) if response.status_code in followed else None
            if target is None:
                return response
            response.close()
            session.close()  # the next call gets a new connection, because the server may close this one
            call.tracker.connected = False  # the redirect proves that this request started nothing
            url = target
        return response


def _answer(call: PendingCall, response: requests.Response) -> Iterator[CallEvent]:
    """Report a stream or a complete body by its first bytes, because gateways change the Content-Type."""
    declared = _is_declared_stream(response)
    transport.check_encoding(response)
    if declared:
        yield StreamOpened(response.headers)
    chunks = _chunks(call, response)
    head = b""
    for chunk in chunks:
        head += chunk
        if (content := content_of(head)) is not Content.UNDECIDED:
            break
    else:
        content = Content.EVENTS if head.strip() else Content.UNDECIDED  # truncated within its first word
    rest = itertools.chain((head,), chunks)
    if content is Content.EVENTS or (declared and content is not Content.JSON):
        if not declared:
            yield StreamOpened(response.headers)
        yield from _events(rest)
    else:
        yield Reply(response.status_code, response.headers, _body(rest), response.url)


def _events(chunks: Iterable[bytes]) -> Iterator[CallEvent]:
    parser = Parser(skip=IRRELEVANT_LINES)
    for chunk in chunks:
        for raw in parser.feed(chunk):
            event = read_event(raw)
            if event is not None:
                yield StreamEvent(event)
                if event.terminal:
                    return
        transport.prepare_memory(parser.pending)
    yield StreamClosed()


def _chunks(call: PendingCall, response: requests.Response) -> Iterator[bytes]:
    """Yield the body, chunked or not, as it arrives.

    It uses read1, because iter_content waits for the end of an answer without chunks.
    """
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        call.last_byte = time.monotonic()
        yield chunk


def _body(chunks: Iterable[bytes]) -> bytes:
    body = bytearray()  # a list of parts would double the memory
    for chunk in chunks:
        body += chunk
        transport.prepare_memory(len(body))
    return bytes(body)


def _is_declared_stream(response: requests.Response) -> bool:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/event-stream"


def _redirect_target(response: requests.Response, url: str) -> str | None:
    """Return the address to which a server redirects from `url`; None for another origin or no address."""
    location = response.headers.get("Location")
    try:
        target = transport.normalised(urljoin(url, location))
        return target if location and _origin(target) == _origin(transport.normalised(url)) else None
    except ValueError:
        return None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
