"""The registry of checks: what needs a server or a host is not run without it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dify_job.checks import registry
from dify_job.checks.context import HostContext
from dify_job.checks.finding import fail, ok
from dify_job.checks.registry import CHECKS, Check, Needs, examine
from dify_job.config.loader import load_config
from dify_job.dify.app_info import AppProbe
from dify_job.schedulers import systemctl
from dify_job.schedulers.backend import Scope
from dify_job.schedulers.cron import UserCrontab
from dify_job.system import subprocesses

NOW = datetime(2026, 3, 12, tzinfo=UTC)


@pytest.fixture
def context(tmp_path: Path) -> HostContext:
    key = tmp_path / "k"
    key.write_text("app-x")
    key.chmod(0o600)
    path = tmp_path / "config.toml"
    path.write_text(f'[jobs.daily]\nbase_url = "http://127.0.0.1:9"\napi_key_file = "{key}"\nevery = "1h"\n')
    config = load_config(path, environ={})
    return HostContext(job=config.jobs["daily"], config=config, scheduler=UserCrontab(Scope.USER), now=NOW)


def test_checks_are_chosen_by_what_they_need(context: HostContext, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def check(name: str, **needs: Any) -> Check:
        def run(_: HostContext) -> list[Any]:
            ran.append(name)
            return [ok(name, "well"), None, fail(name, "not well", None)]

        return Check(run=run, **needs)

    made = (
        check("config", needs=Needs.CONFIG, cheap=True, blocking=True),
        check("host", needs=Needs.HOST, cheap=True),
        check("slow", needs=Needs.HOST),
        check("server", needs=Needs.SERVER),
    )
    monkeypatch.setattr(registry, "CHECKS", made)
    for options, expected in (
        ({}, ["config", "host", "slow", "server"]),
        ({"needs": Needs.HOST}, ["config", "host", "slow"]),
        ({"needs": Needs.CONFIG}, ["config"]),
        ({"cheap": True}, ["config", "host"]),
        ({"blocking": True}, ["config"]),
    ):
        ran.clear()
        found = list(examine(context, **options))
        assert ran == expected
        assert [problem.name for problem in found] == [name for name in expected for _ in range(2)]


def test_cheap_checks_start_no_process_and_ask_no_server(
    context: HostContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a cheap check costs more than it says")

    monkeypatch.setattr(subprocesses, "run", refuse)
    monkeypatch.setattr(HostContext, "app", property(refuse))
    names = [problem.name for problem in examine(context, cheap=True)]
    assert {"config", "key", "schedule", "state"} <= set(names)


def test_checks_of_the_config_look_at_no_host(context: HostContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a check of the config looked at the host")

    for name in ("app", "key", "history", "account", "state"):
        monkeypatch.setattr(HostContext, name, property(refuse))
    monkeypatch.setattr(subprocesses, "run", refuse)
    monkeypatch.setattr(systemctl, "is_booted", refuse)
    assert [problem.name for problem in examine(context, needs=Needs.CONFIG)] == ["config", "schedule"]


def test_blocking_checks_are_cheap_enough_for_install() -> None:
    blocking = [check for check in CHECKS if check.blocking]
    assert blocking
    assert all(check.cheap and check.needs < Needs.SERVER for check in blocking)


def test_key_and_app_are_asked_for_once(context: HostContext, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look(base_url: str, *_: Any, **__: Any) -> AppProbe:
        asked.append(base_url)
        return AppProbe(broken="refused")

    monkeypatch.setattr("dify_job.checks.server.probe_app", look)
    assert context.app is context.app
    assert context.app is not None
    assert len(asked) == 1
