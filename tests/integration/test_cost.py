"""Cost of a run that is measurable without a clock: peak memory, and the order of output."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import KEY, Command, program_with_limits
from tests.support.patience import PATIENCE
from tests.support.socket_server import RespondWith

from .test_transport import HEAD, event

pytestmark = pytest.mark.slow  # each test measures a new process
BENCH = Path(__file__).parents[2] / "bench"
MIB = 2**20


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Port of the benchmark's server, which sends as much as the URL asks for."""
    command = [sys.executable, "-I", "-S", str(BENCH / "server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.kill()


def peak(home: Path, base_url: str, *args: str) -> float:
    """Return the peak memory of a run in bytes.

    A small process starts the run, because the peak of a child begins with the memory of its parent.
    """
    measure = [sys.executable, "-I", "-S", str(BENCH / "measure.py"), "1"]
    command = [sys.executable, *program_with_limits(), "run", *args]
    env = {
        "HOME": str(home),
        "STATE_DIRECTORY": str(home / "s"),
        "DIFY_API_KEY": KEY,
        "DIFY_BASE_URL": base_url,
    }
    done = subprocess.run([*measure, *command], env=env, cwd=home, capture_output=True, text=True, check=True)
    _, mib, status = done.stdout.splitlines()[0].split()
    assert status == "0"
    return float(mib) * MIB


@pytest.mark.parametrize("framing", ["chunks", "blocks", "end"])
def test_memory_does_not_grow_with_the_number_of_events(port: int, tmp_path: Path, framing: str) -> None:
    few, many = (
        peak(tmp_path, f"http://127.0.0.1:{port}/{events}/1000/{framing}/v1") for events in (20, 200_000)
    )
    assert many - few < 4 * MIB


@pytest.mark.parametrize(
    ("mode", "framing"), [("streaming", "chunks"), ("blocking", "chunks"), ("blocking", "end")]
)
def test_large_response_takes_at_most_3_5_times_its_size_in_memory(
    port: int, tmp_path: Path, mode: str, framing: str
) -> None:
    size = 20_000_000
    idle, large = (
        peak(tmp_path, f"http://127.0.0.1:{port}/{events}/{size_}/{framing}/v1", "--mode", mode)
        for events, size_ in ((20, 300), (0, size))
    )
    assert large - idle < 3.5 * size


@pytest.mark.parametrize("chunked", [True, False])
def test_event_is_logged_before_the_next_one_arrives(
    dify_job: Command, respond_with: RespondWith, chunked: bool
) -> None:
    """The server sends the next event only after the log has the last one; buffered output would deadlock."""
    logged = threading.Semaphore(0)

    def answer(connection: socket.socket) -> None:
        def send(data: bytes) -> None:
            for part in (data[:7], data[7:]):
                connection.sendall(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)

        connection.sendall(HEAD + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n"))
        for number in range(5):
            send(event("node_started", title=f"step {number}"))
            assert logged.acquire(timeout=PATIENCE)
        send(event("workflow_finished", id="r1", status="succeeded"))

    process = dify_job.start(
        "run",
        "--log-format",
        "json",
        "-v",
        env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": respond_with(answer).base_url},
    )
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        if node := json.loads(line).get("node"):
            seen.append(node)
            logged.release()
    assert process.wait() == 0
    assert seen == [f"step {number}" for number in range(5)]
