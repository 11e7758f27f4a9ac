"""The plan for systemd units: the differences in files and activations, and the order of changes. Pure.

The order never starts a run, as measurements showed (systemd#31231, #14899, #16186). Steps without work are
left out:

    record what is pending  the next install completes it, if this one is killed
    disable, stop           triggers; an active one also stops while its file changes
    stop                    services of removed jobs, after the triggers that could start them
    before_change           of `DesiredUnits`, for example a wait for a free port
    remove traces           links, stamps, and empty directories of drop-ins
    change files            after all that, because the files show an interrupted uninstall
    enable                  without a reload of its own
    daemon-reload           once
    start                   never restart; the stamp of a Persistent= timer is set to now, so it missed no run
    reset-failed            the manager unloads removed units
    record what is pending  nothing more of these triggers
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.command import Command, command
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..system.managed_files import FileState, FileStatus
from ..system.opened_file import read_regular
from ..system.transaction import FileChange, FileTransaction
from .model import ABSENT, RenderedFile, Scope, Unit
from .reconcile import InstallResult, Plan, Step, UnitChange, change_files, file_change, replacement_errors
from .systemctl import Manager


class Activation(StrEnum):
    """The desired activation of a trigger, a timer or socket: both now and at boot.

    An interrupted install did not see to a new trigger, so it counts as new.
    """

    ENABLED = "enabled"
    DISABLED = "disabled"
    NEW = "enabled if new"  # otherwise unchanged
    UNCHANGED = "as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredUnits:
    """The desired units of one job or of the HTTP interface.

    Attributes:
        name: The name of the job, or "http", as in the headers of the files.
        all_paths: Every possible path of its units, in the order of removal.
        optional_paths: Those that the administrator can mask without stopping the others.
        files: The desired files; empty to remove all units; None to leave the files unchanged.
        trigger: The name of the unit that starts the others.
        activation: The desired activation of the trigger.
        catch_up: The trigger is a Persistent= timer.
        before_change: The step before the files change, for example a wait for a free port.
    """

    name: str
    all_paths: tuple[Path, ...]
    files: tuple[RenderedFile, ...] | None
    trigger: str
    activation: Activation = Activation.NEW
    catch_up: bool = False
    before_change: Step | None = None
    optional_paths: frozenset[Path] = frozenset()

    @property
    def removed(self) -> bool:
        """True to remove all units."""
        return self.files == ()


@dataclass(frozen=True, slots=True)
class Pending:
    """The remaining work of an interrupted install.

    Attributes:
        enable: Triggers to enable, and to start.
        start: Triggers to start only.
    """

    enable: frozenset[str] = frozenset()
    start: frozenset[str] = frozenset()

    def without(self, names: Iterable[str]) -> "Pending":
        """Return the remaining work after these triggers are done."""
        settled = frozenset(names)
        return Pending(self.enable - settled, self.start - settled)

    @classmethod
    def read(cls, base: Path) -> "Pending":
        """Return the stored record of a scope; an empty one without a readable record."""
        try:
            record = json.loads(read_regular(base / _RECORD))
            return cls(frozenset(map(str, record["enable"])), frozenset(map(str, record["start"])))
        except (OSError, ValueError, LookupError, TypeError):
            return cls()

    def write(self, base: Path) -> None:
        """Write the record, or remove an empty one. Raises OSError."""
        path = base / _RECORD
        FileTransaction().clear([path])
        if self == Pending():
            FileTransaction().remove(path)
            return
        record = {"enable": sorted(self.enable), "start": sorted(self.start)}
        FileTransaction().put(path, json.dumps(record).encode(), 0o600)


_RECORD = "install-unfinished.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedUnits:
    """The observed units of a scope.

    Attributes:
        manager: The manager of the scope.
        running: The manager answers.
        base: The directory of the record of an interrupted install.
        files: The file at each path.
        units: The manager's properties of each unit.
        enabled: Triggers that start at boot.
        pending: The record of an interrupted install.
        foreign: Units of the same names in other directories, by name.
        drop_ins: Directories of drop-ins, and whether they contain any.
        stamps: The directory of the stamp files of Persistent= timers.
    """

    manager: Manager
    running: bool
    base: Path
    files: Mapping[Path, FileStatus]
    units: Mapping[str, Unit] = field(default_factory=dict)
    enabled: frozenset[str] = frozenset()
    pending: Pending = Pending()
    foreign: Mapping[str, Path] = field(default_factory=dict)
    drop_ins: Mapping[Path, bool] = field(default_factory=dict)
    stamps: Path = Path("/var/lib/systemd/timers")

    def unit(self, name: str) -> Unit:
        """Return the manager's properties of a unit."""
        return self.units.get(name, Unit({}))

    def is_active(self, trigger: str) -> bool:
        """Return whether a trigger is active; without a manager, whether it will be after boot."""
        return self.unit(trigger).active if self.running else trigger in self.enabled

    def is_enabled(self, trigger: str) -> bool:
        """Return whether a trigger starts at boot."""
        return trigger in self.enabled or self.unit(trigger).enabled

    def file_status(self, path: Path) -> FileStatus:
        """Return the file at a path."""
        return self.files.get(path, ABSENT)

    def stamp(self, timer: str) -> Path:
        """Return the stamp file of a Persistent= timer."""
        return self.stamps / f"stamp-{timer}"


