"""Connection faults at any byte, with any end of the run: the exit code is true.

The expected codes are computed before each run. 74 is among them only if neither an ID nor a log row can be
found, because the request never arrived.
"""

import itertools
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.support.campaign import Campaign
from tests.support.command import Command
from tests.support.fake_dify.apps import App, Node
from tests.support.fake_dify.server import FakeDify
from tests.support.fork_server import HUNG, ForkResult, Forks
from tests.support.patience import PATIENCE

from .cutting import EVENT_END, Cut, CuttingProxy, Fault

# end of the run on the server -> the app that ends so, and the exit code if the run can be found
SERVER_ENDS = {
    "goes on": (App("app-goes-on", nodes=(Node("Think", 0.05),)), 0),
    "fails": (App("app-fails", nodes=(Node("Think", 0.05, error="no"),)), 80),
    "is stopped": (App("app-stops", nodes=(Node("Think", 0.05, stops=True),)), 82),
    "pauses": (App("app-pauses", nodes=(Node("Think", 0.05, pauses=True),)), 83),
    "stays silent": (App("app-silent", nodes=(Node("Think", 3600.0),)), 124),
}
SHORT, LONG = 2.0, 60.0  # deadlines: for cells that end at the deadline, and for others
CODES_AT_THE_DEADLINE = {74, 124}
MODES = ("streaming", "blocking")
NUMBERS = itertools.count()  # numbers of cells, unique over all tests


@dataclass(frozen=True)
class Cell:
    version: str
    mode: str
    fate: str
    cut: Cut | None

    @property
    def request_arrives(self) -> bool:
        return self.cut is None or not self.cut.in_request


@dataclass(frozen=True)
class Attempt:
    """The last attempt of a cell; its name is an input, which identifies its runs on the server.

    Attributes:
        posts: Requests to start a run that the proxy received.
        seen: All requests that the proxy received.
    """

    name: str
    tries: int
    ended: ForkResult
    request: bytes
    response: bytes
    posts: int
    seen: tuple[str, ...]

    @property
    def log(self) -> str:
        return "\n".join(
            ["  proxy:", *self.seen, "  stdout:", self.ended.stdout, "  stderr:", self.ended.stderr]
        )


def expected_codes(cell: Cell) -> set[int]:
    if not cell.request_arrives:
        return {74}  # no run exists, but no client can prove that
    return {SERVER_ENDS[cell.fate][1]}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, FakeDify]]:
    apps = [app for app, _ in SERVER_ENDS.values()]
    with FakeDify(apps, version="1.14.2", ping=0.2) as new, FakeDify(apps, version="1.11.2", ping=0.2) as old:
        yield {"1.14.2": new, "1.11.2": old}


