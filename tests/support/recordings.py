"""The exchanges recorded from real Dify servers, as tests use them."""

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
        ended = "closed" if self.status is None and self.ended != "open" else self.ended
        return Replay(self.status or 200, self.headers, self.parts, ended, speed)


@cache
def load(version: str, name: str) -> Recording:
    told = json.loads((DATA / "recordings" / version / f"{name}.json").read_text())
    request, response = told.get("request") or {}, told.get("response") or {}
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
        told.get("app") or "",
    )


def names(version: str) -> list[str]:
    return sorted(path.stem for path in (DATA / "recordings" / version).glob("*.json"))


def runs(version: str) -> list[Recording]:
    return [recording for name in names(version) if (recording := load(version, name)).starts_a_run]