@dataclass(slots=True)
class _Work:
    """The work for all units, by names, in the order of the steps.

    Attributes:
        to_complete: Triggers to enable and start, for the record; the link may exist already.
        interrupt: Active triggers that are stopped while their files change (systemd#14899).
        traces: Links, stamps, and empty directories of drop-ins.
        unread: Units that changed on disk before this install.
        catch_up: Persistent= timers.
        removed: Units to unload.
    """

    errors: list[JobError] = field(default_factory=list)
    to_complete: list[str] = field(default_factory=list)
    disable: list[str] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    interrupt: list[str] = field(default_factory=list)
    stop_services: list[str] = field(default_factory=list)
    before_change: list[Step] = field(default_factory=list)
    traces: list[Path] = field(default_factory=list)
    files: list[FileChange] = field(default_factory=list)
    enable: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    start: list[str] = field(default_factory=list)
    catch_up: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def plan_units(
    desired: Sequence[DesiredUnits], observed: ObservedUnits, *, overwrite_edits: bool = False
) -> Plan:
    """Compare desired with observed units.

    Args:
        desired: The desired units; other units do not change.
        observed: The observed units.
        overwrite_edits: Replace managed files that were edited by hand.

    Returns:
        The plan, with a result for each of `desired`.
    """
    work = _Work()
    results = tuple(
        _remove(desired_units, observed, work)
        if desired_units.removed
        else _compare(desired_units, observed, work, overwrite_edits=overwrite_edits)
        for desired_units in desired
    )
    contents = tuple(
        _change(observed, file) for desired_units in desired for file in desired_units.files or ()
    )
    steps = tuple(_ordered(work, observed, desired))
    return Plan(steps=steps, errors=tuple(work.errors), results=results, contents=contents)


