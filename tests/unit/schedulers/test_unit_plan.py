"""The plan for units: actions and their order for observed states, without a host."""

from dataclasses import replace
from pathlib import Path

import pytest

from dify_job.schedulers.backend import RenderedFile, Scope
from dify_job.schedulers.reconcile import ChangeFiles, UnitChange
from dify_job.schedulers.systemctl import Unit
from dify_job.schedulers.unit_plan import (
    Activation,
    DesiredUnits,
    ObservedUnits,
    Pending,
    PendingFile,
    Record,
    Reload,
    RemoveTraces,
    ResetFailed,
    Start,
    Stop,
    Systemctl,
    plan_units,
)
from dify_job.system.managed_files import FileState, FileStatus, look, marked
from dify_job.system.transaction import FileChange

UNITS = Path("/units")
SERVICE, TIMER, FAILURE = "dify-job-daily.service", "dify-job-daily.timer", "dify-job-notify@x.service"
STAMP = Path("/var/lib/systemd/timers") / f"stamp-{TIMER}"
RECORD = PendingFile(Path("/state"))


def text(body: str) -> str:
    return marked("daily", "0" * 16, "/config.toml", body)


def desired(*, service: str = "s", timer: str = "t", **changes: object) -> DesiredUnits:
    files = (RenderedFile(UNITS / SERVICE, text(service)), RenderedFile(UNITS / TIMER, text(timer)))
    places = (UNITS / SERVICE, UNITS / TIMER, UNITS / FAILURE)
    one = DesiredUnits(name="daily", places=places, files=files, trigger=TIMER, catch_up=True)
    return replace(one, **changes)  # type: ignore[arg-type]


def status(body: str, tmp: Path) -> FileStatus:
    file = tmp / "file.service"
    file.write_text(text(body))
    return look(file, "daily")


def unit(*, active: bool, unread: bool = False) -> Unit:
    return Unit(
        {
            "LoadState": "loaded",
            "ActiveState": "active" if active else "inactive",
            "NeedDaemonReload": "yes" if unread else "no",
        }
    )


@pytest.fixture
def installed(tmp_path: Path) -> ObservedUnits:
    """The observed state after an earlier install."""
    return ObservedUnits(
        scope=Scope.SYSTEM,
        running=True,
        record=RECORD,
        files={UNITS / SERVICE: status("s", tmp_path), UNITS / TIMER: status("t", tmp_path)},
        units={SERVICE: unit(active=False), TIMER: unit(active=True)},
        enabled=frozenset({TIMER}),
    )


NOTHING = ObservedUnits(scope=Scope.SYSTEM, running=True, record=RECORD, files={})


def test_new_job_is_written_enabled_reloaded_and_started_in_this_order() -> None:
    plan = plan_units([desired()], NOTHING)
    pending = Pending(frozenset({TIMER}), frozenset({TIMER}))
    record, files, enable, reload, start, settled = plan.actions
    assert record == Record(RECORD, Pending(), pending)
    assert isinstance(files, ChangeFiles)
    assert [change.path.name for change in files.files] == [SERVICE, TIMER]
    assert enable == Systemctl("enable", (TIMER,), undo="disable", flags=("--no-reload",))
    assert (reload, start) == (Reload(), Start((TIMER,), (STAMP,)))
    assert settled == Record(RECORD, pending, Pending())
    assert plan.results[0].enabled


def test_installed_job_needs_nothing(installed: ObservedUnits) -> None:
    plan = plan_units([desired()], installed)
    assert (plan.actions, plan.refusals, plan.changes()) == ((), (), [])
    assert (plan.results[0].changed, plan.results[0].enabled) == (False, True)


def test_timer_is_stopped_before_its_file_changes_and_then_started(
    installed: ObservedUnits,
) -> None:
    plan = plan_units([desired(timer="other")], installed)
    kinds = [type(action) for action in plan.actions]
    assert kinds == [Record, Stop, ChangeFiles, Reload, Start, Record]
    assert plan.actions[1] == Stop((TIMER,), (STAMP,), interrupted=True)
    assert plan.actions[4] == Start((TIMER,), (STAMP,), frozenset({TIMER}))
    assert [type(change) for change in plan.changes()] == [FileChange], "stop and start are no difference"


def test_change_of_the_service_alone_stops_no_timer(installed: ObservedUnits) -> None:
    plan = plan_units([desired(service="other")], installed)
    assert [type(action) for action in plan.actions] == [ChangeFiles, Reload]


def test_interrupted_install_is_a_difference(installed: ObservedUnits) -> None:
    """An install killed between writing and enabling: the files are equal, but the timer is not enabled."""
    units = {SERVICE: unit(active=False), TIMER: unit(active=False)}
    pending = Pending(frozenset({TIMER}), frozenset({TIMER}))
    killed = replace(installed, units=units, enabled=frozenset(), pending=pending)
    plan = plan_units([desired()], killed)
    assert plan.changes() == [UnitChange(TIMER, "enable"), UnitChange(TIMER, "start")]
    assert plan.results[0].enabled
    assert plan.actions[-1] == Record(RECORD, pending, Pending())


