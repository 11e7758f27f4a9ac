"""The plan for units: steps and their order for observed states, without a host."""

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dify_job.messages.errors import JobError
from dify_job.schedulers.model import RenderedFile, Scope, Unit
from dify_job.schedulers.reconcile import Plan, Step, UnitChange, execute
from dify_job.schedulers.systemctl import Manager
from dify_job.schedulers.unit_plan import (
    Activation,
    DesiredUnits,
    ObservedUnits,
    Pending,
    enabling_link,
    plan_units,
)
from dify_job.system.managed_files import FileState, FileStatus, file_status, with_header
from dify_job.system.transaction import FileChange

UNITS = Path("/units")
SERVICE, TIMER, FAILURE = "dify-job-daily.service", "dify-job-daily.timer", "dify-job-notify@x.service"
RECORD = "record what is pending"


class Recorder(Manager):
    """A manager that records its calls, and reports every unit as active."""

    def __init__(self) -> None:
        super().__init__(Scope.SYSTEM)
        self.calls: list[str] = []

    def unavailable_reason(self) -> str | None:
        return None

    def call(self, verb: str, units: Iterable[str], *flags: str) -> None:
        self.calls.append(" ".join([verb, *flags, *units]))

    def reload(self) -> None:
        self.calls.append("daemon-reload")

    def properties_of(self, units: Sequence[str], *_: float) -> dict[str, Unit]:
        return {name: unit(active=True) for name in units}


class NoManager(Recorder):
    """No manager runs, as in a chroot."""

    def unavailable_reason(self) -> str | None:
        return "offline"


def names(plan: Plan) -> list[str]:
    return [step.name for step in plan.steps]


def pending_during(plan: Plan, seen: ObservedUnits) -> list[Pending]:
    """Execute the steps that replace the record of pending work; return its content after each."""
    found = []
    for step in plan.steps:
        if step.name == RECORD:
            step.do()
            found.append(Pending.read(seen.base))
    return found


def text(body: str) -> str:
    return with_header("daily", "0" * 16, "/config.toml", body)


def desired(*, service: str = "s", timer: str = "t", **changes: object) -> DesiredUnits:
    files = (RenderedFile(UNITS / SERVICE, text(service)), RenderedFile(UNITS / TIMER, text(timer)))
    all_paths = (UNITS / SERVICE, UNITS / TIMER, UNITS / FAILURE)
    one = DesiredUnits(
        name="daily",
        all_paths=all_paths,
        optional_paths=frozenset({UNITS / FAILURE}),
        files=files,
        trigger=TIMER,
        catch_up=True,
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def status(body: str, tmp: Path) -> FileStatus:
    file = tmp / "file.service"
    file.write_text(text(body))
    return file_status(file, "daily")


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
        manager=Recorder(),
        running=True,
        base=tmp_path,
        files={UNITS / SERVICE: status("s", tmp_path), UNITS / TIMER: status("t", tmp_path)},
        units={SERVICE: unit(active=False), TIMER: unit(active=True)},
        enabled=frozenset({TIMER}),
    )


@pytest.fixture
def nothing(tmp_path: Path) -> ObservedUnits:
    """A host without the job."""
    stamps = tmp_path / "stamps"
    return ObservedUnits(manager=Recorder(), running=True, base=tmp_path, files={}, stamps=stamps)


def test_new_job_is_written_enabled_reloaded_and_started_in_this_order(nothing: ObservedUnits) -> None:
    units = nothing.base / "units"
    files = tuple(RenderedFile(units / name, text(name)) for name in (SERVICE, TIMER))
    plan = plan_units([desired(all_paths=tuple(file.path for file in files), files=files)], nothing)
    assert names(plan) == [RECORD, "change files", "enable", "daemon-reload", "start", RECORD]
    assert [change.path.name for change in plan.changed_files()] == [SERVICE, TIMER]
    assert plan.results[0].enabled
    execute(plan, units)
    assert nothing.manager.calls == [f"enable --no-reload {TIMER}", "daemon-reload", f"start {TIMER}"]  # type: ignore[attr-defined]
    assert nothing.stamp(TIMER).exists()
    assert [file.path.read_text() for file in files] == [file.text for file in files]
    assert Pending.read(nothing.base) == Pending()
    assert pending_during(plan, nothing) == [Pending(frozenset({TIMER}), frozenset({TIMER})), Pending()]


def test_installed_job_needs_nothing(installed: ObservedUnits) -> None:
    plan = plan_units([desired()], installed)
    assert (plan.steps, plan.errors, plan.changes()) == ((), (), [])
    assert (plan.results[0].changed, plan.results[0].enabled) == (False, True)


def test_timer_is_stopped_before_its_file_changes_and_then_started(
    installed: ObservedUnits,
) -> None:
    plan = plan_units([desired(timer="other")], installed)
    assert names(plan) == [RECORD, "stop", "change files", "daemon-reload", "start", RECORD]
    assert [type(change) for change in plan.changes()] == [FileChange], "stop and start are no difference"


