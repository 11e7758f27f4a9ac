"""A job from environment variables has one state per server and key."""

import os

from tests.support.command import Command
from tests.support.fake_dify.apps import App, Node
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import wait_until

SLOW = App("app-slow", nodes=(Node("Start"), Node("Think", 300.0), Node("End")))
QUICK = App("app-quick")


def test_two_keys_are_two_jobs(dify_job: Command) -> None:
    with FakeDify((SLOW, QUICK)) as server:
        common = {"DIFY_BASE_URL": server.base_url, "STATE_DIRECTORY": ""}
        base = dify_job.home / ("var" if os.geteuid() == 0 else ".local/state/dify-job")
        (dify_job.home / "sitecustomize.py").write_text(
            f"import pathlib, dify_job.state.directories as s\ns.SYSTEM_BASE = pathlib.Path({str(base)!r})\n"
        )
        common["PYTHONPATH"] = str(dify_job.home)
        slow, quick = common | {"DIFY_API_KEY": "app-slow"}, common | {"DIFY_API_KEY": "app-quick"}
        process = dify_job.start("run", env=slow)
        wait_until(lambda: server.runs)
        assert dify_job("run", env=quick).code == 0
        assert dify_job("run", env=slow).code == 75
        server.engine.released.set()
        process.communicate()
        assert process.returncode == 0
        assert len(list(base.iterdir())) == 2
        assert "app-" not in " ".join(path.name for path in base.iterdir())
        for env, count in ((slow, 2), (quick, 1)):
            shown = dify_job("history", env=env).stdout
            assert shown.count("succeeded") == 1
            assert len([line for line in shown.splitlines() if "default" in line or "20" in line]) >= count


def test_stop_finds_the_run_of_environment_variables(dify_job: Command) -> None:
    with FakeDify((SLOW,)) as server:
        env = {"DIFY_BASE_URL": server.base_url, "DIFY_API_KEY": "app-slow", "STATE_DIRECTORY": ""}
        (dify_job.home / "sitecustomize.py").write_text(
            "import pathlib, dify_job.state.directories as s\n"
            f"s.SYSTEM_BASE = pathlib.Path({str(dify_job.home / 'var')!r})\n"
        )
        env["PYTHONPATH"] = str(dify_job.home)
        process = dify_job.start("run", env=env)
        wait_until(lambda: server.runs)
        other = dify_job("stop", "default", env=env | {"DIFY_API_KEY": "app-another"})
        assert "stopped" not in other.stdout
        done = dify_job("stop", "default", env=env)
        assert (done.code, done.stdout) == (0, "default: stopped\n"), done.stderr
        process.communicate()
        assert process.returncode == 143
