"""What the imitation adds to the demo server's HTTP: recorded answers, and streams held open."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dify_job.demo.wire import Server, Wire

__all__ = ["RecordedWire", "Replay", "Server"]


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


class RecordedWire(Wire):
    """One connection. pings_first: a stream begins so. closing: the server's end."""

    pings_first: bool
    closing: threading.Event

    def send_replay(self, replay: Replay) -> None:
        """Send a recorded answer as it was."""
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
        """Send a stream; hold: the connection stays open after its last event."""
        chunked = self.begin_stream()
        if self.pings_first and ping_first:
            self.send_event({"event": "ping"}, chunked=chunked)
        for part in (events, more):
            for event in part:
                self.send_event(event, chunked=chunked)
        if hold:
            self.closing.wait(300)
        self.end_stream(chunked=chunked and not hold)
