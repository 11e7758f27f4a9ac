"""Slow templates: rendering ends at the deadline and at signals."""

import os
import select
import signal
import time

import pytest

from tests.support.command import KEY, Command, children
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until

ENDLESS = (
    "{{ [1]|slice(10**12)|select|list }}",
    "{% macro a(n) %}{{ a(n + 1) ~ a(n + 1) if n < 60 else '' }}{% endmacro %}{{ a(0) }}",
)


def configure(dify_job: Command, server: FakeDify, template: str, key: str = "inputs") -> list[str]:
    where = {
        "inputs": "inputs = { a = '''T''' }",
        "files": "files = { a = '''T''' }",
        "output": "output = { file = '''T''' }",
    }
    config = dify_job.home / "config.toml"
    config.write_text(
        f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "KEY"\n'
        + where[key].replace("T", template)
    )
    return ["run", "daily", "--config", str(config)]


@pytest.mark.parametrize("template", ENDLESS)
@pytest.mark.parametrize("key", ["inputs", "output"])
def test_deadline_ends_the_rendering(dify_job: Command, server: FakeDify, template: str, key: str) -> None:
    began = time.monotonic()
    done = dify_job(*configure(dify_job, server, template, key), "--timeout", "2s", env={"KEY": KEY})
    assert time.monotonic() - began < 60
    assert done.code == 78
    assert key in done.result["message"]
    assert not server.runs


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_first_signal_ends_the_rendering(dify_job: Command, server: FakeDify, signum: int, code: int) -> None:
    process = dify_job.start(*configure(dify_job, server, ENDLESS[0]), env={"KEY": KEY})
    done = dify_job.signal_when(process, lambda: children(process), signum)
    assert done.code == code
    assert not server.runs


def test_rendering_ends_with_a_run_that_is_killed(dify_job: Command, server: FakeDify) -> None:
    process = dify_job.start(*configure(dify_job, server, ENDLESS[0]), env={"KEY": KEY})
    [worker] = wait_until(lambda: children(process))
    waiting = os.pidfd_open(worker)
    process.kill()
    assert select.select([waiting], [], [], 20)[0]  # readable once the worker has ended
    os.close(waiting)


def test_config_validate_ends_with_an_endless_template(dify_job: Command, server: FakeDify) -> None:
    words = configure(dify_job, server, "{{ [1]|slice(10**12)|select|list }}{{ nope }}")
    (dify_job.home / "sitecustomize.py").write_text(
        "import dify_job.run.inputs as i\ni._MAX_RENDERING = 1.0\n"
    )
    env = {"KEY": KEY, "PYTHONPATH": str(dify_job.home)}
    done = dify_job("config", "validate", *words[2:], env=env)
    assert done.code == 78
    assert "inputs.a" in done.stdout + done.stderr
