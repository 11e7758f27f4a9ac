"""The interface of the program equals its snapshot in this directory; see the package's docstring."""

import difflib
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import pytest

from dify_job.cli.main import cli
from dify_job.compat.openapi import openapi
from tests.support.fork_server import ForkResult, Forks
from tests.support.scripted_server import (
    NOT_FOUND,
    PING,
    RUN_ID,
    STARTED,
    TASK_ID,
    RawResponse,
    ScriptedServer,
    answer,
    blocking,
    finished,
    run_of,
    stream,
)

from .conftest import CompareSnapshot
from .play import HERE, HOME, Player, as_snapshot, shape

JOBS = (HERE / "jobs.toml").read_text()
NAMES = [line[6:-1] for line in JOBS.splitlines() if line.startswith("[jobs.")]
ALL = " ".join(NAMES)
VERSIONS = (262, 257, 254, 252, 249, 247, 245, 239)
ENCRYPTED = "encrypted"  # a job that needs systemd 250
SHORT_LIMITS = {
    "first_poll": 0.2,
    "recovery_polls": [0.05, 0.2],
    "search": 0.3,
    "absent": 0.3,
    "last_event": 0.2,
    "stop_confirmation": 0.3,
    "first_ids": 0.3,
    "retry_pauses": [0.05, 0.5],
}


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as made:
        yield made


def as_text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


# Rendered files


def rendered(player: Player, names: list[str], *options: str) -> str:
    """Return the rendered files of each job, or its exit status if it is rejected."""
    made = []
    for name in names:
        done = player("render", *options, *name.split())
        made.append(done.stdout if done.code == 0 else f"# {name} is refused: exit {done.code}\n\n")
    return "".join(made)


@pytest.mark.parametrize(("scope", "options"), [("system", ()), ("user", ("--user",))])
def test_units_for_each_version_of_systemd(
    scope: str, options: tuple[str, ...], forks: Forks, tmp_path: Path, compare_snapshot: CompareSnapshot
) -> None:
    player = Player(forks, tmp_path / "home", JOBS)
    others = [name for name in NAMES if name != ENCRYPTED]

    def of(version: int) -> str:
        words = ("--target=systemd", f"--systemd-version={version}", *options)
        return rendered(player, [" ".join(others), ENCRYPTED], *words)

    newer = of(VERSIONS[0])
    compare_snapshot(f"units-{scope}-{VERSIONS[0]}.txt", newer)
    for version in VERSIONS[1:]:
        text = of(version)
        compare_snapshot(f"units-{scope}-{version}.diff", difference(newer, text))
        newer = text


def difference(newer: str, older: str) -> str:
    """Return the difference to the next newer version; each hunk has the name of its file."""
    before, after = newer.splitlines(), older.splitlines()
    made = []
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    for kind, old, old_end, new, new_end in matcher.get_opcodes():
        if kind == "equal":
            continue
        file = next(line for line in reversed(before[: old + 1]) if line.startswith("# /") or old == 0)
        made += [f"@@ {file[2:]}", f" {before[old - 1]}"]
        made += [f"-{line}" for line in before[old:old_end]] + [f"+{line}" for line in after[new:new_end]]
    return "".join(f"{line}\n" for line in made)


def test_crontab_entries(forks: Forks, tmp_path: Path, compare_snapshot: CompareSnapshot) -> None:
    player = Player(forks, tmp_path / "home", JOBS)
    compare_snapshot("cron.d.txt", rendered(player, [ALL], "--target=cron"))
    compare_snapshot("crontab.txt", rendered(player, [ALL], "--target=cron", "--user"))


def test_kubernetes_manifests(forks: Forks, tmp_path: Path, compare_snapshot: CompareSnapshot) -> None:
    player = Player(forks, tmp_path / "home", JOBS)
    options = ("--target=kubernetes", "--image=registry.example.com/dify-job:0.1.0", "--namespace=reports")
    compare_snapshot("manifests.yaml", rendered(player, NAMES, *options))


# Command line


@pytest.mark.filterwarnings("ignore:Unable to find acceptable character detection")
def test_commands_and_options(compare_snapshot: CompareSnapshot) -> None:
    compare_snapshot("command-line.txt", "".join(options_of(cli, ["dify-job"])))


def options_of(
    command: click.Command, words: list[str], parent: click.Context | None = None
) -> Iterator[str]:
    yield f"{' '.join(words)}\n"
    context = click.Context(command, parent, **command.context_settings)
    for option in command.get_params(context):
        names = " ".join([*option.opts, *option.secondary_opts])
        takes = "" if getattr(option, "is_flag", False) else f" {option.make_metavar(context)}"
        variable = f" ${option.envvar}" if option.envvar else ""
        yield (
            f"  {names}{takes}{' ...' if option.multiple else ''}{variable}\n"
            if isinstance(option, click.Option)
            else f"  {option.make_metavar(context)}\n"
        )
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from options_of(found, [*words, name], context)


