"""Several starts of a job, some of them killed, against random servers: no run starts during another one."""

import json
import random
import signal
import socket
import struct
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.campaign import Campaign
from tests.support.command import KEY
from tests.support.environment import bare_environ
from tests.support.fork_server import fork_server
from tests.support.scripted_server import NOT_FOUND, PING
from tests.support.socket_server import SocketServer, read_request

VERSIONS = ["0.6.9", "1.4.3", "1.9.2", "1.10.1", "1.11.2", "1.12.1", "1.13.3", "1.14.2", "1.16.1", ""]
LIMITS: dict[str, Any] = {
    "stop_confirmation": 1.0,
    "first_ids": 0.5,
    "search": 1.0,
    "absent": 1.5,
    "recovery_polls": [0.05, 0.3],
    "last_event": 0.3,
    "first_poll": 0.5,
    "earlier_run": 1.0,
    "turn_polls": [0.05, 0.2],
    "stop_poll": 0.2,
}
EXPECTED = {0, 69, 74, 75, 80, 82, 124, 143, -signal.SIGKILL}


@dataclass
class Run:
    """A run on the server; times are monotonic."""

    user: str
    begins: float
    ends: float
    end: str
    run_id: str
    task_id: str
    recorded: float = 0.0
    stop_accepted: bool = False
    stopped: bool = False
    client_left: bool = False

    @property
    def status(self) -> str:
        now = time.monotonic()
        if now < self.begins:
            return "queued"
        if self.stopped:
            return "stopped"
        return "running" if now < self.ends else self.end

    @property
    def data(self) -> dict[str, Any]:
        return {"id": self.run_id, "status": self.status, "outputs": {}, "created_by": {"id": "x"}}


@dataclass
class Seen:
    """What a server has seen. overlapped: the unsettled runs during which another one was started."""

    runs: list[Run] = field(default_factory=list)
    overlapped: list[Run] = field(default_factory=list)


