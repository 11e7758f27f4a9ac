"""One run of a job at a time: races for the lock, and recovery after a process was killed at any moment."""

import json
import os
import random
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dify_job.state.history import read_history
from dify_job.state.store import InFlight, JobState, LockHeldError
from tests.support.campaign import Campaign
from tests.support.command import Command, catches
from tests.support.fake_dify.apps import App, Node
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until


def test_second_run_of_a_job_is_busy_or_skipped(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    env = environ | {"DIFY_API_KEY": "app-slow"}
    first = dify_job.start("run", env=env)
    wait_until(lambda: server.runs)
    second = dify_job("run", env=env)
    assert (second.code, second.result["outcome"]) == (75, "busy")
    assert str(first.pid) in second.result["message"]
    third = dify_job("run", "--overlap", "skip", env=env)
    assert (third.code, third.result["outcome"], third.result["success"]) == (0, "skipped", True)
    waiting = dify_job.start("run", "--overlap", "wait", env=env)
    wait_until(lambda: catches(waiting, signal.SIGTERM))
    server.engine.released.set()
    assert (first.wait(), waiting.wait()) == (0, 0)
    one, other = server.runs
    assert one.finished_at is not None
    assert one.finished_at <= other.created_at


def test_waiting_run_sees_the_success_of_the_run_before_it(dify_job: Command, server: FakeDify) -> None:
    config = dify_job.home / "c.toml"
    config.write_text(
        f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\noverlap = "wait"\n'
        "inputs = { since = \"{{ last_success or 'ever' }}\" }\n"
    )
    env = {"K": "app-slow", "DIFY_JOB_CONFIG": str(config)}
    first = dify_job.start("run", env=env)
    wait_until(lambda: server.runs)
    second = dify_job.start("run", env=env)
    wait_until(lambda: catches(second, signal.SIGTERM))
    server.engine.released.set()
    assert (first.wait(), second.wait()) == (0, 0)
    since = [run.inputs["since"] for run in server.runs]
    assert since[0] == "ever"
    assert since[1].startswith("20"), "the first run succeeded while the second waited"


def test_state_of_a_run_in_progress_is_not_purged(dify_job: Command, server: FakeDify) -> None:
    config = dify_job.home / "c.toml"
    config.write_text(f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\n')
    env = {
        "K": "app-slow",
        "DIFY_JOB_CONFIG": str(config),
        "XDG_STATE_HOME": str(dify_job.home),
        "STATE_DIRECTORY": str(dify_job.home / "dify-job/a"),
    }
    purge = ("uninstall", "a", "--purge", "--user")
    first = dify_job.start("run", env=env)
    wait_until(lambda: server.runs)
    refused = dify_job(*purge, env=env)
    assert (refused.code, "run: dify-job stop a." in refused.stderr) == (75, True)
    assert dify_job("run", env=env).code == 75, "the lock is still where the next run looks for it"
    assert dify_job("stop", "a", env=env).stdout == "a: stopped\n"
    assert json.loads(first.communicate()[0])["outcome"] == "cancelled"
    assert dify_job(*purge, env=env).code == 0
    assert not (dify_job.home / "dify-job/a").exists()


def test_next_run_records_the_end_of_a_killed_run_in_the_history(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    env = environ | {"DIFY_API_KEY": "app-slow"}
    first = dify_job.start("run", env=env)
    in_flight = dify_job.home / "state/in-flight.json"
    wait_until(lambda: server.runs and in_flight.exists() and server.runs[0].run_id in in_flight.read_text())
    first.kill()
    first.communicate()
    busy = dify_job("run", env=env)
    assert busy.code == 75
    assert server.runs[0].run_id in busy.result["message"]
    until = re.search(r"waits for the earlier run until (.{16}),", busy.result["hint"])
    assert until is not None
    left = datetime.strptime(until[1], "%Y-%m-%d %H:%M").astimezone() - datetime.now(UTC)
    assert 45 < left.total_seconds() / 60 < 51, "the timeout of 30 min, and 20 more"
    second = dify_job.start("run", "--overlap", "wait", env=env)
    wait_until(lambda: catches(second, signal.SIGTERM))
    server.engine.released.set()
    assert second.wait() == 0
    assert len(server.runs) == 2
    lines = [json.loads(line) for line in (dify_job.home / "state/history.jsonl").read_text().splitlines()]
    ends = {line["workflow_run_id"]: line["outcome"] for line in lines if line["workflow_run_id"]}
    assert ends == {run.run_id: "succeeded" for run in server.runs}
    assert not (dify_job.home / "state/in-flight.json").exists()


@pytest.mark.timeout(600)  # 4,000 forks of a large process
def test_each_race_for_the_lock_has_one_winner(tmp_path: Path, campaign: Campaign) -> None:
    racers, races = 4, 1000 if campaign.whole else 40

    def race(gate: int, outcome: int, won: int) -> None:
        os.read(gate, 1)
        state = JobState(tmp_path)
        try:
            state.lock()
        except LockHeldError:
            os.write(outcome, b"l")
            return
        os.write(outcome, b"w")
        os.read(won, 1)  # hold the lock until all others have tried

    for _ in range(races):
        gate, outcome, won = os.pipe(), os.pipe(), os.pipe()
        children = []
        for _ in range(racers):
            child = os.fork()
            if child == 0:
                race(gate[0], outcome[1], won[0])
                os._exit(0)  # the exit releases the lock, as a crash does
            children.append(child)
        os.write(gate[1], b"g" * racers)
        outcomes = b"".join(os.read(outcome[0], 1) for _ in range(racers))
        os.write(won[1], b"g")
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        for end in (*gate, *outcome, *won):
            os.close(end)
        assert sorted(outcomes) == sorted(b"w" + b"l" * (racers - 1))


def test_simultaneous_commands_run_one_at_a_time(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    env = environ | {"DIFY_API_KEY": "app-slow"}
    running = [dify_job.start("run", env=env) for _ in range(12)]
    wait_until(lambda: sum(process.poll() == 75 for process in running) == 11)
    [winner] = [process for process in running if process.returncode != 75]
    winner.terminate()
    assert winner.wait() == 143
    assert len(server.runs) == 1


def kill_and_run_again(home: Path, server: FakeDify, key: str, moment: float, *, under_way: bool) -> None:
    """Kill a run, and assert that the next one settles it and starts no replacement.

    A run killed before its request was sent is waited for like one in Dify's queue.

    Args:
        home: Working directory of the commands.
        server: Server that the run is sent to.
        key: API key of the app.
        moment: Seconds from the start of the process, or of the run on the server.
        under_way: Count from the start of the run on the server.
    """
    home.mkdir()
    command = Command(home)
    config = f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\nqueue_time = "3s"\n'
    (home / "c.toml").write_text(config)
    env = {"K": key, "DIFY_JOB_CONFIG": str(home / "c.toml")}

    def created() -> list[str]:
        return [run.run_id for run in server.runs if run.app.key == key]

    first = command.start("run", "--timeout", "6s", env=env)
    while under_way and not created() and first.poll() is None:
        time.sleep(0.01)
    time.sleep(moment)
    first.kill()
    first.communicate()
    second = command("run", "--overlap", "wait", "--timeout", "50s", env=env)
    assert second.code == 0, second.stderr
    runs = created()
    own = second.result["response_data"]["workflow_run_id"]
    assert own == runs[-1]
    assert len(runs) in (1, 2), "a second run for the first one"
    history = [json.loads(line) for line in (home / "state/history.jsonl").read_text().splitlines()]
    ends = [(line["workflow_run_id"], line["outcome"]) for line in history if line["workflow_run_id"]]
    assert sorted(ends) == sorted((run, "succeeded") for run in runs), moment
    assert not (home / "state/in-flight.json").exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["1.14.2", "1.11.2"])
def test_sigkill_at_random_moments_loses_no_run_and_repeats_none(
    tmp_path: Path, version: str, campaign: Campaign
) -> None:
    draw = random.Random(version)
    kills = 25 if campaign.whole else 4
    apps = [App(f"app-{number}", nodes=(Node("Think", 0.4),)) for number in range(kills)]
    with FakeDify(apps, version=version) as server, ThreadPoolExecutor(6) as pool:
        futures = []
        for number, app in enumerate(apps):
            under_way = number % 2 == 0  # the time until then depends on the machine
            moment = draw.uniform(0.0, 0.6)
            case = (tmp_path / app.key, server, app.key, moment)
            futures.append(pool.submit(kill_and_run_again, *case, under_way=under_way))
        for future in futures:
            future.result()
        if campaign.whole:
            assert len(server.runs) > kills + kills // 4, "too few runs were killed in progress"


def test_two_signals_at_any_moment_end_the_process(dify_job: Command, server: FakeDify) -> None:
    """Of twenty processes that get two signals each, none hangs and none claims success."""
    env = {"DIFY_API_KEY": "app-slow", "DIFY_BASE_URL": server.base_url}
    env["COVERAGE_PROCESS_CONFIG"] = (
        ""  # a SIGINT while a1_coverage.pth imports coverage is lost: "except: pass"
    )

    def one(number: int) -> int:
        home = Path(dify_job.home / f"h{number}")
        home.mkdir()
        process = Command(home).start_process("run", env=env)
        for _ in range(2):
            time.sleep(0.15 + 0.1 * number)
            process.send_signal(signal.SIGTERM if number % 2 else signal.SIGINT)
        _, stderr = process.communicate()
        # While Python itself starts, a SIGINT ends it with 1: no file of dify-job is in the traceback, but
        # perhaps the finder of its editable installation.
        in_python = "KeyboardInterrupt" in stderr and "/dify_job/" not in stderr
        return -signal.SIGINT if in_python else process.returncode

    codes: dict[int, int] = {}
    threads = [threading.Thread(target=lambda n=n: codes.update({n: one(n)})) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(codes) == 10
    # -2 and -15: the signal came before dify-job had a handler, and had sent anything.
    assert set(codes.values()) <= {130, 143, -signal.SIGINT, -signal.SIGTERM}, codes


@pytest.mark.parametrize("entered", [False, True])
def test_process_killed_while_storing_loses_and_repeats_no_entry(
    dify_job: Command, server: FakeDify, environ: dict[str, str], entered: bool
) -> None:
    """The in-flight record is removed last: after a kill it exists, with or without the history entry."""
    assert dify_job("run", env=environ).code == 0
    state, run = JobState(dify_job.home / "state"), server.runs[0]
    [entry] = read_history(state.directory)
    if not entered:
        (dify_job.home / "state/history.jsonl").unlink()
    state.put_in_flight(
        InFlight(
            run="x",
            user=run.user,
            base_url=server.base_url,
            started=entry.call_time,
            deadline=0.0,
            boot="",
            boot_deadline=0.0,
            workflow_run_id=run.run_id,
        )
    )
    state.close()
    assert dify_job("run", env=environ).code == 0
    ids = [entry.run_id for entry in read_history(dify_job.home / "state")]
    assert ids == [one.run_id for one in server.runs]
    assert len(ids) == 2