@pytest.mark.parametrize(("name", "words"), [("exit-codes.txt", ()), ("exit-codes.json", ("--json",))])
def test_exit_codes(
    name: str, words: tuple[str, ...], forks: Forks, tmp_path: Path, compare_snapshot: CompareSnapshot
) -> None:
    compare_snapshot(name, Player(forks, tmp_path / "home")("exit-codes", *words).stdout)


def test_openapi_document(compare_snapshot: CompareSnapshot) -> None:
    compare_snapshot("openapi.json", as_text(openapi(("daily", "hourly"))))


# Results of runs


def api_error(status: int, code: str, message: str) -> RawResponse:
    return answer(status, {"code": code, "message": message, "status": status}, version="1.14.2")


PAUSED = {
    "event": "workflow_paused",
    "task_id": TASK_ID,
    "workflow_run_id": RUN_ID,
    "data": {"status": "paused"},
}
NODE = {
    "id": "1",
    "node_id": "n1",
    "node_type": "llm",
    "title": "Ask",
    "status": "failed",
    "error": "Node broke",
}
NODE_FAILED = {"event": "node_finished", "task_id": TASK_ID, "workflow_run_id": RUN_ID, "data": NODE}
SUCCEEDED = stream(STARTED, PING, finished("succeeded", total_tokens=7, total_steps=2, elapsed_time=0.5))
HTML = answer(200, b"<html>Welcome to the hotel</html>")
BAD_INPUT = answer(
    400, {"code": "invalid_param", "message": "topic is required", "status": 400}, version="1.14.2"
)
UNAUTHORIZED = answer(401, {"code": "unauthorized", "message": "Access token is invalid", "status": 401})
NOT_WORKFLOW = answer(
    400, {"code": "not_workflow_app", "message": "Please check", "status": 400}, version="1.14.2"
)
TOO_MANY = answer(429, {"code": "too_many_requests", "message": "Too many requests", "status": 429})
# outcome: response of the server to the POST, further settings of the job, further arguments
RUNS: dict[str, tuple[RawResponse | None, str, tuple[str, ...]]] = {
    "succeeded": (SUCCEEDED, "", ()),
    "succeeded, blocking": (answer(200, blocking("succeeded"), version="1.14.2"), "", ("--mode=blocking",)),
    "succeeded, scheduled": (SUCCEEDED, "", ("--scheduled",)),
    "succeeded, printed": (SUCCEEDED, "", ("--print", "outputs.result")),
    "partial as success": (stream(STARTED, finished("partial-succeeded")), 'partial = "success"', ()),
    "usage": (None, "", ("--no-such-option",)),
    "rejected": (BAD_INPUT, "", ()),
    "no-input": (None, "", ("--file", f"report={HOME}/missing/report.pdf")),
    "unreachable": (answer(503, b"no"), "", ()),
    "bug": (SUCCEEDED, "", ()),
    "cannot-write": (None, "", ()),
    "unknown": (RawResponse(then="reset"), "", ()),
    "busy": (TOO_MANY, "", ()),
    "protocol": (HTML, "", ()),
    "denied": (UNAUTHORIZED, "", ()),
    "config": (NOT_WORKFLOW, "", ()),
    "config, no key": (None, f'api_key_file = "{HOME}/missing/key"', ()),
    "failed": (stream(STARTED, NODE_FAILED, finished("failed", error="Node broke")), "", ()),
    "partial": (stream(STARTED, finished("partial-succeeded")), "", ()),
    "stopped": (stream(STARTED, finished("stopped")), "", ()),
    "paused": (stream(STARTED, PAUSED), "", ()),
    "unexpected": (SUCCEEDED, 'expect = { "outputs.result" = { equals = "y" } }', ()),
    "timeout": (stream(STARTED, then="hold"), "", ("--timeout=1s",)),
}
STATES = {
    "bug": {"patches": {"dify_job.cli.run:run_job": None}},
    "cannot-write": {"env": {"STATE_DIRECTORY": f"{HOME}/key/state"}},
}


def config_of(address: str, keys: str = "") -> str:
    return f'[jobs.daily]\nbase_url = "{address}"\nretry = {{ attempts = 1 }}\nevery = "1h"\n{keys}\n' + (
        "" if "api_key" in keys else f'api_key_file = "{HOME}/key"\n'
    )


def play(forks: Forks, home: Path, outcome: str) -> ForkResult:
    post, keys, words = RUNS[outcome]
    with ScriptedServer(
        post=post or NOT_FOUND, detail=answer(200, run_of("running"), version="1.14.2")
    ) as server:
        player = Player(forks, home, config_of(server.base_url, keys))
        more: Any = STATES.get(outcome, {})
        words = ("--log-format=json", "run", "daily", *words)
        return player(*words, env=more.get("env"), patches=more.get("patches"), limits=SHORT_LIMITS)


