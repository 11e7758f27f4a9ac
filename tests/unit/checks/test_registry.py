"""The registry of checks: checks run only where the server or host that they need is available."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dify_job.checks import registry
from dify_job.checks.context import HostContext
from dify_job.checks.finding import Finding, fail, ok, warn
from dify_job.checks.registry import Check, Needs, rejections, run_checks
from dify_job.config.loader import load_config
from dify_job.config.model import Origin, Source
from dify_job.dify.app_info import AppProbe, NoAnswer
from dify_job.schedulers import systemctl
from dify_job.schedulers.cron import UserCrontab
from dify_job.schedulers.model import Scope
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


def test_checks_are_selected_by_their_needs(context: HostContext, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def check(name: str, needs: Needs, **options: Any) -> Check:
        def run(_: HostContext) -> Finding | None:
            ran.append(name)
            return ok("well")

        return Check(name, run, needs, **options)

    made = (
        check("config", Needs.CONFIG, blocking=True),
        check("host", Needs.HOST, settings=("run_as",)),
        check("installed", Needs.HOST, installed=True),
        check("server", Needs.SERVER),
    )
    monkeypatch.setattr(registry, "CHECKS", made)
    for options, expected in (
        ({}, ["config", "host", "server"]),
        ({"needs": Needs.HOST}, ["config", "host"]),
        ({"needs": Needs.CONFIG}, ["config"]),
        ({"choose": lambda check: "run_as" in check.settings}, ["host"]),
        ({"choose": lambda check: check.blocking}, ["config"]),
    ):
        ran.clear()
        found = list(run_checks(context, **options))
        assert ran == [finding.name for finding in found] == expected


def test_check_is_skipped_after_a_failure_that_it_depends_on(
    context: HostContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (
        Check("a", lambda _: fail("bad", None)),
        Check("a", lambda _: ok("the same name")),
        Check("b", lambda _: ok("depends on it"), after=("a",)),
        Check("c", lambda _: warn("does not", None)),
        Check("d", lambda _: ok("a warning is no obstacle"), after=("c",)),
    )
    monkeypatch.setattr(registry, "CHECKS", made)
    assert [finding.name for finding in run_checks(context)] == ["a", "c", "d"]


def test_checks_of_the_config_do_not_access_the_host(
    context: HostContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a check of the config looked at the host")

    for name in ("app", "history", "account", "state"):
        monkeypatch.setattr(HostContext, name, property(refuse))
    monkeypatch.setattr(subprocesses, "run", refuse)
    monkeypatch.setattr(systemctl, "is_booted", refuse)
    assert [finding.name for finding in run_checks(context, Needs.CONFIG)] == ["config", "key"]


def test_rejected_input_names_file_and_line_of_its_setting(context: HostContext) -> None:
    origin = Origin(Source.FILE, "/a.toml", 7)
    job = context.job._replace(ca_file=Path("/nowhere.pem"), origins={"ca_file": origin})
    [error] = rejections(replace(context, job=job), Needs.CONFIG)
    assert error.message.startswith("/a.toml:7: the ca_file /nowhere.pem cannot be read")


def test_key_and_app_are_requested_once(context: HostContext, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def probe(base_url: str, *_: Any, **__: Any) -> AppProbe:
        asked.append(base_url)
        return AppProbe(failure=NoAnswer("refused"))

    monkeypatch.setattr("dify_job.checks.probes.probe_app", probe)
    assert context.app is context.app
    assert context.app is not None
    assert len(asked) == 1
