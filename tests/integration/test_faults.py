"""The connection breaks at any byte, in any way, whatever the run then does: the exit code is honest.

An oracle names, before the run, the codes that are honest for the cell. 74 is one only where neither an id
nor a log row can be reached: where the request never arrived.
"""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from dify_job.config.model import Job, KeySource, RetryPolicy, Secret
from dify_job.running import pursuit, stop
from dify_job.running.result import Result
from dify_job.running.runner import Request, run_job
from dify_job.standin.apps import App, Node
from dify_job.standin.server import StandIn

from .conftest import Command
from .cutting import Cut, CuttingProxy, Fault

DEADLINE = 3.0
# what the server does after the cut -> the app that does it, and the honest code when the run can be found
FATES = {
    "goes on": (App("app-goes-on", nodes=(Node("Think", 0.05),)), 0),
    "fails": (App("app-fails", nodes=(Node("Think", 0.05, error="no"),)), 80),
    "is stopped": (App("app-stops", nodes=(Node("Think", 0.05, stops=True),)), 82),
    "pauses": (App("app-pauses", nodes=(Node("Think", 0.05, pauses=True),)), 83),
    "stays silent": (App("app-silent", nodes=(Node("Think", 3600.0),)), 124),
}


@dataclass(frozen=True)
class Cell:
    version: str
    mode: str
    fate: str
    cut: Cut


def honest(cell: Cell) -> set[int]:
    if cell.cut.in_request:
        return {74}  # no run exists, but that nobody can prove from outside
    return {FATES[cell.fate][1]}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, StandIn]]:
    apps = [app for app, _ in FATES.values()]
    with StandIn(apps, version="1.14.2", ping=0.2) as new, StandIn(apps, version="1.11.2", ping=0.2) as old:
        yield {"1.14.2": new, "1.11.2": old}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    patched = {"_FIRST_LOOK": 0.3, "_RECOVERY_PAUSES": (0.05, 0.2), "_SEARCH": 0.5, "_STOP_PAUSE": 0.1}
    for name, value in patched.items():
        monkeypatch.setattr(pursuit, name, value)
    monkeypatch.setattr(stop, "_CONFIRMING", 1.0)
    monkeypatch.setattr(stop, "_FIRST_IDS", 0.3)


def port_of(server: StandIn) -> int:
    return int(server.base_url.rpartition(":")[2].partition("/")[0])


def run_cell(
    server: StandIn, mode: str, fate: str, cut: Cut | None, user: str
) -> tuple[Result, CuttingProxy]:
    with CuttingProxy(port_of(server), cut) as proxy:
        job = Job(
            name="cell",
            base_url=proxy.base_url,
            key=KeySource(),
            mode=mode,
            timeout=DEADLINE,
            retry=RetryPolicy(attempts=1),
        )
        key = Secret(FATES[fate][0].key)
        request = Request(job=job, key=key, inputs={}, began=time.monotonic(), run=user)
        return run_job(request, None), proxy


def cells(server: StandIn, step: int) -> Iterator[Cell]:
    for mode, fate in itertools.product(("streaming", "blocking"), FATES):
        if fate == "stays silent" or (fate == "pauses" and server.version < "1.13"):
            # It never ends, so it is not measured: its request is as long as the last one's.
            response = b"x" * (700 if mode == "streaming" else 1)
        else:
            _, proxy = run_cell(server, mode, fate, None, "m")
            request, response = proxy.request, proxy.response
            assert response
        places = [(True, at) for at in range(0, len(request) - 8, step)]
        places += [(False, at) for at in range(0, len(response) - 5, step)]
        # Behind the last byte of an event a cut is no cut: the client has hung up or could have.
        head = response.find(b"\r\n\r\n")
        for (in_request, at), fault in itertools.product(places, Fault):
            if fault is Fault.HTML and not in_request and 0 < at < max(head, 250):
                continue  # no proxy begins its own head inside another
            yield Cell(server.version, mode, fate, Cut(in_request, at, fault))


def violations(server: StandIn, some: list[Cell]) -> list[str]:
    def check(numbered: tuple[int, Cell]) -> str | None:
        number, cell = numbered
        began = time.monotonic()
        user = f"{cell.mode[0]}{number}"
        result, _ = run_cell(server, cell.mode, cell.fate, cell.cut, user)
        created = [run for run in server.runs if run.user == f"dify-job-cell-{user}"]
        took = time.monotonic() - began
        if result.exit_code not in honest(cell):
            return f"{cell}: {result.exit_code} ({result.message}), honest is {honest(cell)}"
        if len(created) != (0 if cell.cut.in_request else 1):
            return f"{cell}: {len(created)} runs"
        return f"{cell}: took {took:.1f} s" if took > DEADLINE + 20 else None

    with ThreadPoolExecutor(48) as pool:
        return [found for found in pool.map(check, enumerate(some)) if found]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("version", ["1.14.2", "1.11.2"])
def test_every_7th_byte_every_fault_every_fate(servers: dict[str, StandIn], version: str) -> None:
    server = servers[version]
    some = list(cells(server, 7))
    found = violations(server, some)
    assert not found, f"{len(found)} of {len(some)}:\n" + "\n".join(found[:20])
    assert len(some) > 2000


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("position", [0, 300, 700])
def test_the_same_as_a_process(
    dify_job: Command, servers: dict[str, StandIn], fault: Fault, position: int, tmp_path: Path
) -> None:
    server = servers["1.14.2"]
    with CuttingProxy(port_of(server), Cut(False, position, fault)) as proxy:
        env = {"DIFY_API_KEY": "app-fails", "DIFY_BASE_URL": proxy.base_url}
        ran = dify_job("run", "--timeout", "20s", env=env)
    assert ran.code == 80, ran.stderr
    assert ran.result["response_data"]["data"]["status"] == "failed"
    assert not (tmp_path / "state" / "in-flight.json").exists()