def test_results_of_runs(forks: Forks, tmp_path: Path, compare_snapshot: CompareSnapshot) -> None:
    with ThreadPoolExecutor(8) as pool:
        ended = dict(zip(RUNS, pool.map(lambda name: play(forks, tmp_path / name, name), RUNS), strict=True))
    ended |= play_at_once(forks, tmp_path / "at once")
    compare_snapshot("run.json", as_text({name: as_snapshot(one) for name, one in ended.items()}))
    lines = {
        name: [shape(json.loads(line)) for line in ended[name].stderr.splitlines()]
        for name in ("succeeded", "failed", "unreachable", "interrupted")
    }
    compare_snapshot("log.json", as_text(lines))


def play_at_once(forks: Forks, home: Path) -> dict[str, ForkResult]:
    """Return the results of interrupted runs, and of runs started during them."""
    ended: dict[str, Any] = {}
    with ScriptedServer(post=stream(STARTED, then="hold"), detail=NOT_FOUND) as server:
        first = Player(forks, home / "first", config_of(server.base_url))
        second = Player(forks, home / "second", config_of(server.base_url))
        state = {"XDG_STATE_HOME": str(home / "state")}
        for name, signum in (("interrupted", signal.SIGINT), ("terminated", signal.SIGTERM)):
            before = server.count("post")
            with ThreadPoolExecutor(1) as pool:
                going = pool.submit(
                    first, "--log-format=json", "run", "daily", env=state, limits=SHORT_LIMITS
                )
                until = time.monotonic() + 20
                while server.count("post") == before and time.monotonic() < until:
                    time.sleep(0.01)
                if not ended:
                    ended["skipped"] = second("run", "daily", "--overlap=skip", env=state)
                    ended["busy with another run"] = second("run", "daily", env=state)
                os.kill(int((first.home / "pid").read_text()), signum)
                ended[name] = going.result(30)
            (home / "state/dify-job/daily/in-flight.json").unlink(missing_ok=True)
    return ended


# Read-only commands

READ_ONLY_CONFIG = """
[defaults]
base_url = "{address}"
api_key_file = "{HOME}/key"

[jobs.daily]
cron = "0 * * * *"  # with each run of hourly, so that their order does not depend on the time of day
timezone = "UTC"
console_url = "https://dify.example.com/app/1/logs"
metrics.textfile = "{HOME}/daily.prom"

[jobs.hourly]
every = "1h"
timezone = "Europe/Berlin"
description = "Each hour"
inputs = { topic = "sales", list = [1, true] }
output = { file = "{HOME}/out.json", select = "outputs.result" }
expect = { "outputs.result" = "nonempty" }
notify.healthchecks = "https://hc-ping.com/x"
"""


def test_read_only_commands(forks: Forks, tmp_path: Path, compare_snapshot: CompareSnapshot) -> None:
    post = [SUCCEEDED, stream(STARTED, NODE_FAILED, finished("failed", error="Node broke"))]
    with ScriptedServer(post=post) as server:
        config = READ_ONLY_CONFIG.replace("{address}", server.base_url).replace("{HOME}", HOME)
        player = Player(forks, tmp_path / "home", config)
        outputs = {"status, not installed": as_snapshot(player("status", "--json"))}
        assert player("install", "--backend=systemd", "daily").code == 0
        assert player("install", "--backend=cron", "hourly").code == 0
        assert [player("run", "daily").code, player("run", "daily").code] == [0, 80]
        metrics = (player.home / "daily.prom").read_text()
        for words in (
            "status --json",
            "status --json hourly",
            "status --json absent",
            "history --json daily",
            "history --json hourly",
            "next --json -n 2",
            "next --json -n 1 hourly",
            "config show --json",
            "config validate",
            "doctor --json daily",
            "install --check",
            "install --check --installed",
            "uninstall --backend=systemd daily",
        ):
            outputs[words] = without_texts(as_snapshot(player(*words.split())))
    compare_snapshot("commands.json", as_text(outputs).replace(server.base_url, "http://SERVER/v1"))
    compare_snapshot("metrics.prom", "".join(f"{line}\n" for line in metric_lines(metrics)))


MACHINE_CHECKS = (
    "clock",
    "journal",
    "disk",
    "linger",
    "output",
    "state",
)  # checks that depend on the machine or user


def without_texts(seen: dict[str, Any]) -> dict[str, Any]:
    """Remove texts for people, and findings that depend on the machine."""
    out = seen["stdout"]
    if isinstance(out, str):
        return seen | {"stdout": "<text>" if out else ""}
    if isinstance(out, dict):
        checks = [check for job in out["jobs"] for check in job.get("checks", ())] if "jobs" in out else []
        for check in checks:
            if check["check"] in MACHINE_CHECKS:
                check.update(dict.fromkeys(check.keys() - {"check"}, "<machine>"))
    return seen


def metric_lines(text: str) -> Iterator[str]:
    """Yield the lines of Prometheus's text format without help texts and measured values."""
    for line in text.splitlines():
        name, _, _ = line.rpartition(" ")
        measured = line[:1] != "#" and ("timestamp" in name or "duration" in name)
        if not line.startswith("# HELP"):
            yield f"{name} <number>" if measured else line