def _ordered(work: _Work, observed: ObservedUnits, desired: Sequence[DesiredUnits]) -> Iterator[Step]:
    """Yield the steps in an order that starts no run."""
    manager = observed.manager
    # Disabled or removed units are no longer part of an interrupted install.
    before = observed.pending.without(
        desired_units.trigger
        for desired_units in desired
        if desired_units.removed or desired_units.activation is Activation.DISABLED
    )
    pending = Pending(before.enable.union(work.to_complete), before.start.union(work.start))
    settled = pending.without(desired_units.trigger for desired_units in desired)
    stopped = [*work.stop, *work.interrupt]
    new = [name for name in work.start if name not in work.interrupt]
    reload = observed.running and (work.files or work.unread or work.enable)
    candidates = (
        (pending != observed.pending, _record(observed.base, observed.pending, pending)),
        (work.disable, _systemctl(manager, "disable", work.disable, "enable")),
        (
            stopped,
            Step(
                "stop",
                partial(manager.call, "stop", stopped),
                partial(_start, observed, stopped, stopped),  # after the old files are back
                _changes("stop", work.stop),
            ),
        ),
        (work.stop_services, _systemctl(manager, "stop", work.stop_services)),
        *((True, step) for step in work.before_change),
        (work.traces, _remove_paths(work.traces)),
        (work.files, change_files(work.files, manager)),
        (work.enable, _systemctl(manager, "enable", work.enable, "disable", "--no-reload")),
        (reload, Step("daemon-reload", manager.reload, None, _changes("daemon-reload", work.unread))),
        (
            work.start,
            Step(
                "start",
                partial(_start_and_check, observed, work.start, work.catch_up),
                partial(manager.call, "stop", work.start),
                _changes("start", new),
            ),
        ),
        (
            observed.running and work.removed,
            Step("reset-failed", partial(_reset_failed, manager, work.removed)),
        ),
        (settled != pending, _record(observed.base, pending, settled)),
    )
    yield from (step for needed, step in candidates if needed)


def _systemctl(manager: Manager, verb: str, units: Sequence[str], undo: str = "", *flags: str) -> Step:
    back = partial(manager.call, undo, units, *flags) if undo else None
    return Step(verb, partial(manager.call, verb, units, *flags), back, _changes(verb, units))


def _changes(verb: str, names: Iterable[str]) -> tuple[UnitChange, ...]:
    return tuple(UnitChange(name, verb) for name in names)


def _record(base: Path, before: Pending, after: Pending) -> Step:
    return Step("record what is pending", partial(after.write, base), partial(before.write, base))


def _start(observed: ObservedUnits, names: Iterable[str], stamped: Iterable[str]) -> None:
    """Start triggers, never restart. stamped: timers whose stamp is set to now, so they missed no run."""
    for name in names:
        if name in stamped and name.endswith(".timer"):
            with contextlib.suppress(OSError):
                observed.stamps.mkdir(parents=True, exist_ok=True)
                observed.stamp(name).touch()
    observed.manager.call("start", names)


def _start_and_check(observed: ObservedUnits, names: Sequence[str], stamped: Iterable[str]) -> None:
    _start(observed, names, stamped)
    for name, unit in observed.manager.properties_of(names).items():
        if not unit.loaded or not unit.active or unit["NeedDaemonReload"] == "yes":
            raise JobError(
                Outcome.CONFIG,
                msg(
                    "systemd could not start {name} ({loaded}, {active}); all changes were rolled back",
                    name=name,
                    loaded=unit["LoadState"],
                    active=unit["ActiveState"],
                ),
                command("systemctl", "status", name),
            )


def _remove_paths(paths: Iterable[Path]) -> Step:
    """Return the step that removes links, stamps and empty directories of drop-ins."""
    restore = contextlib.ExitStack()

    def do() -> None:
        for path in paths:
            if path.is_symlink():
                target = path.readlink()
                path.unlink()
                restore.callback(path.symlink_to, target)
            elif path.is_dir():
                with contextlib.suppress(OSError):
                    path.rmdir()
                    restore.callback(path.mkdir)
            elif path.exists():  # a stamp is an empty file with a modification time
                found = path.stat()
                path.unlink()
                restore.callback(os.utime, path, ns=(found.st_atime_ns, found.st_mtime_ns))
                restore.callback(path.touch)

    return Step("remove traces", do, restore.close)


def _reset_failed(manager: Manager, names: Sequence[str]) -> None:
    """Make the manager unload units without files (systemctl(1), reset-failed)."""
    left = manager.show(names)
    manager.call("reset-failed", [name for name in left if left[name]["ActiveState"] == "failed"])