class SequenceServer(SocketServer):
    """A server with many runs and with the queue, the log and the records of its version."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._draw = random.Random(seed)
        self.version = self._draw.choice(VERSIONS)
        self._number = tuple(map(int, self.version.split(".")[:2])) if self.version else (1, 16)
        self._reliability = self._draw.choice([1.0, 1.0, 0.8, 0.5])
        self._record_delay = self._draw.choice([0.0, 0.0, 0.0, 1.5])
        self.seen = Seen()

    def serve(self, client: socket.socket, number: int) -> None:  # noqa: ARG002 - all connections are alike
        request = read_request(client)
        words = request.decode(errors="replace").split(" ", 2)
        if words[0] == "POST" and not words[1].endswith("/stop"):
            self._start(client, json.loads(request.partition(b"\r\n\r\n")[2]))
        elif len(words) < 3 or self._draw.random() > self._reliability:
            self._fail(client)
        elif words[0] == "POST":
            self._stop(client, words[1])
        elif "/logs" in words[1]:
            self._log(client, words[1])
        else:
            self._record(client, words[1])

    def _start(self, client: socket.socket, body: dict[str, Any]) -> None:
        runs = self.seen.runs
        self.seen.overlapped += [
            run for run in runs if run.status in ("running", "queued") and not run.stop_accepted
        ]
        streaming = body["response_mode"] == "streaming"
        queued = self._draw.choice([0, 0, 1, 2]) if self._number >= (1, 13) and streaming else 0
        begins = time.monotonic() + queued
        end = self._draw.choice(["succeeded", "failed"])
        run = Run(body["user"], begins, begins + self._draw.uniform(0, 4), end, self._uuid(), self._uuid())
        run.recorded = begins + self._record_delay
        runs.append(run)
        if self._draw.random() < 0.3:
            run.client_left = True
            self._fail(client)
            return
        try:
            self._stream(client, run) if streaming else self._block(client, run)
        except OSError:
            run.client_left = True

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._draw.getrandbits(128)))

    def _stop(self, client: socket.socket, path: str) -> None:
        for run in self.seen.runs:
            if run.task_id in path:
                run.stop_accepted = True
                run.stopped |= run.status == "running" and self._draw.random() < 0.7
        self._send(client, {"result": "success"})

    def _log(self, client: socket.socket, path: str) -> None:
        rows: list[dict[str, Any]] = []
        for run in self.seen.runs:
            if run.status == "queued" or (self._number >= (1, 5) and run.user not in path):
                continue
            if self._number < (1, 11) and (run.status == "running" or run.client_left):
                continue  # dify#28640
            shown = {"id": run.run_id, "status": run.status} if time.monotonic() > run.recorded else None
            rows.insert(0, {"created_by_end_user": {"session_id": run.user}, "workflow_run": shown})
        self._send(client, {"page": 1, "has_more": False, "data": rows})

    def _record(self, client: socket.socket, path: str) -> None:
        run = next((one for one in self.seen.runs if one.run_id in path and one.status != "queued"), None)
        if "/events" in path and self._number < (1, 14):
            self._send(client, b"<html>", 404)
        elif run is None and self._number < (1, 13):
            self._send(client, {"id": None, "status": None})
        elif run is None:
            client.sendall(NOT_FOUND.parts[0][1])
        elif "/events" in path:
            self._stream(client, run)
        else:
            self._send(client, run.data)

    def _stream(self, client: socket.socket, run: Run) -> None:
        ids = {"workflow_run_id": run.run_id, "task_id": run.task_id}
        version = f"X-Version: {self.version}\r\n" if self.version else ""
        client.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{version}\r\n".encode() + PING)
        while run.status == "queued":
            if self._closed.wait(0.05):
                return
        client.sendall(_event({"event": "workflow_started", **ids, "data": {"id": run.run_id}}))
        truncated = self._draw.random() < 0.3
        while run.status == "running":
            if self._closed.wait(0.1) or (truncated and self._draw.random() < 0.2):
                return
            client.sendall(PING)
        if not truncated:
            client.sendall(_event({"event": "workflow_finished", **ids, "data": run.data}))

    def _block(self, client: socket.socket, run: Run) -> None:
        while run.status == "running":
            if self._closed.wait(0.1):
                return
        self._send(client, {"task_id": run.task_id, "workflow_run_id": run.run_id, "data": run.data})

    def _send(self, client: socket.socket, body: object, status: int = 200) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "text/html" if isinstance(body, bytes) else "application/json"
        version = f"X-Version: {self.version}\r\n" if self.version and kind != "text/html" else ""
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{version}Content-Length: {len(raw)}\r\n\r\n"
        client.sendall(head.encode() + raw)

    def _fail(self, client: socket.socket) -> None:
        match self._draw.randrange(4):
            case 0:
                self._send(client, b"<html>", self._draw.choice([500, 502, 504, 524, 408]))
            case 1:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
            case 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


@pytest.mark.timeout(600)
def test_no_run_starts_during_an_unsettled_run(tmp_path: Path, campaign: Campaign) -> None:
    def run_sequence(seed: int) -> list[str]:
        draw = random.Random(seed)
        faults = []
        with SequenceServer(seed) as server:
            home = tmp_path / str(seed)
            home.mkdir()
            config = home / "c.toml"
            overlap = draw.choice(["fail", "fail", "wait"])
            config.write_text(
                f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\noverlap = "{overlap}"\n'
            )
            env = bare_environ(HOME=str(home), STATE_DIRECTORY=str(home / "state")) | {"K": KEY}
            for number in range(draw.randint(3, 5)):
                mode, limit = draw.choice(["streaming", "streaming", "blocking"]), draw.choice([1, 3, 6])
                args = ["run", "--config", str(config), "--mode", mode, "--timeout", f"{limit}s"]
                with (home / f"{number}.err").open("wb") as err:
                    order = {"args": args, "env": env, "cwd": str(home), "limits": LIMITS}
                    process = fork_server().start(order, stdout=err, stderr=err)
                    if draw.random() < 0.35:
                        time.sleep(draw.uniform(0.3, 1.5))
                        process.send_signal(draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
                    code = process.wait()
                if code not in EXPECTED:
                    faults.append(f"{seed}, start {number}: exit {code}")
            faults += [
                f"{seed}, {server.version}: another run during {run}" for run in server.seen.overlapped
            ]
        return faults

    with ThreadPoolExecutor(16) as pool:
        faults = [fault for found in pool.map(run_sequence, campaign.pick(range(200), 16)) for fault in found]
    assert not faults
