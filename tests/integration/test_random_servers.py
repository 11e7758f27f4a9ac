"""Servers with random behaviour, valid or not: the exit code is true, there is one run, which ends in time.

Such a server reports the true end of the run, or none.
"""

import json
import random
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.campaign import Campaign
from tests.support.command import KEY
from tests.support.fork_server import ForkResult, Forks
from tests.support.recordings import Recording
from tests.support.recordings import runs as recorded_runs
from tests.support.scripted_server import RUN_ID, TASK_ID, logs, run_of
from tests.support.socket_server import FixedResponseServer, SocketServer, read_request

EXPECTED_CODES = {"succeeded": 0, "failed": 80, "partial-succeeded": 81, "stopped": 82, "paused": 83}
NOT_STARTED = {65, 69, 75, 76, 77, 78}
UNKNOWN = {74, 124}
SHORT_LIMITS = {
    "first_poll": 0.5,
    "recovery_polls": [0.05, 0.5],
    "search": 2.0,
    "absent": 2.0,
    "last_event": 0.3,
    "stop_confirmation": 1.0,
    "first_ids": 1.0,
    "retry_pauses": [0.1, 10.0],
}
NOISE = (
    b": comment\n\n",
    b"event: ping\n\n",
    b"\xef\xbb\xbf\n\n",
    b"data: {half\n\n",
    b"data: null\n\n",
    b'data: {"event": "of_the_future", "data": []}\n\n',
    b'data: {"event": "node_started", "data": {"title": "\xff\\u0000\\ud800"}}\n\n',
    b'data: {"event": "workflow_started", "workflow_run_id": 5, "task_id": {"a": 1}, "data": null}\n\n',
    b'data: {"event": "text_chunk", "data": {"text": "' + b"x" * 5000 + b'"}}\n\n',
    b"id\r\rretry: 0\r\n\r\n",
)