def _compare(
    desired_units: DesiredUnits, observed: ObservedUnits, work: _Work, *, overwrite_edits: bool
) -> InstallResult:
    paths = tuple(file.path for file in desired_units.files or ())
    all_masked = [
        path for path in desired_units.all_paths if observed.file_status(path).state is FileState.MASKED
    ]
    files = [file for file in desired_units.files or () if file.path not in all_masked]
    masked = [path.name for path in all_masked if path not in desired_units.optional_paths]
    if masked:
        unit = desired_units.trigger if desired_units.trigger in masked else masked[0]
        return _masked(unit, desired_units, observed, work, paths)
    for file in files:
        work.errors += _replacement_errors(
            file.path, desired_units.name, observed, overwrite_edits=overwrite_edits
        )
    changed = [
        _change(observed, file)
        for file in files
        if observed.file_status(file.path).content != file.text.encode()
    ]
    if desired_units.files is not None:
        superfluous = [
            path
            for path in desired_units.all_paths
            if path not in paths and observed.file_status(path).is_managed
        ]
        changed += [file_change(path, observed.file_status(path), None) for path in superfluous]
    names = {change.path.name for change in changed}
    unread = [file.path.name for file in files if observed.unit(file.path.name)["NeedDaemonReload"] == "yes"]
    new = any(
        file.path.name == desired_units.trigger and not observed.file_status(file.path).is_managed
        for file in files
    )
    work.files += changed
    work.unread += [name for name in unread if name not in names]
    enabled = _activate(
        desired_units, observed, work, new=new, touched=desired_units.trigger in {*names, *unread}
    )
    if desired_units.before_change is not None and (changed or not observed.is_active(desired_units.trigger)):
        work.before_change.append(desired_units.before_change)
    stays_paused = not (enabled or new or desired_units.activation is Activation.DISABLED)
    note = msg(
        "the job stays paused; to enable it, run: {command}",
        command=command("dify-job", "resume", desired_units.name),
    )
    return InstallResult(
        job=desired_units.name,
        paths=paths,
        changed=bool(changed),
        enabled=enabled,
        notes=(note,) if stays_paused else (),
    )


def _activate(
    desired_units: DesiredUnits, observed: ObservedUnits, work: _Work, *, new: bool, touched: bool
) -> bool:
    """Add the work for the trigger, and return whether it is active afterwards."""
    name, active, enabled = (
        desired_units.trigger,
        observed.is_active(desired_units.trigger),
        observed.is_enabled(desired_units.trigger),
    )
    if desired_units.activation is Activation.DISABLED:
        work.disable += [name] if enabled else []
        work.stop += [name] if active and observed.running else []
        return False
    interrupted = name in observed.pending.enable  # no install has enabled it yet
    wanted = desired_units.activation is Activation.ENABLED or (
        (new or interrupted) and desired_units.activation is Activation.NEW
    )
    work.disable += [name] if interrupted and enabled and not (wanted or active) else []
    work.to_complete += [name] if wanted and not (enabled and active) else []
    work.enable += [name] if wanted and not enabled else []
    work.interrupt += [name] if active and touched and observed.running else []
    starts = (wanted or (name in observed.pending.start and not interrupted)) and not active
    work.start += [name] if observed.running and (starts or (active and touched)) else []
    work.catch_up += [name] if desired_units.catch_up else []
    return active or starts


def _masked(
    unit: str, desired_units: DesiredUnits, observed: ObservedUnits, work: _Work, paths: tuple[Path, ...]
) -> InstallResult:
    """Return the result for units of which one is masked; none of them changes."""
    commands = unmask_commands(unit, desired_units.name, observed.manager.scope)
    shown = join(" && ", commands)
    if desired_units.files is None and desired_units.activation is Activation.ENABLED:
        work.errors.append(JobError(Outcome.CONFIG, masked_text(unit), shown))
    note = msg(
        "{problem}, so the job stays disabled; to enable it, run: {commands}",
        problem=masked_text(unit),
        commands=shown,
    )
    return InstallResult(job=desired_units.name, paths=paths, enable_commands=commands, notes=(note,))


