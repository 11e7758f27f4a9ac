"""Recorded HTTP exchanges of real Dify servers (tests/data/recordings)."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.fake_dify.wire import Replay

DATA = Path(__file__).parents[1] / "data"
KEY = "app-EXAMPLEKEY000000000000"
VERSIONS = ("1.11.2", "1.12.1", "1.14.2", "1.16.1")

_ENDED = {
    "complete": "complete",
    "closed by the client (on purpose)": "cut",
    "gave up waiting (client side time limit)": "open",
    "server closed before any answer": "closed",
}


@dataclass(frozen=True)
class Recording:
    """A recorded request and its response.

    Attributes:
        version: Dify version of the server.
        name: Name of the recording.
        method: Method of the request.
        path: Path of the request.
        request: Body of the request.
        status: HTTP status; None if there was no response.
        headers: Headers of the response, without those of the transfer.
        parts: Parts of the body, with the seconds after the request at which each arrived.
        ended: "complete", "cut", "open" or "closed", as for `Replay`.
        body_bytes: Size of the body.
        app: Name of the app.
    """

    version: str
    name: str
    method: str
    path: str
    request: Any
    status: int | None
    headers: dict[str, str]
    parts: tuple[tuple[float, bytes], ...]
    ended: str
    body_bytes: int
    app: str = ""

    @property
    def starts_a_run(self) -> bool:
        return self.method == "POST" and self.path.endswith("/run") and "/workflows/" in self.path

    @property
    def bytes(self) -> bytes:
        return b"".join(part for _, part in self.parts)

    @property
    def json(self) -> Any:
        return json.loads(self.bytes)

    def replay(self, speed: float = 1000.0) -> Replay:
        """Return the response for the fake server to send, so many times as fast."""
        ended = "closed" if self.status is None and self.ended != "open" else self.ended
        return Replay(self.status or 200, self.headers, self.parts, ended, speed)


@cache
def load(version: str, name: str) -> Recording:
    """Read a recording."""
    recorded = json.loads((DATA / "recordings" / version / f"{name}.json").read_text())
    request, response = recorded.get("request") or {}, recorded.get("response") or {}
    events = response.get("events") or []
    headers = {
        key: value
        for key, value in (response.get("headers") or {}).items()
        if key.lower() not in ("transfer-encoding", "content-length", "content-encoding", "connection")
    }
    parts = [(event["at_s"], event["raw"].encode()) for event in events]
    if not parts:
        raw = response.get("body_raw")
        body = raw if raw is not None else json.dumps(response.get("body"))
        parts = [(0.0, body.encode())]
    return Recording(
        version,
        name,
        request.get("method", ""),
        request.get("path", ""),
        request.get("body"),
        response.get("status"),
        headers,
        tuple(parts),
        _ENDED.get(response.get("ended", ""), "cut"),
        response.get("body_bytes") or 0,
        recorded.get("app") or "",
    )


def names(version: str) -> list[str]:
    """Return the names of all recordings of a version."""
    return sorted(path.stem for path in (DATA / "recordings" / version).glob("*.json"))


def runs(version: str) -> list[Recording]:
    """Return the recordings of a version that start a run."""
    return [recording for name in names(version) if (recording := load(version, name)).starts_a_run]