class RandomServer(SocketServer):
    """A server with behaviour drawn from a seed; it expects at most one run."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._draw = random.Random(seed)
        self.version = self._draw.choice(["0.6.9", "1.4.0", "1.11.2", "1.14.2", "9.0.0", "x", ""])
        self.end = self._draw.choice([*EXPECTED_CODES, "never"])
        self._ends_at = float("inf")
        self._takes = self._draw.uniform(0, 1.5)
        self._reliability = self._draw.choice([1.0, 0.7, 0.2])
        self.rejections = self._draw.choice([0, 0, 0, 1, 2])
        self.created = 0
        self.stopped = False

    @property
    def status(self) -> str:
        if self.stopped:
            return "stopped"
        return self.end if time.monotonic() >= self._ends_at and self.end != "never" else "running"

    def serve(self, client: socket.socket, number: int) -> None:  # noqa: ARG002 - of all alike
        line = read_request(client).split(b"\r\n", 1)[0]
        if line.startswith(b"POST") and b"/stop " in line:
            self.stopped |= self.created > 0 and self.status == "running" and self._draw.random() < 0.5
            self._send_json(client, 200, {"result": "success"})
        elif line.startswith(b"POST"):
            self._run(client)
        elif self._draw.random() > self._reliability:
            self._answer_invalidly(client)
        elif b"/events" in line:
            if self.version.startswith(("1.14", "9")):
                self._stream(client, 1.0)
            else:
                self._send_json(client, 404, b"<html>")
        elif b"/logs" in line:
            seen = self.created and (self.version >= "1.11" or self.status != "running")
            self._send_json(client, 200, logs(self.status) if seen else logs())
        elif self.created:
            self._send_json(client, 200, run_of(self.status))
        else:
            self._send_json(client, 404, {"code": "not_found", "message": "no", "status": 404})

    def _run(self, client: socket.socket) -> None:
        if self.rejections:
            self.rejections -= 1
            busy = {"code": "invalid_param", "message": "Too many requests. Please try", "status": 400}
            self._send_json(client, *self._draw.choice([(503, b"<html>"), (429, b""), (400, busy)]))
            return
        self.created += 1
        self._ends_at = time.monotonic() + self._takes
        if self._draw.random() < 0.25:
            self._answer_invalidly(client)
        else:
            self._stream(client, self._draw.choice([1.0, 1.0, 0.5]))

    def _stream(self, client: socket.socket, completeness: float) -> None:
        ids = {"workflow_run_id": RUN_ID, "task_id": TASK_ID}
        started = {"event": "workflow_started", **ids, "data": {"id": RUN_ID}}
        node = {"event": "node_finished", **self._draw.choice([ids, ids, {}]), "data": {"id": "n"}}
        first = [started, node, node, {"event": "node_retry", "data": None}]
        self._draw.shuffle(first)
        client.sendall(self._head(200, "text/event-stream"))
        for event in first[: self._draw.randint(0, 4)]:
            self._noise(client)
            client.sendall(self._event(event))
        while self.status == "running" and not self._closed.wait(0.1):
            if self._draw.random() > 0.97 * completeness:
                self._break(client)
                return
            self._noise(client)
        if self._draw.random() > completeness or (self.status == "paused" and self.version < "1.13"):
            self._break(client)
            return
        last = {"event": "workflow_finished", **ids, "data": run_of(self.status)}
        if self.status == "paused":
            last = {"event": "workflow_paused", **ids, "data": {}}
        for _ in range(self._draw.randint(1, 2)):
            client.sendall(self._event(last))
        if self._draw.random() < 0.3:
            self._closed.wait(30)

    def _noise(self, client: socket.socket) -> None:
        if self._draw.random() < 0.5:
            client.sendall(self._draw.choice(NOISE))

    def _event(self, event: object) -> bytes:
        end = self._draw.choice([b"\n", b"\r\n"])
        return b"data:" + json.dumps(event).encode() + end + end

    def _head(self, status: int, kind: str, length: int | None = None) -> bytes:
        version = f"X-Version: {self.version}\r\n" if self.version else ""
        size = "" if length is None else f"Content-Length: {length}\r\n"
        return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{version}{size}\r\n".encode()

    def _send_json(self, client: socket.socket, status: int, body: object) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if isinstance(body, bytes):
            client.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw)
        else:
            client.sendall(self._head(status, "application/json", len(raw)) + raw)

    def _answer_invalidly(self, client: socket.socket) -> None:
        match self._draw.randrange(5):
            case 0:
                self._send_json(client, self._draw.choice([500, 502, 504, 524]), b"<html>")
            case 1:
                client.sendall(self._head(200, "application/json", 500) + b'{"id": ')
            case 2:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/ev")
            case _:
                self._break(client)

    def _break(self, client: socket.socket) -> None:
        match self._draw.randrange(3):
            case 0:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case 1:
                self._closed.wait(30)


def fault_of(server: RandomServer, ended: ForkResult) -> str | None:
    if not isinstance(json.loads(ended.stdout), dict) or ended.result["exit_code"] != ended.code:
        return "stdout is not the result"
    if "Traceback" in ended.stderr or ended.code not in {*EXPECTED_CODES.values(), *NOT_STARTED, *UNKNOWN}:
        return "dify-job crashed"
    if server.created > 1:
        return f"{server.created} runs"
    if ended.code in NOT_STARTED and server.created:
        return "the code means that no run was started"
    if ended.code in EXPECTED_CODES.values() and ended.code != EXPECTED_CODES.get(server.status):
        return f"the run is {server.status}"
    if ended.result["duration_s"] > 23:
        return "it hung"
    return None


@pytest.mark.timeout(300)
def test_exit_code_is_true_for_any_server(forks: Forks, tmp_path: Path, campaign: Campaign) -> None:
    def run_random_server(seed: int) -> tuple[int, int, str | None]:
        with RandomServer(seed) as server:
            home = tmp_path / str(seed)
            mode = ("streaming", "blocking")[seed % 7 == 0]
            env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}
            ended = forks.run(home, ["run", "--timeout", "3s", "--mode", mode], env, SHORT_LIMITS, 3)
            fault = fault_of(server, ended)
            return seed, ended.code, fault and f"{fault}: exit {ended.code}, {ended.stderr[-500:]}"

    with ThreadPoolExecutor(24) as pool:
        results = list(pool.map(run_random_server, campaign.pick(range(400), 40)))
    assert not [one for one in results if one[2]]
    seen = {code for _, code, _ in results}
    if campaign.whole:
        assert {*EXPECTED_CODES.values(), 74, 124} <= seen, "the servers are not wild enough"


# Responses with wrong bytes


def mangled(recording: Recording, draw: random.Random) -> bytes:
    """A recorded response with some bytes of head or body changed, removed or repeated."""
    head = f"HTTP/1.1 {recording.status or 200} OK\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in recording.headers.items())
    raw = bytearray(
        head.encode() + b"Location: http://[\r\n"[: draw.choice([0, 20])] + b"\r\n" + recording.bytes
    )
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(raw) or 1)
        match draw.randrange(4):
            case 0:
                raw[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del raw[at : at + draw.randint(1, 40)]
            case 2:
                raw[at:at] = raw[at : at + draw.randint(1, 200)]
            case _:
                raw[at:at] = draw.choice([b"\r\n", b"\x1b[2J", "²".encode("latin-1"), b"1e999", b"\0", b'"'])
    return bytes(raw)


@pytest.mark.timeout(300)
def test_response_with_wrong_bytes_never_crashes_a_run(
    forks: Forks, tmp_path: Path, campaign: Campaign
) -> None:
    recordings = [
        one for version in ("1.11.2", "1.14.2") for one in recorded_runs(version) if len(one.bytes) < 50_000
    ]

    def answered(seed: int) -> str | None:
        draw = random.Random(seed)
        recording = draw.choice(recordings)
        with FixedResponseServer(mangled(recording, draw)) as server:
            env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}
            ended = forks.run(tmp_path / str(seed), ["run", "--timeout", "2s"], env, SHORT_LIMITS, 2)
        good = ended.code in {*EXPECTED_CODES.values(), *NOT_STARTED, *UNKNOWN}
        good = good and json.loads(ended.stdout)["exit_code"] == ended.code and "\x1b" not in ended.stderr
        return None if good else f"{seed} {recording.name}: exit {ended.code}, {ended.stderr[-800:]}"

    with ThreadPoolExecutor(24) as pool:
        assert not [fault for fault in pool.map(answered, campaign.pick(range(600), 60)) if fault]