def test_change_of_the_service_alone_stops_no_timer(installed: ObservedUnits) -> None:
    plan = plan_units([desired(service="other")], installed)
    assert names(plan) == ["change files", "daemon-reload"]


def test_interrupted_install_is_a_difference(installed: ObservedUnits) -> None:
    """An install killed between writing and enabling: the files are equal, but the timer is not enabled."""
    units = {SERVICE: unit(active=False), TIMER: unit(active=False)}
    pending = Pending(frozenset({TIMER}), frozenset({TIMER}))
    killed = replace(installed, units=units, enabled=frozenset(), pending=pending)
    plan = plan_units([desired()], killed)
    assert plan.changes() == [UnitChange(TIMER, "enable"), UnitChange(TIMER, "start")]
    assert plan.results[0].enabled
    assert pending_during(plan, killed) == [Pending()]


def test_timer_disabled_or_stopped_by_an_administrator_stays_so(installed: ObservedUnits) -> None:
    units = {SERVICE: unit(active=False), TIMER: unit(active=False)}
    for enabled in (frozenset({TIMER}), frozenset[str]()):
        stopped = replace(installed, units=units, enabled=enabled)
        plan = plan_units([desired(timer="other")], stopped)
        assert not {"start", "enable", "disable"} & {*names(plan)}
        assert "the job stays paused" in plan.results[0].notes[0]
    running_on = replace(installed, enabled=frozenset())
    plan = plan_units([desired(timer="other")], running_on)
    assert not {"enable", "disable"} & {*names(plan)}
    assert plan.results[0].enabled


def test_masked_timer_is_left_and_its_resume_refused(installed: ObservedUnits) -> None:
    masked = replace(installed, files={**installed.files, UNITS / TIMER: FileStatus(FileState.MASKED)})
    plan = plan_units([desired(service="other", activation=Activation.ENABLED)], masked)
    assert (plan.steps, plan.errors) == ((), ())
    assert (
        f"the unit {TIMER} is masked by the administrator, so the job stays disabled"
        in plan.results[0].notes[0]
    )
    resumed = plan_units([desired(files=None, activation=Activation.ENABLED)], masked)
    assert "is masked by the administrator" in resumed.errors[0].message


def test_masked_service_is_named_with_its_unmask_command(installed: ObservedUnits) -> None:
    masked = replace(installed, files={**installed.files, UNITS / SERVICE: FileStatus(FileState.MASKED)})
    plan = plan_units([desired(timer="other", activation=Activation.ENABLED)], masked)
    assert f"the unit {SERVICE} is masked by the administrator, so" in plan.results[0].notes[0]
    assert SERVICE in plan.results[0].enable_commands[0]


def test_masked_failure_unit_stops_nothing_and_stays_masked(installed: ObservedUnits) -> None:
    masked = replace(installed, files={**installed.files, UNITS / FAILURE: FileStatus(FileState.MASKED)})
    files = (*(desired(service="other").files or ()), RenderedFile(UNITS / FAILURE, text("f")))
    plan = plan_units([desired(files=files)], masked)
    assert [change.path.name for change in plan.changed_files()] == [SERVICE]
    assert (plan.errors, plan.results[0].enabled, plan.results[0].notes) == ((), True, ())


def test_pause_changes_no_files(installed: ObservedUnits) -> None:
    edited = installed.files[UNITS / TIMER]._replace(state=FileState.EDITED, content=b"\xff")
    seen = replace(installed, files={**installed.files, UNITS / TIMER: edited})
    plan = plan_units([desired(files=None, activation=Activation.DISABLED)], seen)
    assert names(plan) == ["disable", "stop"]
    assert plan.changes() == [UnitChange(TIMER, "disable"), UnitChange(TIMER, "stop")]
    paused = replace(seen, enabled=frozenset(), units={TIMER: unit(active=False)})
    assert plan_units([desired(files=None, activation=Activation.DISABLED)], paused).steps == ()


def test_pause_after_an_interrupted_install_is_not_undone_by_the_next(installed: ObservedUnits) -> None:
    pending = Pending(frozenset({TIMER, "dify-job-other.timer"}))
    seen = replace(installed, pending=pending)
    plan = plan_units([desired(files=None, activation=Activation.DISABLED)], seen)
    assert names(plan)[0] == RECORD, "before anything else, whatever ends it"
    assert pending_during(plan, seen) == [Pending(frozenset({"dify-job-other.timer"}))]


def test_uninstall_removes_the_files_last(installed: ObservedUnits) -> None:
    plan = plan_units([desired(files=())], installed)
    steps = ["disable", "stop", "stop", "remove traces", "change files", "daemon-reload", "reset-failed"]
    assert names(plan) == steps
    assert plan.steps[2].changes == (UnitChange(SERVICE, "stop"),)
    assert plan.results[0].paths == (UNITS / SERVICE, UNITS / TIMER)


