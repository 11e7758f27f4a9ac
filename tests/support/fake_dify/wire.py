"""HTTP of the fake server: recorded responses and open streams, in addition to the demo server."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dify_job.demo.wire import Server, Wire

__all__ = ["RecordedWire", "Replay", "Server"]


@dataclass(frozen=True, slots=True)
class Replay:
    """A recorded response.

    Attributes:
        status: HTTP status.
        headers: Headers.
        parts: Seconds after the request, and bytes of a chunk.
        ended: "complete", "cut" (no last chunk), "closed" (no byte) or "open" (until the client disconnects).
        speed: Factor that divides the seconds.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence[tuple[float, bytes]] = ()
    ended: str = "complete"
    speed: float = 1.0


class RecordedWire(Wire):
    """A connection.

    Attributes:
        pings_first: A stream begins with a ping.
        closing: Set when the server stops.
    """

    pings_first: bool
    closing: threading.Event

    def send_replay(self, replay: Replay) -> None:
        """Send a recorded response."""
        began = time.monotonic()
        if replay.ended != "closed":
            chunked = "Content-Length" not in replay.headers
            self._send_recorded_head(replay, chunked=chunked)
            for at, part in replay.parts:
                time.sleep(max(0.0, began + at / replay.speed - time.monotonic()))
                self.send_chunk(part) if chunked else self.wfile.write(part)
                self.wfile.flush()
            if replay.ended == "complete" and chunked:
                self.send_chunk(b"")
            self.wfile.flush()
            if replay.ended == "open":
                self.closing.wait(300)
        self.close_connection = True

    def _send_recorded_head(self, replay: Replay, *, chunked: bool) -> None:
        self.send_response(replay.status)
        for name, value in replay.headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()

    def send_events(
        self,
        events: Iterable[Mapping[str, Any]],
        *,
        more: Iterable[Mapping[str, Any]] = (),
        hold: bool = False,
        ping_first: bool = True,
    ) -> None:
        """Send a stream.

        Args:
            events: First events.
            more: Further events.
            hold: Leave the connection open after the last event.
            ping_first: Begin with a ping, if the version does.
        """
        chunked = self.begin_stream()
        if self.pings_first and ping_first:
            self.send_event({"event": "ping"}, chunked=chunked)
        for part in (events, more):
            for event in part:
                self.send_event(event, chunked=chunked)
        if hold:
            self.closing.wait(300)
        self.end_stream(chunked=chunked and not hold)