def _remove(desired_units: DesiredUnits, observed: ObservedUnits, work: _Work) -> InstallResult:
    """Add the work that removes the units. Files are last, because they show an interrupted uninstall."""
    managed = [path for path in desired_units.all_paths if observed.file_status(path).is_managed]
    notes = [
        msg("{path} was not removed, because dify-job did not write it", path=path)
        for path in desired_units.all_paths
        if observed.file_status(path).is_foreign
    ]
    if managed:
        names = [path.name for path in managed]
        loaded = [name for name in names if observed.running and ("@." in name or observed.unit(name).loaded)]
        if desired_units.trigger in loaded:
            work.disable += [desired_units.trigger] if observed.is_enabled(desired_units.trigger) else []
            work.stop.append(desired_units.trigger)
        work.stop_services += [name.replace("@.", "@*.") for name in loaded if name != desired_units.trigger]
        trigger = next(path for path in desired_units.all_paths if path.name == desired_units.trigger)
        if observed.file_status(trigger).state is not FileState.FOREIGN:
            work.traces += [enabling_link(trigger), observed.stamp(desired_units.trigger)]
        for path in managed:
            directory = path.with_name(f"{path.name}.d")
            if observed.drop_ins.get(directory) is True:
                notes.append(
                    msg(
                        "{directory} was not removed, because it has drop-ins that dify-job did not write",
                        directory=directory,
                    )
                )
            elif directory in observed.drop_ins:
                work.traces.append(directory)
        work.files += [file_change(path, observed.file_status(path), None) for path in managed]
        work.removed += [name for name in names if "@." not in name]
    return InstallResult(
        job=desired_units.name, paths=tuple(managed), changed=bool(managed), notes=tuple(notes)
    )


def enabling_link(trigger: Path) -> Path:
    """Return the link that starts a timer or socket at boot."""
    return trigger.parent / f"{trigger.suffix.removeprefix('.')}s.target.wants" / trigger.name


def _change(observed: ObservedUnits, file: RenderedFile) -> FileChange:
    return file_change(file.path, observed.file_status(file.path), file.text.encode())


def masked_text(unit: str) -> str:
    """Return the message about a masked unit, for install, resume and doctor.

    Args:
        unit: The name of the unit.
    """
    return msg("the unit {unit} is masked by the administrator", unit=unit)


def unmask_commands(unit: str, job: str, scope: Scope) -> tuple[Command, Command]:
    """Return the commands that unmask, install and enable a unit of a job.

    Args:
        unit: The masked unit.
        job: The job.
        scope: The scope of the unit.
    """
    root = scope is Scope.SYSTEM
    return (
        command("systemctl", *scope.manager_options, "unmask", unit, needs_root=root),
        command("dify-job", "install", job, "--start", needs_root=root),
    )


def _replacement_errors(
    path: Path, job: str, observed: ObservedUnits, *, overwrite_edits: bool
) -> Iterator[JobError]:
    status = observed.file_status(path)
    hint = msg(
        "to see the edit, run: {command2}; to write it as a drop-in, run: {command}; then "
        "install with --overwrite-edits",
        command=command("systemctl", "edit", path.name),
        command2=command("dify-job", "install", "--diff"),
    )
    yield from replacement_errors(path, job, status, hint, overwrite_edits=overwrite_edits)
    if status.state is FileState.ABSENT and (elsewhere := observed.foreign.get(path.name)) is not None:
        yield JobError(
            Outcome.CONFIG,
            msg("a unit with the name {name} exists already: {path}", name=path.name, path=elsewhere),
            msg("rename job {job}, or uninstall the software that installed {name}", job=job, name=path.name),
        )
