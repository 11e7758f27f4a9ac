"""Verification of rendered units with systemd-analyze before they are written."""

from pathlib import Path

import pytest

from dify_job.messages.errors import JobError
from dify_job.schedulers.model import RenderedFile, Scope
from dify_job.schedulers.systemctl import verify
from dify_job.system import subprocesses
from tests.support.systemd_analyze import needs_systemd_analyze

SERVICE = "[Unit]\nDescription=x\n[Service]\nType=oneshot\nExecStart=/bin/true\n"
TIMER = "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n"


UNITS = [
    RenderedFile(Path("/units/dify-job-a.service"), SERVICE),
    RenderedFile(Path("/units/dify-job-a.timer"), TIMER),
]


def check(scope: Scope, service: str = SERVICE, timer: str = TIMER) -> None:
    places = Path("/etc/systemd/system")
    pair = [
        RenderedFile(places / "dify-job-a.service", service),
        RenderedFile(places / "dify-job-a.timer", timer),
    ]
    assert verify(pair, pair, scope, 252)


@pytest.fixture(params=Scope)
def scope(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Scope:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)  # as in cron, or after su
    found: Scope = request.param
    return found


@needs_systemd_analyze
def test_valid_units_are_accepted(scope: Scope) -> None:
    check(scope)


@needs_systemd_analyze
def test_list_of_dates_with_a_past_one_is_accepted(scope: Scope) -> None:
    check(scope, timer=TIMER.replace("daily", "2020-01-01\nOnCalendar=2190-01-01"))


@needs_systemd_analyze
@pytest.mark.parametrize(
    ("service", "timer", "message"),
    [
        (SERVICE, TIMER.replace("daily", "noonish"), "does not accept the schedule.*noonish"),
        (
            SERVICE.replace("/bin/true", "/nowhere/python"),
            TIMER,
            "does not accept the units.*/nowhere/python",
        ),
        (SERVICE + "TimeoutStartSec=soonish\n", TIMER, "does not accept the units.*soonish"),
        (SERVICE + "NoSuchKey=1\n", TIMER, "does not accept the units.*NoSuchKey"),
    ],
)
def test_unit_that_systemd_rejects_is_rejected_with_its_message(
    service: str, timer: str, message: str, scope: Scope
) -> None:
    with pytest.raises(JobError, match=message) as refused:
        check(scope, service, timer)
    assert refused.value.outcome == "rejected"
    assert "/tmp/" not in refused.value.message


def test_units_are_unverified_where_systemd_analyze_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = subprocesses.Completed(127, b"", b"could not be started", answered=False)
    monkeypatch.setattr(subprocesses, "run", lambda *_, **__: silent)
    assert not verify(UNITS, UNITS, Scope.SYSTEM, 252)
    monkeypatch.setattr(subprocesses, "is_on_path", lambda _: False)
    assert not verify(UNITS, UNITS, Scope.SYSTEM, 252)