@pytest.fixture(scope="module")
def homes() -> Iterator[Path]:
    """Directory in memory, because each cell writes its state with fsync."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


def port_of(server: FakeDify) -> int:
    return int(server.base_url.rpartition(":")[2].partition("/")[0])


def patience(cell: Cell, deadline: float) -> dict[str, object]:
    """Return short limits for cells that end at the deadline, and long ones for others."""
    return {
        "first_poll": 0.3,
        "recovery_polls": (0.05, 0.5),
        "stop_poll": 0.2,
        "search": 30.0 if cell.request_arrives else 0.5,
        "last_event": 0.3,
        # With LONG it must end before Forks treats it as hanging.
        "stop_confirmation": min(deadline, 5 * SHORT),
        "first_ids": 15.0 if cell.request_arrives else 0.3,
    }


def run_cell(forks: Forks, server: FakeDify, cell: Cell, home: Path) -> Attempt:
    """Run a cell as a process; repeat it with more time if the machine was too slow for a short deadline."""
    deadlines = (
        (SHORT, 5 * SHORT, LONG) if expected_codes(cell) & CODES_AT_THE_DEADLINE else (LONG, LONG, LONG)
    )
    for number, deadline in enumerate(deadlines, 1):
        name = f"{home.name}-{number}-{deadline:02.0f}"
        with CuttingProxy(port_of(server), cell.cut) as proxy:
            env = {"DIFY_API_KEY": SERVER_ENDS[cell.fate][0].key, "DIFY_BASE_URL": proxy.base_url}
            args = [
                "--log-level=debug",
                "run",
                f"--mode={cell.mode}",
                f"--timeout={deadline}s",
                "-i",
                f"cell={name}",
            ]
            began = time.monotonic()
            ended = forks.run(home / name, args, env, patience(cell, deadline), deadline)
        sent_in_time = proxy.first_at is not None and proxy.first_at < began + deadline / 2
        # If the server behind the proxy did not respond, the fault was not the intended one.
        arrived = proxy.answered or not cell.request_arrives
        ended_in_time = (
            ended.code != 74
            or expected_codes(cell) == {74}
            or not expected_codes(cell) & CODES_AT_THE_DEADLINE
        )
        if sent_in_time and ended_in_time and arrived:
            break
    return Attempt(name, number, ended, proxy.request, proxy.response, proxy.posts, tuple(proxy.seen))


def cells(forks: Forks, server: FakeDify, step: int, home: Path) -> Iterator[Cell]:
    for mode, fate in itertools.product(MODES, SERVER_ENDS):
        if fate == "stays silent" or (fate == "pauses" and server.version < "1.13"):
            # It never ends, so its length is unknown.
            request, response, events = b"", b"x" * (700 if mode == "streaming" else 1), 4
        else:
            whole = run_cell(
                forks,
                server,
                Cell(server.version, mode, fate, None),
                home / f"{server.version}-{mode[0]}{fate[:4]}",
            )
            request, response = whole.request, whole.response
            events = response.count(EVENT_END)
            assert response, whole.ended.stderr
        if fate != "goes on":
            request = b""  # a request that does not arrive has no run
        head = max(response.find(b"\r\n\r\n"), 250)
        faults = tuple(Fault)
        for at, fault in itertools.product(range(0, len(request) - 8, step), faults):
            yield Cell(server.version, mode, fate, Cut(True, at, fault))
        for at, fault in itertools.product(range(0, len(response) - 5, step), faults):
            if fault is not Fault.HTML or not 0 < at < head:  # no proxy sends its own head inside another one
                yield Cell(server.version, mode, fate, Cut(False, at, fault))
        for number, fault in itertools.product(range(1, events + 1) if mode == "streaming" else (), faults):
            yield Cell(server.version, mode, fate, Cut(False, number, fault, whole_events=True))


def violation_of(cell: Cell, attempt: Attempt, *, arrived: int, runs: int) -> str | None:
    """Return what is wrong with the result of a cell; `arrived` counts complete requests at the server."""
    ended = attempt.ended
    counts = f"POSTs: the proxy saw {attempt.posts}, the server got {arrived}; runs: {runs}"
    if ended.code == HUNG:
        return f"it hung; {counts}"
    if ended.code not in expected_codes(cell):
        return f"exit {ended.code}, honest is {expected_codes(cell)}; {counts}"
    if (attempt.posts, arrived, runs) != (1, cell.request_arrives, cell.request_arrives):
        return counts
    try:
        result = json.loads(ended.stdout)
    except ValueError:
        return f"stdout is {ended.stdout!r}"
    if not isinstance(result, dict) or result["exit_code"] != ended.code:
        return "stdout has another code"
    in_flight = (ended.home / "state/in-flight.json").exists()
    if in_flight is not ("confirmed it" not in result["message"] and ended.code in CODES_AT_THE_DEADLINE):
        return f"{'a' if in_flight else 'no'} in-flight record is left: {result['message']}"
    return None


SAMPLE = 80  # cells of each version


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("version", ["1.14.2", "1.11.2"])
def test_exit_code_is_true_for_faults_at_every_7th_byte_and_every_event(
    servers: dict[str, FakeDify],
    forks: Forks,
    version: str,
    homes: Path,
    campaign: Campaign,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    step = int(os.environ.get("FAULT_STEP", "7"))
    matrix = list(cells(forks, servers[version], step, homes / f"measured-{next(NUMBERS)}"))
    quick = matrix if campaign.whole else [cell for cell in matrix if cell.fate != "stays silent"]
    summary, violations = run_cells(forks, servers[version], campaign.pick(quick, SAMPLE), homes)
    record_testsuite_property(f"faults-{version}", f"every {step} bytes: {summary}")
    print(f"every {step} bytes: {summary}")  # noqa: T201 - the number of cells is part of the report
    assert not violations, summary + "\n" + "\n".join(violations[:20])
    assert len(matrix) > 20_000 / step


def run_cells(forks: Forks, server: FakeDify, matrix: list[Cell], homes: Path) -> tuple[str, list[str]]:
    """Run all cells; return a summary, and each violation with the log of its cell."""
    with ThreadPoolExecutor(32) as slow, ThreadPoolExecutor(8) as fast:

        def begin(cell: Cell) -> tuple[Cell, Future[Attempt]]:
            pool = slow if expected_codes(cell) & CODES_AT_THE_DEADLINE else fast
            home = homes / f"{server.version}-{next(NUMBERS):05}"
            return cell, pool.submit(run_cell, forks, server, cell, home)

        futures = [begin(cell) for cell in matrix]
        attempt = [(cell, future.result()) for cell, future in futures]
    runs = Counter(run.inputs.get("cell") for run in server.runs)
    arrived = Counter(
        one.body["inputs"].get("cell")
        for one in server.received
        if one.method == "POST" and one.path.endswith("/workflows/run") and isinstance(one.body, dict)
    )
    violations = [
        f"{cell}: {violation}\n{one.log}"
        for cell, one in attempt
        if (violation := violation_of(cell, one, arrived=arrived[one.name], runs=runs[one.name]))
    ]
    again = sum(one.tries > 1 for _, one in attempt)
    summary = f"{server.version}, {len(matrix)} cells, {len(violations)} violations ({again} tried again)"
    return summary, violations


def test_proxy_cuts_the_post_on_any_connection(servers: dict[str, FakeDify]) -> None:
    with CuttingProxy(port_of(servers["1.14.2"]), Cut(True, 20, Fault.FIN)) as proxy:
        look = requests.get(f"{proxy.base_url}/workflows/logs", timeout=PATIENCE)
        with pytest.raises(requests.ConnectionError):
            requests.post(f"{proxy.base_url}/workflows/run", json={"inputs": {}}, timeout=PATIENCE)
        assert look.status_code == 401
        assert proxy.posts == 1
        assert proxy.seen[0].endswith(", passed")


# After a stall the first poll is after 15 s.
@pytest.mark.parametrize(
    "fault", [Fault.FIN, Fault.RST, Fault.HTML, pytest.param(Fault.STALL, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("position", [0, 300, 700])
def test_exit_code_of_a_new_process_is_true(
    dify_job: Command, servers: dict[str, FakeDify], fault: Fault, position: int, tmp_path: Path
) -> None:
    server = servers["1.14.2"]
    with CuttingProxy(port_of(server), Cut(False, position, fault)) as proxy:
        env = {"DIFY_API_KEY": "app-fails", "DIFY_BASE_URL": proxy.base_url}
        ran = dify_job("run", "--timeout", "20s", env=env)
    assert ran.code == 80, ran.stderr
    assert ran.result["response_data"]["data"]["status"] == "failed"
    assert not (tmp_path / "state" / "in-flight.json").exists()
