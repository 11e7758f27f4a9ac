"""Recorded responses to runs, replayed in memory and over sockets, against a table of outcomes."""

import contextlib
import time
from collections.abc import Iterator

import pytest

from dify_job.config.model import Job, KeySource, RetryPolicy, Secret
from dify_job.dify.event_queue import EventQueue
from dify_job.dify.models import read_event
from dify_job.dify.sse import Parser
from dify_job.run.call_options import RunLimits
from dify_job.run.engine import Engine
from dify_job.run.observers import RunObserver
from dify_job.run.result import Result
from dify_job.run.run_spec import RunContext, RunSpec
from tests.support.campaign import Campaign
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.server import FakeDify
from tests.support.in_memory import in_memory
from tests.support.recordings import DATA, KEY, VERSIONS, Recording, runs

# Not replayable: one body was compressed and not recorded, one never connected.
NOT_REPLAYED = {"compression-on-large-blocking", "server-down-connect"}


def expected() -> dict[tuple[str, str], str]:
    table = {}
    for line in (DATA / "outcomes.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, *outcomes = line.split()
        for version in VERSIONS:
            for outcome in outcomes:
                if "=" not in outcome:
                    table[version, name] = outcome
                elif outcome.startswith(f"{version}="):
                    table[version, name] = outcome.partition("=")[2]
    return table


EXPECTED = expected()
RECORDINGS = [r for version in VERSIONS for r in runs(version) if r.name not in NOT_REPLAYED]
OVER_SOCKETS = RECORDINGS[::20]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, FakeDify]]:
    made = {version: FakeDify([App(KEY)], version=version) for version in VERSIONS}
    for server in made.values():
        server.__enter__()
    yield made
    for server in made.values():
        server.__exit__()


LIMITS = RunLimits(
    search=0.1, absent=0.1, recovery_polls=(0.05, 0.1), stop_confirmation=0.2, first_ids=0.2, last_event=0.1
)


def _timeout(recording: Recording) -> float:
    if recording.ended == "open":
        return 0.8
    return 2.0 if EXPECTED[recording.version, recording.name] == "unknown" else 10.0


def replay(server: FakeDify, recording: Recording) -> Result:
    server.replay = recording.replay()
    body = recording.request if isinstance(recording.request, dict) else {}
    steps = recording.path.split("/")
    job = Job(
        name="r",
        base_url=server.base_url,
        key=KeySource(),
        mode="streaming" if body.get("response_mode") == "streaming" else "blocking",
        timeout=_timeout(recording),
        retry=RetryPolicy(attempts=1),
        workflow_id=steps[3] if len(steps) == 5 and steps[2] == "workflows" else None,
    )
    context = RunContext(time.monotonic(), EventQueue(), limits=LIMITS)
    engine = Engine(RunSpec(job, Secret(KEY), {}, context), None, RunObserver())
    return engine.conclude(engine.start_and_follow({}, {}))


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda r: f"{r.version}-{r.name}")
def test_recording_has_the_outcome_of_the_table(recording: Recording, servers: dict[str, FakeDify]) -> None:
    server = servers[recording.version]
    with contextlib.nullcontext() if recording in OVER_SOCKETS else in_memory(server):
        result = replay(server, recording)
    assert result.outcome == EXPECTED[recording.version, recording.name], result.message
    assert result.message
    data = result.as_json()["response_data"]
    if result.outcome == "succeeded":
        assert data["data"]["status"] in ("succeeded", "partial-succeeded")
    if data is not None:
        assert list(data) == ["task_id", "workflow_run_id", "data"]
        assert isinstance(data["data"]["outputs"], dict)


def test_table_names_only_existing_recordings() -> None:
    assert {name for _, name in EXPECTED} == {recording.name for recording in RECORDINGS}


@pytest.mark.parametrize(
    "recording",
    [r for r in RECORDINGS if len(r.parts) > 1 and len(r.bytes) < 30_000],
    ids=lambda r: f"{r.version}-{r.name}",
)
def test_recorded_stream_in_any_pieces_has_the_same_events(recording: Recording, campaign: Campaign) -> None:
    whole = [read_event(event) for event in Parser().feed(recording.bytes)]
    stream = recording.bytes
    raw = list(Parser().feed(stream))
    for cut in campaign.pick(range(len(stream) + 1), 100):
        parser = Parser()
        assert [*parser.feed(stream[:cut]), *parser.feed(stream[cut:])] == raw, cut
    parser = Parser()
    assert [read_event(e) for i in range(len(stream)) for e in parser.feed(stream[i : i + 1])] == whole
