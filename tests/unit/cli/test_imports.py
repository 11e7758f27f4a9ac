"""Imports per command: a run imports only the modules that it uses."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# Not needed by a run with a config file but without templates, files, outputs and notifications.
UNUSED = {"schedulers", "schedule", "checks", "compat", "report", "demo"}
UNUSED_BY_RUN = {
    *("downloads", "files", "input_upload", "app_form", "assertions"),
    *("notifications", "output", "unit_result"),
}


def test_plain_run_imports_only_what_it_uses(tmp_path: Path) -> None:
    code = (
        "import json, os, sys, dify_job.cli.main as m\n"
        "def leave(code):\n"
        "    executed = [name for name in sys.modules if type(sys.modules[name]).__name__ != 'LazyModule']\n"
        "    print(json.dumps(sorted(executed)), flush=True); real(code)\n"
        "real, os._exit = os._exit, leave\n"
        "m.main(['run', '--scheduled', '-q'])"
    )
    env = {
        "DIFY_API_KEY": "x",
        "DIFY_BASE_URL": "http://127.0.0.1:1",
        "HOME": str(tmp_path),
        "COLUMNS": "80",
    }
    state = tmp_path / "state"
    env |= {"STATE_DIRECTORY": str(state), "DIFY_JOB_CONFIG": str(state.parent / "c.toml")}
    Path(env["DIFY_JOB_CONFIG"]).write_text(
        '[jobs.a]\nbase_url = "http://127.0.0.1:1"\napi_key_env = "DIFY_API_KEY"\nretry = { attempts = 1 }\n'
        "wait_network = 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 69, done.stderr
    loaded = json.loads(done.stdout)
    own = [name.split(".")[1:] for name in loaded if name.startswith("dify_job.")]
    own = [words for words in own if words[1:]]  # a package itself is a docstring
    assert not [words for words in own if words[0] in UNUSED]
    assert not [words for words in own if words[0] == "run" and words[1] in UNUSED_BY_RUN]
    never = {"jinja2", "cronsim", "oncalendar", "apprise", "zoneinfo", "structlog", "asyncio", "dataclasses"}
    never |= {"inspect", "importlib.metadata"}  # imported by click and urllib3
    if sys.version_info >= (3, 12):  # typing imports it for a runtime protocol of requests
        never.remove("inspect")
    never |= {"idna", "shutil", "zipfile"}  # see dify_job/system/lazy_import.py
    if hasattr(tempfile, "_rmtree"):  # Python 3.11.2: its tempfile, which urllib imports, executes shutil
        never.remove("shutil")
    assert not sorted(never & set(loaded))


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"]])
def test_help_loads_no_http_client(words: list[str]) -> None:
    code = (
        "import os, sys, dify_job.cli.main as m\n"
        "def leave(code):\n"
        "    executed = [name for name in sys.modules if type(sys.modules[name]).__name__ != 'LazyModule']\n"
        "    print(*executed, file=sys.stderr, flush=True); real(code)\n"
        "real, os._exit = os._exit, leave\n"
        f"m.main({words!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not {"requests", "urllib3", "http.client", "ssl", "jinja2", "structlog"} & loaded
    assert not [name for name in loaded if name.startswith("dify_job.schedulers.")]
