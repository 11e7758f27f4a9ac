"""Whole outputs compared with files; `make golden` renews them, and the diff is then read by a person."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FILES = Path(__file__).parent
OUTPUTS = {
    "exit-codes.txt": ["exit-codes"],
    "exit-codes.json": ["exit-codes", "--json"],
}


def compare(name: str, text: str, request: pytest.FixtureRequest) -> None:
    path = FILES / name
    if request.config.getoption("--renew-golden"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    command = [sys.executable, "-m", "dify_job", *OUTPUTS[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"COLUMNS": "100"})
    compare(name, done.stdout, request)


def test_run_imports_only_the_modules_of_the_golden_list(request: pytest.FixtureRequest) -> None:
    """Our own rooms and the libraries that a run with a config file and no template uses."""
    code = (
        "import json, os, sys, dify_job.cli.main as m\n"
        "def leave(code):\n"
        "    executed = [name for name in sys.modules if type(sys.modules[name]).__name__ != '_Later']\n"
        "    print(json.dumps(sorted(executed)), flush=True); real(code)\n"
        "real, os._exit = os._exit, leave\n"
        "m.main(['run', '--scheduled', '-q'])"
    )
    env = {
        "DIFY_API_KEY": "x",
        "DIFY_BASE_URL": "http://127.0.0.1:1",
        "HOME": "/nonexistent",
        "COLUMNS": "80",
    }
    state = request.getfixturevalue("tmp_path") / "state"
    env |= {"STATE_DIRECTORY": str(state), "DIFY_JOB_CONFIG": str(state.parent / "c.toml")}
    Path(env["DIFY_JOB_CONFIG"]).write_text(
        '[jobs.a]\nbase_url = "http://127.0.0.1:1"\napi_key_env = "DIFY_API_KEY"\nretry = { attempts = 1 }\n'
        "wait_network = 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 69, done.stderr
    loaded = json.loads(done.stdout)
    ours = [name for name in loaded if name.split(".")[0] == "dify_job"]
    compare("modules-of-run.txt", "\n".join(ours) + "\n", request)
    never = {"jinja2", "cronsim", "oncalendar", "apprise", "zoneinfo", "structlog", "asyncio", "dataclasses"}
    never |= {"idna", "shutil", "zipfile"}  # see dify_job/system/lazy_import.py
    assert not never & set(loaded)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"]])
def test_help_loads_no_http_client(words: list[str]) -> None:
    code = (
        "import os, sys, dify_job.cli.main as m\n"
        "def leave(code): print(*sorted(sys.modules), file=sys.stderr, flush=True); real(code)\n"
        "real, os._exit = os._exit, leave\n"
        f"m.main({words!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    never = {"requests", "urllib3", "http.client", "ssl", "jinja2", "structlog", "dify_job.schedulers"}
    assert not never & set(done.stderr.split())
