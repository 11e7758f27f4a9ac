"""Limits: deep JSON, no threads, no memory, no descriptors give a documented exit code, not a traceback."""

import json
import resource
from pathlib import Path

import pytest

from tests.support.command import Command, program_with_limits
from tests.support.fake_dify.server import FakeDify
from tests.support.scripted_server import STARTED, RawResponse, ScriptedServer, answer, finished, stream

DEEP = "[" * 5000 + "]" * 5000
LONG = "9" * 5000


def replace_in_reply(reply: RawResponse, old: str, new: str) -> RawResponse:
    parts = tuple((pause, raw.replace(old.encode(), new.encode())) for pause, raw in reply.parts)
    return RawResponse(parts, reply.then)


@pytest.mark.parametrize("value", [DEEP, LONG, '{"a":' * 3000 + "1" + "}" * 3000])
@pytest.mark.parametrize("way", ["text", "file", "stdin", "environment"])
def test_inputs_beyond_the_limits_are_rejected(
    dify_job: Command, server: FakeDify, environ: dict[str, str], value: str, way: str
) -> None:
    text = f'{{"topic": {value}}}'
    file = dify_job.home / "inputs.json"
    file.write_text(text)
    match way:
        case "text":
            done = dify_job("run", "--inputs", text, env=environ)
        case "file":
            done = dify_job("run", "--inputs", f"@{file}", env=environ)
        case "stdin":
            done = dify_job("run", "--inputs", "-", env=environ, input=text)
        case _:
            done = dify_job("run", env=environ | {"DIFY_INPUTS": text})
    assert done.code == (78 if way == "environment" else 65)
    assert "levels deep" in done.result["message"] or "4300 digits" in done.result["message"]
    assert "Traceback" not in done.stderr
    assert not server.runs


@pytest.mark.parametrize(
    "line",
    [
        f"a = {DEEP}",
        ".".join(["a"] * 5000) + " = 1",
        f"a = {LONG}",
        "a = 0x" + "f" * 5000,
        "a = " + "{b = " * 400 + "1" + "}" * 400,
    ],
)
def test_config_beyond_the_limits_is_rejected(dify_job: Command, server: FakeDify, line: str) -> None:
    config = dify_job.home / "config.toml"
    config.write_text(
        f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "KEY"\n[jobs.daily.inputs]\n{line}\n'
    )
    for command in ("run", "status", "doctor", "history"):
        done = dify_job(command, "daily", "--config", str(config), env={"KEY": "app-k"})
        assert "Traceback" not in done.stderr, command
    done = dify_job("run", "daily", "--config", str(config), env={"KEY": "app-k"})
    assert done.code == 78
    assert not server.runs


@pytest.mark.parametrize("value", [DEEP, LONG, "[" * 400 + '{"a": ' + LONG + "}" + "]" * 400])
@pytest.mark.parametrize("mode", ["streaming", "blocking"])
def test_outputs_of_any_depth_are_printed_completely(dify_job: Command, value: str, mode: str) -> None:
    ended = finished("succeeded", outputs={"x": "VALUE", "y": "text"})
    say = stream(STARTED, ended) if mode == "streaming" else answer(200, ended)
    if mode == "blocking":
        raw = say.parts[0][1].replace(b'"VALUE"', value.encode()).partition(b"\r\n\r\n")[2]
        say = answer(200, raw, {"Content-Type": "application/json"})
    with ScriptedServer(post=replace_in_reply(say, '"VALUE"', value)) as server:
        config = dify_job.home / "config.toml"
        config.write_text(
            f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "KEY"\nmode = "{mode}"\n'
            'expect = { "outputs.x" = "nonempty" }\n'
        )
        settings = ("daily", "--config", str(config))
        done = dify_job("run", *settings, "--output", "out.json", env={"KEY": "app-k"})
        assert done.code == 0, done.stderr
        assert f'"x": {value}' in done.stdout
        assert "".join(value.split()) in "".join((dify_job.home / "out.json").read_text().split())
        done = dify_job("run", *settings, "--print", "outputs.x", env={"KEY": "app-k"})
        assert (done.code, done.stdout) == (0, value + "\n")