def test_timer_disabled_or_stopped_by_an_administrator_stays_so(installed: ObservedUnits) -> None:
    units = {SERVICE: unit(active=False), TIMER: unit(active=False)}
    for enabled in (frozenset({TIMER}), frozenset[str]()):
        stopped = replace(installed, units=units, enabled=enabled)
        plan = plan_units([desired(timer="other")], stopped)
        assert not [action for action in plan.actions if isinstance(action, Start | Systemctl)]
        assert "paused, and left so" in plan.results[0].notes[0]
    running_on = replace(installed, enabled=frozenset())
    plan = plan_units([desired(timer="other")], running_on)
    assert not [action for action in plan.actions if isinstance(action, Systemctl)]
    assert plan.results[0].enabled


def test_masked_timer_is_left_and_its_resume_refused(installed: ObservedUnits) -> None:
    masked = replace(installed, files={**installed.files, UNITS / TIMER: FileStatus(FileState.MASKED)})
    plan = plan_units([desired(service="other", activation=Activation.ENABLED)], masked)
    assert (plan.actions, plan.refusals) == ((), ())
    assert "masked by the administrator, and left so" in plan.results[0].notes[0]
    resumed = plan_units([desired(files=None, activation=Activation.ENABLED)], masked)
    assert "is masked by the administrator" in resumed.refusals[0].message


def test_pause_changes_no_files(installed: ObservedUnits) -> None:
    edited = replace(installed.files[UNITS / TIMER], found=FileState.EDITED, content=b"\xff")
    seen = replace(installed, files={**installed.files, UNITS / TIMER: edited})
    plan = plan_units([desired(files=None, activation=Activation.DISABLED)], seen)
    assert plan.actions == (Systemctl("disable", (TIMER,), undo="enable"), Stop((TIMER,), (STAMP,)))
    assert plan.changes() == [UnitChange(TIMER, "disable"), UnitChange(TIMER, "stop")]
    paused = replace(seen, enabled=frozenset(), units={TIMER: unit(active=False)})
    assert plan_units([desired(files=None, activation=Activation.DISABLED)], paused).actions == ()


def test_pause_after_an_interrupted_install_is_not_undone_by_the_next(installed: ObservedUnits) -> None:
    pending = Pending(frozenset({TIMER, "dify-job-other.timer"}))
    plan = plan_units(
        [desired(files=None, activation=Activation.DISABLED)], replace(installed, pending=pending)
    )
    assert plan.actions[0] == Record(RECORD, pending, Pending(frozenset({"dify-job-other.timer"})))


def test_uninstall_removes_the_files_last(installed: ObservedUnits) -> None:
    plan = plan_units([desired(files=())], installed)
    kinds = [type(action) for action in plan.actions]
    assert kinds == [Systemctl, Stop, Systemctl, RemoveTraces, ChangeFiles, Reload, ResetFailed]
    assert plan.actions[2] == Systemctl("stop", (SERVICE,))
    assert plan.results[0].paths == (UNITS / SERVICE, UNITS / TIMER)


def test_one_reload_for_all_that_is_installed_and_removed(installed: ObservedUnits) -> None:
    other = DesiredUnits(
        name="weekly",
        places=(UNITS / "dify-job-weekly.service", UNITS / "dify-job-weekly.timer"),
        files=(
            RenderedFile(UNITS / "dify-job-weekly.service", "s"),
            RenderedFile(UNITS / "dify-job-weekly.timer", "t"),
        ),
        trigger="dify-job-weekly.timer",
    )
    plan = plan_units([other, desired(files=())], installed)
    assert len([action for action in plan.actions if isinstance(action, Reload)]) == 1
    assert [result.job for result in plan.results] == ["weekly", "daily"]


@pytest.mark.parametrize(
    ("found", "overwrite", "refused"),
    [
        (FileState.FOREIGN, True, "exists and is not dify-job's"),
        (FileState.UNREADABLE, True, "exists and is not dify-job's"),
        (FileState.EDITED, False, "was edited by hand"),
        (FileState.EDITED, True, ""),
    ],
)
def test_edited_or_foreign_file_is_refused(
    found: FileState, overwrite: bool, refused: str, installed: ObservedUnits
) -> None:
    files = {**installed.files, UNITS / SERVICE: FileStatus(found, content=b"x")}
    plan = plan_units([desired()], replace(installed, files=files), overwrite_edits=overwrite)
    assert [refused in problem.message for problem in plan.refusals] == ([True] if refused else [])
    assert plan.changes(), "a refused plan still lists the differences"


def test_unit_of_another_directory_is_refused() -> None:
    seen = replace(NOTHING, foreign={TIMER: Path("/usr/lib/systemd/system") / TIMER})
    assert "exists already, in /usr/lib/systemd/system" in plan_units([desired()], seen).refusals[0].message


def test_without_a_manager_units_are_written_and_enabled_only() -> None:
    plan = plan_units([desired()], replace(NOTHING, running=False))
    kinds = [type(action) for action in plan.actions]
    assert kinds == [Record, ChangeFiles, Systemctl, Record]
