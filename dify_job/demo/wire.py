"""The stand-in's wire: whole answers, streams in chunks, and recorded answers as they were."""

import json
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Replay:
    """A recorded answer, sent as it was. parts: (seconds after the request, bytes), one chunk each.

    ended: "complete", "cut" (no last chunk), "closed" (not a byte) or "open" (held until the client leaves).
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence[tuple[float, bytes]] = ()
    ended: str = "complete"
    speed: float = 1.0


class Server(ThreadingHTTPServer):
    """Answers each connection in a thread that nobody waits for."""

    allow_reuse_port = False  # http.server has True from Python 3.14 on; a port in use must be an error
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.faults: list[BaseException] = []  # faults of the server itself

    def handle_error(self, *_: object) -> None:
        """Print nothing: clients that leave are expected. Any other error is recorded as a fault."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.faults.append(error)


class Wire(BaseHTTPRequestHandler):
    """One connection. version: for X-Version. pings_first: a stream begins so. closing: the server's end."""

    version: str
    pings_first: bool
    closing: threading.Event
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Say nothing: what came is in `received`."""

    def do_GET(self) -> None:
        """As of http.server."""
        self.answer("GET")

    def do_POST(self) -> None:
        """As of http.server."""
        self.answer("POST")

    def answer(self, method: str) -> None:
        """Answer the request whose head was read."""
        raise NotImplementedError

    def send_replay(self, replay: Replay) -> None:
        """Send a recorded answer as it was."""
        began = time.monotonic()
        if replay.ended != "closed":
            chunked = "Content-Length" not in replay.headers
            self._head(replay.status, dict(replay.headers), chunked=chunked, recorded=True)
            for at, part in replay.parts:
                time.sleep(max(0.0, began + at / replay.speed - time.monotonic()))
                self._chunk(part) if chunked else self.wfile.write(part)
                self.wfile.flush()
            if replay.ended == "complete" and chunked:
                self._chunk(b"")
            self.wfile.flush()
            if replay.ended == "open":
                self.closing.wait(300)
        self.close_connection = True

    def send_events(
        self,
        events: Iterable[dict[str, Any]],
        *,
        more: Iterable[dict[str, Any]] = (),
        hold: bool = False,
        ping_first: bool = True,
    ) -> None:
        """Send a stream; hold: the connection stays open after its last event."""
        headers = {"Content-Type": "text/event-stream; charset=utf-8"}
        chunked = self.request_version != "HTTP/1.0"
        self._head(200, headers, chunked=chunked)
        if self.pings_first and ping_first:
            self._event({"event": "ping"}, chunked=chunked)
        for part in (events, more):
            for event in part:
                self._event(event, chunked=chunked)
        if hold:
            self.closing.wait(300)
        elif chunked:
            self._chunk(b"")
        self.wfile.flush()
        self.close_connection = True

    def _event(self, event: Mapping[str, Any], *, chunked: bool) -> None:
        if event["event"] == "ping":  # without a data line
            raw = b"event: ping\n\n"
        else:
            raw = b"data: " + json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
        self._chunk(raw) if chunked else self.wfile.write(raw)
        self.wfile.flush()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def send_json(self, status: int, value: Any) -> None:
        """Send one JSON value."""
        self.send_bytes(status, "application/json", json.dumps(value).encode() + b"\n")

    def send_bytes(self, status: int, content_type: str, data: bytes) -> None:
        """Send a whole answer."""
        self._head(status, {"Content-Type": content_type, "Content-Length": str(len(data))}, chunked=False)
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True

    def _head(
        self, status: int, headers: Mapping[str, str], *, chunked: bool, recorded: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        if not recorded:
            self.send_header("X-Version", self.version)
            self.send_header("X-Env", "PRODUCTION")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
