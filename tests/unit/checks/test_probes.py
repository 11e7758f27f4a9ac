"""Probes of the apps of several jobs."""

from pathlib import Path

import pytest

from dify_job.checks import probes
from dify_job.checks.probes import AppProbes
from dify_job.config.model import Secret
from dify_job.dify.app_info import AppProbe, NoAnswer
from tests.support.host_contexts import make_job


def test_servers_of_many_jobs_are_queried_in_bounded_time_and_each_app_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    clock = [0.0]

    def probe(base_url: str, key: str, *, limit: float, **_: object) -> AppProbe:
        asked.append(f"{base_url} {key}")
        clock[0] += 2 * limit
        return AppProbe(failure=NoAnswer("no answer")) if "gone" in base_url else AppProbe(version="1.14.2")

    monkeypatch.setattr(probes, "probe_app", probe)
    monkeypatch.setattr("dify_job.checks.probes.time.monotonic", lambda: clock[0])
    app_probes = AppProbes()
    key = Secret("app-0123456789abcdef")
    assert app_probes.of(make_job("https://gone"), key) == AppProbe(failure=NoAnswer("no answer"))
    assert app_probes.of(make_job("https://gone"), Secret("app-another-0123456789")) == AppProbe(
        failure=NoAnswer("no answer")
    )
    assert len(asked) == 1
    assert app_probes.of(make_job("https://a"), key) is not None
    assert app_probes.of(make_job("https://a"), key) is not None
    assert len(asked) == 2
    assert app_probes.of(make_job("https://b"), key) is None
    assert clock[0] <= 30


def test_file_that_one_job_lacks_is_no_fault_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "probe_app", lambda *_, **__: AppProbe(version="1.14.2"))
    app_probes, key = AppProbes(), Secret("app-0123456789abcdef")
    assert app_probes.of(make_job(ca_file=Path("/nowhere.pem")), key) is None
    assert app_probes.of(make_job(), key) == AppProbe(version="1.14.2")