def test_run_without_threads_sends_nothing(
    dify_job: Command, server: FakeDify, environ: dict[str, str]
) -> None:
    (dify_job.home / "sitecustomize.py").write_text(
        "import threading\n"
        'def refuse(*_, **__): raise RuntimeError("can\'t start new thread")\n'
        "threading._start_new_thread = threading._start_joinable_thread = refuse\n"  # the latter from 3.13 on
    )
    done = dify_job("run", env=environ | {"PYTHONPATH": str(dify_job.home)})
    assert done.code == 69
    assert "no thread can be started" in done.result["message"]
    assert "Traceback" not in done.stderr
    assert not server.runs


@pytest.mark.parametrize("mode", ["streaming", "blocking"])
def test_response_larger_than_memory_is_unknown(dify_job: Command, mode: str) -> None:
    ended = finished("succeeded", outputs={"x": "x" * 60_000_000})
    say = stream(STARTED, ended) if mode == "streaming" else answer(200, ended)
    dify_job.program = program_with_limits(stop_confirmation=0.5, first_ids=0.5)
    with ScriptedServer(post=say, detail=answer(200, {"id": "x", "status": "running"})) as server:
        done = dify_job(
            *("run", "--mode", mode, "--timeout", "3s"),
            env={
                "DIFY_API_KEY": "app-k",
                "DIFY_BASE_URL": server.base_url,
                "PYTHONPATH": str(dify_job.home),
            },
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (150 * 2**20, 150 * 2**20)),
        )
    assert done.code in {74, 124}, done.stderr
    assert "Traceback" not in done.stderr
    [line] = Path(dify_job.home, "state/history.jsonl").read_text().splitlines()
    assert json.loads(line)["exit_code"] == done.code


_NO_FILE = (
    "import errno, os, {module} as patched\n"
    "def refuse(*_, **__): raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))\n"
    "patched.{name} = refuse\n"
)


@pytest.mark.parametrize("where", ["dify_job.run.engine Engine", "dify_job.config.loader find_config"])
def test_run_without_file_descriptors_starts_nothing(
    dify_job: Command, server: FakeDify, environ: dict[str, str], where: str
) -> None:
    module, name = where.split()
    (dify_job.home / "sitecustomize.py").write_text(_NO_FILE.format(module=module, name=name))
    done = dify_job("run", env=environ | {"PYTHONPATH": str(dify_job.home)})
    assert done.code == 69
    assert "the process has too many open files" in done.result["message"]
    assert "LimitNOFILE" in done.result["hint"]
    assert "Traceback" not in done.stderr
    assert not server.runs


def test_run_that_runs_out_of_file_descriptors_is_unknown(dify_job: Command, environ: dict[str, str]) -> None:
    text = _NO_FILE.format(module="dify_job.run.monitor", name="RunMonitor._on_post")
    (dify_job.home / "sitecustomize.py").write_text(text)
    done = dify_job("run", env=environ | {"PYTHONPATH": str(dify_job.home)})
    assert done.code == 74
    assert "the process has too many open files" in done.result["message"]
    assert "Traceback" not in done.stderr


def test_success_that_cannot_be_checked_is_unexpected(dify_job: Command, environ: dict[str, str]) -> None:
    text = _NO_FILE.format(module="dify_job.run.assertions", name="assertion_error")
    (dify_job.home / "sitecustomize.py").write_text(text)
    path = {"PYTHONPATH": str(dify_job.home)}
    done = dify_job("run", "--print", "outputs.result", env=environ | path)
    assert done.code == 84
    assert "the process has too many open files" in done.stderr
    assert "no run was started" not in done.stderr
