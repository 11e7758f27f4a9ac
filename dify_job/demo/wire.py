"""HTTP of the demo server: complete answers, and chunked event streams."""

import json
import sys
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """A server with a daemon thread for each connection."""

    allow_reuse_port = False  # http.server has True from Python 3.14 on; a port in use must be an error
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.faults: list[BaseException] = []  # faults of the server itself

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection, or close it if no thread can be started."""
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            self.shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Print nothing: clients that leave are expected. Any other error is recorded as a fault."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.faults.append(error)


class Wire(BaseHTTPRequestHandler):
    """One connection.

    Attributes:
        version: The version of Dify in X-Version.
    """

    version: str
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer a GET request."""
        self.answer("GET")

    def do_POST(self) -> None:
        """Answer a POST request."""
        self.answer("POST")

    def answer(self, method: str) -> None:
        """Answer a request.

        Args:
            method: The HTTP method.
        """
        raise NotImplementedError

    def send_events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Send an event stream.

        Args:
            events: The events in order; a `ping` has no data.
        """
        chunked = self.begin_stream()
        for event in events:
            self.send_event(event, chunked=chunked)
        self.end_stream(chunked=chunked)

    def begin_stream(self) -> bool:
        """Send the head of an event stream; return whether its body is sent in chunks."""
        chunked = self.request_version != "HTTP/1.0"
        self.send_head(200, {"Content-Type": "text/event-stream; charset=utf-8"}, chunked=chunked)
        return chunked

    def send_event(self, event: Mapping[str, Any], *, chunked: bool) -> None:
        """Send one event.

        Args:
            event: The data of the event.
            chunked: Whether the event is sent as a chunk.
        """
        if event["event"] == "ping":
            raw = b"event: ping\n\n"
        else:
            raw = b"data: " + json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
        self.send_chunk(raw) if chunked else self.wfile.write(raw)
        self.wfile.flush()

    def end_stream(self, *, chunked: bool) -> None:
        """End an event stream correctly.

        Args:
            chunked: Whether the body has chunks.
        """
        if chunked:
            self.send_chunk(b"")
        self.wfile.flush()
        self.close_connection = True

    def send_chunk(self, data: bytes) -> None:
        """Send one chunk.

        Args:
            data: The bytes; empty bytes end the body.
        """
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def send_json(self, status: int, value: Any) -> None:
        """Send one JSON value.

        Args:
            status: The HTTP status.
            value: The value.
        """
        self.send_bytes(status, "application/json", json.dumps(value).encode() + b"\n")

    def send_bytes(self, status: int, content_type: str, data: bytes) -> None:
        """Send a complete answer.

        Args:
            status: The HTTP status.
            content_type: The type of the body.
            data: The body.
        """
        self.send_head(status, {"Content-Type": content_type, "Content-Length": str(len(data))})
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True

    def send_head(self, status: int, headers: Mapping[str, str], *, chunked: bool = False) -> None:
        """Send the status line and the header fields.

        Args:
            status: The HTTP status.
            headers: Names and values.
            chunked: Whether the body comes in chunks.
        """
        self.send_response(status)
        for name, value in {**headers, "X-Version": self.version, "X-Env": "PRODUCTION"}.items():
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
