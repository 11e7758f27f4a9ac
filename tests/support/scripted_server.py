"""A server with scripted responses: raw bytes with pauses, per kind of request."""

import json
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.socket_server import SocketServer, read_request

RUN_ID = "11111111-1111-4111-8111-111111111111"
TASK_ID = "22222222-2222-4222-8222-222222222222"


@dataclass(frozen=True)
class RawResponse:
    """A raw response.

    Attributes:
        parts: Pairs of a pause in seconds and the bytes that follow it.
        then: What happens afterwards: "close", "reset" or "hold" the connection.
    """

    parts: tuple[tuple[float, bytes], ...] = ()
    then: str = "close"


def answer(
    status: int, body: object = b"", headers: Mapping[str, str] | None = None, *, version: str | None = None
) -> RawResponse:
    """Return a complete HTTP response.

    Args:
        status: HTTP status.
        body: Bytes (then as text/html), or a value that is sent as JSON.
        headers: Additional headers.
        version: Value of X-Version.
    """
    dify = not isinstance(body, bytes)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json" if dify else "text/html", "Content-Length": str(len(raw))}
    if version:
        given["X-Version"] = version
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**given, **(headers or {})}.items())
    return RawResponse(((0, f"HTTP/1.1 {status} Answer\r\n{lines}\r\n".encode() + raw),))


def stream(*events: object, version: str = "1.14.2", then: str = "close", pause: float = 0.0) -> RawResponse:
    """Return a response with a stream of events.

    Args:
        events: Raw bytes, or values that are sent as one data line.
        version: Value of X-Version.
        then: What happens after the last event.
        pause: Seconds before each event.
    """
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Version: {version}\r\n\r\n"
    parts = [(0.0, head.encode())]
    for event in events:
        raw = event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n"
        parts.append((pause, raw))
    return RawResponse(tuple(parts), then)


PING = b"event: ping\n\n"
STARTED = {"event": "workflow_started", "task_id": TASK_ID, "workflow_run_id": RUN_ID, "data": {"id": RUN_ID}}


def run_of(status: str, **more: Any) -> dict[str, Any]:
    """Return run detail; it has the fields of the data of a terminal event."""
    return {"id": RUN_ID, "status": status, "outputs": {"result": "x"}, "error": None, **more}


def finished(status: str, **more: Any) -> dict[str, Any]:
    data = run_of(status, **more)
    return {"event": "workflow_finished", "task_id": TASK_ID, "workflow_run_id": RUN_ID, "data": data}


def blocking(status: str, **more: Any) -> dict[str, Any]:
    return {"task_id": TASK_ID, "workflow_run_id": RUN_ID, "data": run_of(status, **more)}


def logs(*statuses: str) -> dict[str, Any]:
    rows = [{"id": "row", "workflow_run": {"id": RUN_ID, "status": status}} for status in statuses]
    return {"page": 1, "limit": 20, "total": len(rows), "has_more": False, "data": rows}


NOT_FOUND = answer(404, {"code": "not_found", "message": "Workflow run not found.", "status": 404})


class ScriptedServer(SocketServer):
    """A server with responses per kind of request; the last response of a kind repeats.

    Args:
        answers: Responses by kind: post, stop, detail, logs, events, other.

    Attributes:
        seen: Kind and bytes of each request.
    """

    def __init__(self, **answers: RawResponse | Sequence[RawResponse]) -> None:
        super().__init__()
        default = {
            "stop": answer(200, {"result": "success"}),
            "detail": NOT_FOUND,
            "logs": answer(200, logs()),
            "events": NOT_FOUND,
            "other": NOT_FOUND,
        }
        self._answers = {
            kind: [given] if isinstance(given, RawResponse) else list(given)
            for kind, given in {**default, **answers}.items()
        }
        self.seen: list[tuple[str, bytes]] = []

    def say(self, kind: str, *answers: RawResponse) -> None:
        """Replace the responses to a kind of request."""
        self._answers[kind] = list(answers)

    def count(self, kind: str) -> int:
        """Return the number of requests of a kind."""
        return sum(seen == kind for seen, _ in self.seen)

    def bodies(self, kind: str) -> list[Any]:
        """Return the JSON bodies of the requests of a kind."""
        return [json.loads(raw.partition(b"\r\n\r\n")[2]) for seen, raw in self.seen if seen == kind]

    def serve(self, client: socket.socket, number: int) -> None:  # noqa: ARG002 - all connections are alike
        request = read_request(client)
        kind = _kind(request)
        self.seen.append((kind, request))
        answers = self._answers[kind]
        say = answers.pop(0) if len(answers) > 1 else answers[0]
        for pause, part in say.parts:
            if pause:
                time.sleep(pause)
            client.sendall(part)
        if say.then == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif say.then == "hold":
            self._closed.wait(60)


def _kind(request: bytes) -> str:
    line = request.split(b"\r\n", 1)[0]
    if line.startswith(b"POST"):
        return "stop" if b"/stop " in line else "post" if b"/run " in line else "other"
    for kind, word in (("events", b"/events"), ("logs", b"/workflows/logs"), ("detail", b"/workflows/run/")):
        if word in line:
            return kind
    return "other"
