"""Exit codes under deadlines, signals and doubtful outcomes; a test for each documented case."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.campaign import Campaign
from tests.support.command import KEY, Command, catches, signal_again
from tests.support.fork_server import ForkResult, Forks
from tests.support.patience import wait_until
from tests.support.scripted_server import (
    NOT_FOUND,
    PING,
    RUN_ID,
    STARTED,
    RawResponse,
    ScriptedServer,
    answer,
    blocking,
    finished,
    logs,
    run_of,
    stream,
)

SHORT_LIMITS = {
    "stop_confirmation": 1.0,
    "first_ids": 0.5,
    "earlier_run": 30.0,
}
SILENT = RawResponse((), "hold")
BUSY = answer(
    400, {"code": "invalid_param", "message": "Too many requests. Please try again later.", "status": 400}
)
DOWN = answer(503, b"<html>upstream")


@pytest.fixture
def run(forks: Forks, tmp_path: Path) -> "Runs":
    return Runs(forks, tmp_path)


class Runs:
    """Runs a job against a server, repeatedly in the same home."""

    def __init__(self, forks: Forks, home: Path) -> None:
        self._forks, self.home = forks, home
        self._number = 0

    def __call__(
        self,
        server: ScriptedServer,
        *args: str,
        config: str = "",
        env: dict[str, str] | None = None,
        **limits: float,
    ) -> ForkResult:
        self._number += 1
        file = self.home / f"{self._number}.toml"
        file.write_text(f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\n{config}\n')
        variables = {"K": KEY, "STATE_DIRECTORY": str(self.home / "state"), **(env or {})}
        return self._forks.run(
            self.home / str(self._number),
            ["run", "--config", str(file), *args],
            variables,
            SHORT_LIMITS | limits,
            60,
        )

    def in_flight(self) -> bool:
        return (self.home / "state/in-flight.json").exists()


# Deadlines


def test_deadline_while_the_server_reports_running_is_124(run: Runs) -> None:
    with ScriptedServer(post=stream(STARTED, then="hold"), detail=answer(200, run_of("running"))) as server:
        ended = run(server, "--timeout", "1s")
        assert (ended.code, server.count("stop")) == (124, 1)
    assert run.in_flight()


def test_deadline_while_searching_for_the_outcome_is_74(run: Runs) -> None:
    with ScriptedServer(
        post=stream(STARTED), detail=answer(500, b"oops"), events=answer(500, b"oops")
    ) as server:
        ended = run(server, "--timeout", "2s")
    assert ended.code == 74
    assert "but the server did not confirm it" in ended.result["message"]


@pytest.mark.parametrize(("rejection", "code"), [(DOWN, 69), (BUSY, 75)])
def test_deadline_in_the_pause_before_a_retry_has_the_code_of_the_rejection(
    run: Runs, rejection: RawResponse, code: int
) -> None:
    with ScriptedServer(post=rejection) as server:
        ended = run(server, "--timeout", "1s", config="retry = { attempts = 9 }")
        assert ended.code == code
        assert ended.result["attempts"] == server.count("post") >= 1
    assert not run.in_flight()


def test_timeout_includes_waiting_for_the_network(run: Runs) -> None:
    with ScriptedServer() as server:
        server.base_url = "http://127.0.0.1:1/v1"
        ended = run(server, "--timeout", "2s", config='wait_network = "60s"')
    assert (ended.code, ended.result["attempts"]) == (69, 0)
    assert ended.result["duration_s"] < 30


def test_timeout_includes_waiting_for_the_lock(run: Runs) -> None:
    with ScriptedServer(post=stream(STARTED, then="hold"), detail=answer(200, run_of("running"))) as server:
        first = threading.Thread(target=lambda: run(server, "--timeout", "60s", first_poll=0.2))
        first.start()
        wait_until(lambda: server.count("post"))
        late = run(server, "--overlap", "wait", "--timeout", "1s")
        server.say("detail", answer(200, run_of("succeeded")))
        first.join()
        assert (late.code, late.result["outcome"], server.count("post")) == (75, "busy", 1)


@pytest.mark.parametrize("mode", ["streaming", "blocking"])
@pytest.mark.parametrize(
    ("rows", "detail", "code"),
    [
        (logs(), NOT_FOUND, 74),
        (logs("running"), answer(200, run_of("running")), 124),
        (logs("succeeded"), answer(200, run_of("succeeded")), 0),
        (logs("failed"), answer(200, run_of("failed")), 80),
    ],
)
def test_run_without_an_id_is_searched_for_at_the_deadline(
    run: Runs, mode: str, rows: object, detail: RawResponse, code: int
) -> None:
    """74 is correct only if neither an ID nor a log row can be found."""
    with ScriptedServer(post=SILENT, logs=answer(200, rows), detail=detail) as server:
        ended = run(server, "--timeout", "1s", "--mode", mode)
        assert (ended.code, server.count("post")) == (code, 1), ended.stderr
        assert ended.result["duration_s"] < 21
    assert run.in_flight() is (code in (74, 124))


def test_stop_at_the_deadline_gets_the_task_id_from_the_events_of_a_found_run(
    run: Runs,
) -> None:
    with ScriptedServer(
        post=RawResponse((), "hold"),
        logs=answer(200, logs("running"), version="1.14.2"),
        detail=[answer(200, run_of("running"), version="1.14.2"), answer(200, run_of("stopped"))],
        events=stream(STARTED, then="hold"),
    ) as server:
        ended = run(server, "--timeout", "1s", stop_confirmation=30.0, first_ids=30.0)
        assert (ended.code, server.count("stop")) == (124, 1)
    assert "confirmed it" in ended.result["message"]


def test_blocking_response_has_no_idle_timeout(run: Runs) -> None:
    whole = answer(200, blocking("succeeded"))
    late = RawResponse(((2.5, whole.parts[0][1]),))
    with ScriptedServer(post=late) as server:
        ended = run(server, "--mode", "blocking", config='idle_timeout = "1s"\nend_user = "me"')
    assert ended.code == 0


# Doubtful outcomes


@pytest.mark.parametrize("status", [500, 502, 504, 520, 524])
def test_5xx_after_the_post_is_unknown_until_found(run: Runs, status: int) -> None:
    with ScriptedServer(post=answer(status, b"<html>"), logs=answer(200, logs())) as server:
        ended = run(server, "--timeout", "1s")
        assert (ended.code, server.count("post")) == (74, 1)
        assert server.count("logs") >= 1
    assert run.in_flight()


ERROR = {"event": "error", "code": "internal_server_error", "message": "node exploded", "status": 500}
OF_A_RUN = ERROR | {"workflow_run_id": RUN_ID}


@pytest.mark.parametrize(
    ("detail", "code"),
    [
        (answer(200, run_of("failed")), 80),
        (NOT_FOUND, 80),
        (answer(200, {"id": None, "status": None}), 80),
        (answer(200, run_of("succeeded")), 0),
        (answer(500, b"no"), 74),
        (answer(404, b"<html>of a proxy"), 74),
        (answer(200, b"<html>a portal"), 74),
        (answer(401, {"code": "unauthorized", "message": "no", "status": 401}), 74),
    ],
)
def test_error_event_of_a_run_is_checked_with_run_detail(run: Runs, detail: RawResponse, code: int) -> None:
    with ScriptedServer(post=stream(STARTED, OF_A_RUN), detail=detail, events=NOT_FOUND) as server:
        assert run(server, "--timeout", "1s").code == code


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"event": "error", "message": "text is required in input form", "status": 500}, 65),
        ({"event": "error", "message": "no such thing", "status": 500}, 80),
        ({"event": "error", "code": "unauthorized", "message": "no", "status": 401}, 77),
        ({"event": "error", "code": "provider_quota_exceeded", "message": "no", "status": 400}, 77),
        ({"event": "error", "code": "app_unavailable", "message": "no", "status": 400}, 78),
    ],
)
def test_error_event_without_a_run_is_a_rejection_with_its_own_code(
    run: Runs, event: object, code: int
) -> None:
    with ScriptedServer(post=stream(PING, event, then="hold")) as server:
        ended = run(server)
        assert (ended.code, server.count("post")) == (code, 1)
    assert not run.in_flight()


def test_503_counts_as_an_attempt(run: Runs) -> None:
    with ScriptedServer(post=DOWN) as server:
        ended = run(server, config='wait_network = "60s"\nretry = { attempts = 2 }')
        assert (ended.code, ended.result["attempts"], server.count("post")) == (69, 2, 2)


def test_503_of_dify_is_not_retried(run: Runs) -> None:
    with ScriptedServer(
        post=answer(503, {"code": "unavailable", "message": "later", "status": 503})
    ) as server:
        assert (run(server).code, server.count("post")) == (69, 1)


@pytest.mark.parametrize("creator", [{"session_id": "somebody-else"}, {"session_id": None}, {}, None, "me"])
def test_log_rows_of_other_users_and_of_accounts_are_ignored(run: Runs, creator: object) -> None:
    """Servers before 1.5.0 ignore the filter and return every run of the app."""
    rows = logs("succeeded")
    rows["data"][0]["created_by_end_user"] = creator
    with ScriptedServer(
        post=RawResponse(), logs=answer(200, rows), detail=answer(200, run_of("succeeded"))
    ) as server:
        assert run(server, "--timeout", "1s").code == 74


def test_blocking_response_with_status_running_is_not_final(run: Runs) -> None:
    with ScriptedServer(
        post=answer(200, blocking("running")),
        detail=[answer(200, run_of("running")), answer(200, run_of("failed"))],
    ) as server:
        assert run(server, "--mode", "blocking").code == 80


@pytest.mark.parametrize("status", ["scheduled", "of-the-future"])
def test_unknown_status_of_run_detail_is_not_final(run: Runs, status: str) -> None:
    with ScriptedServer(
        post=stream(STARTED),
        detail=[answer(200, run_of(status)), answer(200, run_of("succeeded"))],
        events=NOT_FOUND,
    ) as server:
        assert run(server).code == 0


def test_first_of_two_terminal_events_counts(run: Runs) -> None:
    with ScriptedServer(
        post=stream(STARTED, finished("failed"), finished("succeeded"), then="hold")
    ) as server:
        assert run(server).code == 80


# Stop


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (finished("succeeded"), 0),
        (finished("failed", error="its own fault"), 80),
        (finished("stopped"), 143),
        (finished("failed", error="Aborted: User requested stop"), 143),
        (finished("failed", error="Aborted: App task was stopped"), 143),
    ],
)
def test_terminal_event_after_stop_decides(dify_job: Command, end: object, code: int) -> None:
    late = stream(STARTED, end)
    with ScriptedServer(post=RawResponse((*late.parts[:2], (1.0, late.parts[2][1])), "hold")) as server:
        process = dify_job.start("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url})
        ran = dify_job.signal_when(
            process, lambda: (dify_job.home / "state/in-flight.json").exists() and server.seen
        )
        assert ran.code == code, ran.stderr
        assert not (dify_job.home / "state/in-flight.json").exists()


def test_signal_does_not_interrupt_the_stop_at_the_deadline(dify_job: Command) -> None:
    [(_, stopped)] = answer(200, {"result": "success"}).parts
    dify_job.limits |= {"stop_confirmation": 30.0, "stop_poll": 0.2}
    with ScriptedServer(
        post=stream(STARTED, then="hold"),
        stop=RawResponse(((1.0, stopped),)),
        detail=answer(200, run_of("running")),
    ) as server:
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}
        process = dify_job.start("run", "--timeout", "1s", env=env)
        wait_until(lambda: server.count("stop"))
        process.terminate()
        wait_until(lambda: server.count("detail") > 3)
        server.say("detail", answer(200, run_of("stopped")))
        out, _ = process.communicate()
        assert (process.wait(), server.count("stop")) == (124, 1), out
    assert "confirmed it" in out


def test_signal_before_the_stream_is_lost_is_reported_as_such(dify_job: Command) -> None:
    head, ping = stream(PING).parts
    with ScriptedServer(post=RawResponse((head, ping, (1.0, PING)), "reset")) as server:
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}
        dify_job.limits |= {"first_ids": 30.0}
        process = dify_job.start("run", "--end-user", "me", env=env)
        ran = dify_job.signal_when(process, lambda: server.count("post"))
        assert (ran.code, ran.result["outcome"], server.count("post")) == (143, "cancelled", 1), ran.stdout
    assert "could not be stopped" in ran.result["message"]
    assert (dify_job.home / "state/in-flight.json").exists()


@pytest.mark.parametrize("rejection", [DOWN, BUSY])
def test_signal_during_a_rejected_post_prevents_another_one(
    dify_job: Command, rejection: RawResponse
) -> None:
    [(_, raw)] = rejection.parts
    with ScriptedServer(post=[RawResponse(((1.0, raw),)), stream(STARTED, finished("succeeded"))]) as server:
        process = dify_job.start("run", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url})
        ran = dify_job.signal_when(process, lambda: server.count("post"), signal.SIGINT)
        assert (ran.code, ran.result["outcome"], server.count("post")) == (130, "cancelled", 1), ran.stdout
    assert "before it started a run" in ran.result["message"]
    assert not (dify_job.home / "state/in-flight.json").exists()


def test_signal_interrupts_reading_inputs_from_a_terminal(dify_job: Command, environ: dict[str, str]) -> None:
    process = dify_job.start("run", "--inputs", "-", env=environ, stdin=-1)
    ran = dify_job.signal_when(process, lambda: catches(process, signal.SIGTERM), signal.SIGINT)
    assert ran.code == 130, ran.stderr
    assert ran.result["outcome"] == "cancelled"


@pytest.mark.parametrize(("whole", "sample", "code"), [("5", "61", ()), ("97", "1009", (ROOT / "dify_job",))])
def test_signal_before_any_bytecode_ends_with_an_exit_status_of_the_table(
    whole: str,
    sample: str,
    code: tuple[Path, ...],
    dify_job: Command,
    environ: dict[str, str],
    campaign: Campaign,
) -> None:
    distance = whole if campaign.whole else sample
    program = [sys.executable, str(ROOT / "tests/support/signal_moments.py"), distance, *map(str, code)]
    done = subprocess.run(
        program, env=dify_job.environ(environ), cwd=dify_job.home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)
    wrong = [
        (number, *run) for number, run in enumerate(runs) if run[0] not in (0, 143) or "Traceback" in run[2]
    ]
    assert not wrong, wrong[0]
    assert {run[0] for run in runs[1:]} == {0, 143}
    assert not (dify_job.home / "state/in-flight.json").exists()


def test_second_signal_exits_at_once() -> None:
    code = (
        "from dify_job.cli.signals import Signals; from dify_job.dify.event_queue import EventQueue\n"
        "queue = EventQueue()\nSignals(queue)\nprint(flush=True)\nqueue.get(1e9)\n"
        "print(flush=True)\nwhile True: pass"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.stdout.readline()
    assert process.poll() is None
    signal_again(process)
    process.communicate()
    assert process.returncode == 143


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGQUIT])
def test_signals_that_timeout_or_systemd_send_at_once_are_one_signal(second: int) -> None:
    code = (
        "import os, signal; from dify_job.cli.signals import Signals\n"
        "from dify_job.dify.event_queue import EventQueue\n"
        "queue = EventQueue()\nSignals(queue)\n"
        f"for signum in (signal.SIGTERM, {second}):\n    os.kill(os.getpid(), signum)\n"
        "print(queue.get(1e9), queue.get(0))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Cancel(signum=15) None\n"


def test_signal_that_the_kernel_delivers_to_another_thread_ends_the_wait() -> None:
    code = (
        "import signal, socket, threading, time; from dify_job.cli.signals import Signals\n"
        "from dify_job.dify.event_queue import EventQueue\n"
        "queue, pair = EventQueue(), socket.socketpair()\nSignals(queue)\n"
        "other = threading.Thread(target=pair[0].recv, args=(1,), daemon=True)\nother.start()\n"
        "threading.Timer(0.5, signal.pthread_kill, (other.ident, signal.SIGTERM)).start()\n"
        "print(queue.get(time.monotonic() + 60))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Cancel(signum=15)\n"


@pytest.mark.parametrize(("outcome", "needs_another"), [(0, False), (80, False), (143, True)])
def test_signal_that_stopped_no_run_ends_the_wait_for_a_reader(outcome: int, needs_another: bool) -> None:
    """A signal can come when the run has ended and its exit code is not yet set."""
    code = (
        "import contextlib, os, signal; from dify_job.cli.signals import Cancelled, Signals\n"
        "from dify_job.dify.event_queue import EventQueue\n"
        "signals = Signals(EventQueue())\n"
        f"os.kill(os.getpid(), signal.SIGTERM)\nsignals.code = {outcome}\n"
        "with contextlib.suppress(Cancelled), signals.raise_cancelled():\n"
        "    print(flush=True)\n    os.read(0, 1)\n"
        "os._exit(signals.code)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    if needs_another:
        signal_again(process)
    assert process.wait(100) == outcome
    process.communicate()


# Runs of an earlier process


@pytest.mark.parametrize(
    ("detail", "code"),
    [
        (answer(502, b"<html>restarting"), 69),
        (answer(401, {"code": "unauthorized", "message": "no", "status": 401}), 77),
        (answer(200, b"<html>a portal"), 69),
    ],
)
def test_only_a_response_of_dify_settles_an_earlier_run(run: Runs, detail: RawResponse, code: int) -> None:
    with ScriptedServer(
        post=[stream(STARTED), stream(STARTED, finished("succeeded"))],
        detail=[answer(500, b"")] * 2 + [detail],
        events=answer(500, b""),
        stop=answer(500, b""),
    ) as server:
        first = run(server, "--timeout", "1s")
        assert first.code == 74
        second = run(server, earlier_run=2.0)
        assert (second.code, server.count("post")) == (code, 1), second.stderr
    assert run.in_flight()


def test_earlier_run_is_found_with_a_rotated_key(run: Runs) -> None:
    with ScriptedServer(
        post=[stream(STARTED), stream(STARTED, finished("succeeded"))],
        detail=[answer(500, b"")] * 40 + [answer(200, run_of("failed"))],
        events=answer(500, b""),
        stop=answer(500, b""),
    ) as server:
        assert run(server, "--timeout", "1s").code == 74
        server.say("detail", answer(200, run_of("failed")))
        assert run(server, env={"K": "app-rotated-0123456789"}).code == 0
    history = (run.home / "state/history.jsonl").read_text()
    assert '"outcome": "failed"' in history


@pytest.mark.parametrize("version", ["0.15.3", "1.9.2", "1.10.1"])
def test_missing_log_row_settles_nothing_on_servers_that_log_ended_runs_only(run: Runs, version: str) -> None:
    with ScriptedServer(post=SILENT, logs=answer(200, logs(), version=version)) as server:
        assert run(server, "--timeout", "1s").code == 74
        assert run(server).code == 75
        assert server.count("post") == 1
        server.say("logs", answer(200, logs("failed"), version=version))
        server.say("detail", answer(200, run_of("failed"), version=version))
        server.say("post", stream(STARTED, finished("succeeded")))
        assert run(server).code == 0


def test_log_row_without_its_run_settles_nothing(run: Runs) -> None:
    rows = logs() | {"data": [{"id": "row", "workflow_run": None}]}
    with ScriptedServer(
        post=[SILENT, stream(STARTED, finished("succeeded"))], logs=answer(200, rows, version="1.11.2")
    ) as server:
        assert run(server, "--timeout", "1s").code == 74
        second = run(server, earlier_run=0.5)
        assert (second.code, server.count("post")) == (75, 1), second.stderr
        assert "None" not in second.result["message"]
        server.say("logs", answer(200, logs(), version="1.11.2"))
        assert run(server, earlier_run=0.5).code == 0, "an empty log is a proof for this version"