def test_one_reload_for_all_that_is_installed_and_removed(installed: ObservedUnits) -> None:
    other = DesiredUnits(
        name="weekly",
        all_paths=(UNITS / "dify-job-weekly.service", UNITS / "dify-job-weekly.timer"),
        files=(
            RenderedFile(UNITS / "dify-job-weekly.service", "s"),
            RenderedFile(UNITS / "dify-job-weekly.timer", "t"),
        ),
        trigger="dify-job-weekly.timer",
    )
    plan = plan_units([other, desired(files=())], installed)
    assert names(plan).count("daemon-reload") == 1
    assert [result.job for result in plan.results] == ["weekly", "daily"]


@pytest.mark.parametrize(
    ("found", "overwrite", "refused"),
    [
        (FileState.FOREIGN, True, "exists and was not written by dify-job"),
        (FileState.UNREADABLE, True, "exists and was not written by dify-job"),
        (FileState.EDITED, False, "was edited by hand"),
        (FileState.EDITED, True, ""),
    ],
)
def test_edited_or_foreign_file_is_refused(
    found: FileState, overwrite: bool, refused: str, installed: ObservedUnits
) -> None:
    files = {**installed.files, UNITS / SERVICE: FileStatus(found, content=b"x")}
    plan = plan_units([desired()], replace(installed, files=files), overwrite_edits=overwrite)
    assert [refused in problem.message for problem in plan.errors] == ([True] if refused else [])
    assert plan.changes(), "a refused plan still lists the differences"


def test_unit_of_another_directory_is_refused(nothing: ObservedUnits) -> None:
    seen = replace(nothing, foreign={TIMER: Path("/usr/lib/systemd/system") / TIMER})
    assert "exists already: /usr/lib/systemd/system" in plan_units([desired()], seen).errors[0].message


def test_without_a_manager_units_are_written_and_enabled_only(nothing: ObservedUnits) -> None:
    plan = plan_units([desired()], replace(nothing, running=False))
    assert names(plan) == [RECORD, "change files", "enable", RECORD]


@pytest.mark.parametrize("fails", range(6))
def test_failed_plan_is_undone_in_reverse_order(fails: int, installed: ObservedUnits) -> None:
    units = installed.base / "units"
    units.mkdir()
    (units / TIMER).write_text(text("t"))
    file = RenderedFile(units / TIMER, text("other"))
    seen = replace(
        installed, files={file.path: file_status(file.path, "daily")}, stamps=installed.base / "stamps"
    )
    plan = plan_units([desired(all_paths=(file.path,), files=(file,))], seen)
    manager = seen.manager
    assert isinstance(manager, Recorder)

    def fail() -> None:
        steps[fails].do()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

    steps = plan.steps
    broken = (*steps[:fails], replace(steps[fails], do=fail), *steps[fails + 1 :])
    with pytest.raises(JobError, match="nothing was changed"):
        execute(replace(plan, steps=broken), units)
    assert (units / TIMER).read_text() == text("t")
    assert Pending.read(seen.base) == Pending()
    done = [call for call in manager.calls if call != "daemon-reload"]
    ends = {0: [], 1: ["stop", "start"], 4: ["stop", "start", "stop", "start"]}
    assert done == [f"{verb} {TIMER}" for verb in ends.get(fails, ends[4 if fails > 4 else 1])]
    if fails > 1:
        assert manager.calls[-2] == "daemon-reload", (
            "the old file is read before it makes the timer start again"
        )


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("fails", ["remove traces", "change files"])
def test_failed_uninstall_leaves_the_link_the_stamp_and_the_drop_ins(
    fails: str, running: bool, installed: ObservedUnits
) -> None:
    units, stamps = installed.base / "units", installed.base / "stamps"
    timer = units / TIMER
    link, stamp = enabling_link(timer), stamps / f"stamp-{TIMER}"
    drop_ins = units / f"{TIMER}.d"
    for directory in (link.parent, stamps, drop_ins):
        directory.mkdir(parents=True)
    timer.write_text(text("t"))
    link.symlink_to(timer)
    stamp.touch()
    os.utime(stamp, ns=(1, 10**18))
    files, is_empty = {timer: file_status(timer, "daily")}, {drop_ins: False}
    manager = NoManager() if not running else installed.manager
    seen = replace(installed, manager=manager, running=running, files=files, stamps=stamps, drop_ins=is_empty)
    plan = plan_units([desired(all_paths=(timer,), files=())], seen)

    def fail_after(step: Step) -> Step:
        def do() -> None:
            step.do()
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), "x")

        return replace(step, do=do)

    broken = tuple(fail_after(step) if step.name == fails else step for step in plan.steps)
    with pytest.raises(JobError, match="nothing was changed"):
        execute(replace(plan, steps=broken), units)
    assert timer.read_text() == text("t")
    assert (link.readlink(), drop_ins.is_dir(), stamp.exists()) == (timer, True, True)
    if not running:
        assert stamp.stat().st_mtime_ns == 10**18
