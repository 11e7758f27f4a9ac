"""The plan for systemd units: which files and activations differ, and in which order they change. Pure.

The order is measured so that no run is ever started: a timer is stopped before its file changes, the manager
reads the units once, the stamp of a Persistent= timer is set to now, and the timer is started again, never
restarted (systemd#31231, #14899, #16186).
"""

import contextlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..messages.problem import Command, command
from ..system.managed_files import FileState, FileStatus
from ..system.transaction import FileChange, FileTransaction
from .backend import RenderedFile, Scope
from .reconcile import (
    Action,
    Change,
    ChangeFiles,
    Execution,
    InstallResult,
    Plan,
    UnitChange,
)
from .systemctl import Unit

UNKNOWN = Unit({})  # to a manager that does not run, too
_ABSENT = FileStatus(FileState.ABSENT)


class Activation(StrEnum):
    """Whether the trigger of units, a timer or socket, is enabled and started."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    NEW = "enabled if new"  # else as it is
    UNCHANGED = "as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredUnits:
    """The units of one job, or of the HTTP interface, as they should be.

    Attributes:
        name: The job, or "http", which the headers of the files name.
        places: Every path that a unit of it can have, in the order in which they are removed.
        files: The units that should exist; none where they should all be removed; None where they stay as
            they are, whatever is in them.
        trigger: Name of the unit that starts the others.
        activation: Whether the trigger is enabled.
        catch_up: It is a Persistent= timer.
        before_start: What is checked before the files change, such as that a port is free.

    """

    name: str
    places: tuple[Path, ...]
    files: tuple[RenderedFile, ...] | None
    trigger: str
    activation: Activation = Activation.NEW
    catch_up: bool = False
    before_start: Action | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """Triggers that an interrupted install still had to enable, or to start only."""

    enable: frozenset[str] = frozenset()
    start: frozenset[str] = frozenset()

    def without(self, names: Iterable[str]) -> "Pending":
        """Return what is left when these triggers are as they should be."""
        settled = frozenset(names)
        return Pending(self.enable - settled, self.start - settled)


class PendingFile:
    """The durable record of a scope: what an install had still to enable, not what was disabled."""

    def __init__(self, base: Path) -> None:
        self._path = base / "install-unfinished.json"

    def read(self) -> Pending:
        """Return the record; an empty one where there is none that can be read."""
        try:
            record = json.loads(self._path.read_bytes())
            return Pending(frozenset(map(str, record["enable"])), frozenset(map(str, record["start"])))
        except (OSError, ValueError, LookupError, TypeError):
            return Pending()

    def write(self, pending: Pending) -> None:
        """Replace the record; an empty one is removed. Raises OSError."""
        FileTransaction().clear([self._path])
        if pending == Pending():
            self._path.unlink(missing_ok=True)
            return
        record = {"enable": sorted(pending.enable), "start": sorted(pending.start)}
        FileTransaction().put(self._path, json.dumps(record).encode(), 0o600)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedUnits:
    """The units of a scope as they are.

    Attributes:
        scope: Whose units.
        running: The manager can be asked.
        files: What is at each place.
        units: What the manager knows of each unit.
        enabled: Triggers that are started at boot.
        pending: The record of an interrupted install.
        foreign: Units of the same names in other directories, by name.
        drop_ins: Directories of drop-ins, and whether there are any in it.
        stamps: Directory of the stamps of Persistent= timers.
        record: Where `pending` is stored.

    """

    scope: Scope
    running: bool
    record: PendingFile
    files: Mapping[Path, FileStatus]
    units: Mapping[str, Unit] = field(default_factory=dict)
    enabled: frozenset[str] = frozenset()
    pending: Pending = Pending()
    foreign: Mapping[str, Path] = field(default_factory=dict)
    drop_ins: Mapping[Path, bool] = field(default_factory=dict)
    stamps: Path = Path("/var/lib/systemd/timers")

    def unit(self, name: str) -> Unit:
        """Return what the manager knows of a unit."""
        return self.units.get(name, UNKNOWN)

    def is_active(self, trigger: str) -> bool:
        """Return whether a trigger waits; where no manager runs, whether it will after a boot."""
        return self.unit(trigger).active if self.running else trigger in self.enabled

    def is_enabled(self, trigger: str) -> bool:
        """Return whether a trigger is started at boot."""
        return trigger in self.enabled or self.unit(trigger).enabled

    def found(self, path: Path) -> FileStatus:
        """Return what is at a place."""
        return self.files.get(path, _ABSENT)

    def stamp(self, timer: str) -> Path:
        """Return the file whose time is that of a Persistent= timer's last elapse."""
        return self.stamps / f"stamp-{timer}"


# The actions


@dataclass(frozen=True, slots=True)
class Stop(Action):
    """Stop triggers.

    Attributes:
        units: All of them.
        stamps: Stamps to set to now before they start again, if the plan fails.
        interrupted: They start again: an active timer must not see its file change (systemd#14899).

    """

    units: tuple[str, ...]
    stamps: tuple[Path, ...]
    interrupted: bool = False

    def execute(self, run: Execution) -> None:
        """Stop them; if the plan fails, they start again after the old files are back."""
        run.on_failure(lambda: _start(run, self.units, self.stamps))
        run.manager.call("stop", self.units)

    def changes(self) -> Iterator[Change]:
        """Yield those that stay stopped."""
        for unit in () if self.interrupted else self.units:
            yield UnitChange(unit, "stop")


@dataclass(frozen=True, slots=True)
class Systemctl(Action):
    """One call of systemctl. undo: the verb that puts back what it did; empty for none."""

    verb: str
    units: tuple[str, ...]
    undo: str = ""
    flags: tuple[str, ...] = ()

    def execute(self, run: Execution) -> None:
        """Call it for all units at once."""
        if self.undo:
            run.on_failure(lambda: run.manager.call(self.undo, self.units, *self.flags))
        run.manager.call(self.verb, self.units, *self.flags)

    def changes(self) -> Iterator[Change]:
        """Yield the activations."""
        for unit in self.units:
            yield UnitChange(unit, self.verb)


@dataclass(frozen=True, slots=True)
class Reload(Action):
    """Let the manager read all units again. unread: those whose files it has not read since they changed."""

    unread: tuple[str, ...] = ()

    def execute(self, run: Execution) -> None:
        """Reload once."""
        run.manager.reload()

    def changes(self) -> Iterator[Change]:
        """Yield the units that are not loaded as they are on disk."""
        for unit in self.unread:
            yield UnitChange(unit, "daemon-reload")


@dataclass(frozen=True, slots=True)
class Start(Action):
    """Start triggers and see that they wait.

    Attributes:
        units: All of them.
        stamps: Stamps to set to now first, so that a Persistent= timer has missed nothing (systemd.timer(5)).
        interrupted: Those that were active before the plan.

    """

    units: tuple[str, ...]
    stamps: tuple[Path, ...] = ()
    interrupted: frozenset[str] = frozenset()

    def execute(self, run: Execution) -> None:
        """Start, never restart. Raises JobError (config) for one that is not active afterwards."""
        run.on_failure(lambda: run.manager.call("stop", self.units))
        _start(run, self.units, self.stamps)
        for name, unit in run.manager.ask(self.units).items():
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

    def changes(self) -> Iterator[Change]:
        """Yield those that did not wait before."""
        for unit in self.units:
            if unit not in self.interrupted:
                yield UnitChange(unit, "start")


def _start(run: Execution, units: Iterable[str], stamps: Iterable[Path]) -> None:
    for stamp in stamps:
        with contextlib.suppress(OSError):
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.touch()
    run.manager.call("start", units)


@dataclass(frozen=True, slots=True)
class RemoveTraces(Action):
    """Remove links and stamps of removed units, and their directories of drop-ins where these are empty."""

    paths: tuple[Path, ...]
    directories: tuple[Path, ...]

    def execute(self, _run: Execution) -> None:
        """Remove them. Raises OSError."""
        for path in self.paths:
            path.unlink(missing_ok=True)
        for directory in self.directories:
            with contextlib.suppress(OSError):
                directory.rmdir()


@dataclass(frozen=True, slots=True)
class ResetFailed(Action):
    """Let the manager forget units whose files are gone (systemctl(1), reset-failed)."""

    units: tuple[str, ...]

    def execute(self, run: Execution) -> None:
        """Reset those that are failed."""
        left = run.manager.show(self.units)
        run.manager.call("reset-failed", [name for name in left if left[name]["ActiveState"] == "failed"])


@dataclass(frozen=True, slots=True)
class Record(Action):
    """Replace the record of what is still to be enabled; if the plan fails, the old one is put back."""

    file: PendingFile
    before: Pending
    after: Pending

    def execute(self, run: Execution) -> None:
        """Write it."""
        run.on_failure(lambda: self.file.write(self.before))
        self.file.write(self.after)


# The plan


@dataclass(slots=True)
class _Steps:
    """What a plan collects for all its units."""

    files: list[FileChange] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    disable: list[str] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    stop_services: list[str] = field(default_factory=list)
    interrupt: list[str] = field(default_factory=list)
    enable: list[str] = field(default_factory=list)
    start: list[str] = field(default_factory=list)
    catch_up: set[str] = field(default_factory=set)
    traces: list[Path] = field(default_factory=list)
    directories: list[Path] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    checks: list[Action] = field(default_factory=list)
    refusals: list[JobError] = field(default_factory=list)
    wanted: set[str] = field(default_factory=set)  # to be enabled, also where the link is there already
    decided: set[str] = field(
        default_factory=set
    )  # disabled or removed: an interrupted install counts no more


def plan_units(
    desired: Sequence[DesiredUnits], seen: ObservedUnits, *, overwrite_edits: bool = False
) -> Plan:
    """Compare desired with observed units.

    Args:
        desired: What should be; units that are not named stay as they are.
        seen: What is.
        overwrite_edits: Replace managed files that were edited by hand.

    Returns:
        The plan, with a result for each of `desired`.

    """
    steps = _Steps()
    results = tuple(_compare(one, seen, steps, overwrite_edits=overwrite_edits) for one in desired)
    contents = tuple(_change(seen, file) for one in desired for file in one.files or ())
    actions = tuple(_ordered(steps, seen, {one.trigger for one in desired}))
    return Plan(actions=actions, refusals=tuple(steps.refusals), results=results, contents=contents)


def _ordered(steps: _Steps, seen: ObservedUnits, triggers: set[str]) -> Iterator[Action]:
    """Yield the actions in the order that starts no run."""
    pending = seen.pending.without(steps.decided)
    pending = Pending(pending.enable | steps.wanted, pending.start | set(steps.start))
    settled = pending.without(triggers)
    timers = [*steps.stop, *steps.interrupt, *steps.start]
    stamps = {name: seen.stamp(name) for name in timers if name.endswith(".timer")}
    reload = seen.running and (steps.files or steps.unread or steps.enable)
    reset = steps.removed if seen.running else []
    candidates = (
        (pending != seen.pending, Record(seen.record, seen.pending, pending)),
        (steps.disable, Systemctl("disable", tuple(steps.disable), undo="enable")),
        (steps.stop, Stop(tuple(steps.stop), _of(stamps, steps.stop))),
        (steps.interrupt, Stop(tuple(steps.interrupt), _of(stamps, steps.interrupt), interrupted=True)),
        (steps.stop_services, Systemctl("stop", tuple(steps.stop_services))),
        *((True, check) for check in steps.checks),
        (steps.traces or steps.directories, RemoveTraces(tuple(steps.traces), tuple(steps.directories))),
        (steps.files, ChangeFiles(tuple(steps.files), units=True)),
        (steps.enable, Systemctl("enable", tuple(steps.enable), undo="disable", flags=("--no-reload",))),
        (reload, Reload(tuple(steps.unread))),
        (
            steps.start,
            Start(
                tuple(steps.start),
                _of(stamps, [name for name in steps.start if name in steps.catch_up]),
                frozenset(steps.interrupt),
            ),
        ),
        (reset, ResetFailed(tuple(reset))),
        (settled != pending, Record(seen.record, pending, settled)),
    )
    for needed, action in candidates:
        if needed:
            yield action


def _of(stamps: Mapping[str, Path], names: Iterable[str]) -> tuple[Path, ...]:
    return tuple(stamps[name] for name in names if name in stamps)


def _compare(
    one: DesiredUnits, seen: ObservedUnits, steps: _Steps, *, overwrite_edits: bool
) -> InstallResult:
    if one.files == ():
        return _remove(one, seen, steps)
    paths = tuple(file.path for file in one.files or ())
    # The administrator may mask the failure unit, and the job itself goes on.
    optional = {path for path in paths[2:] if seen.found(path).found is FileState.MASKED}
    files = [file for file in one.files or () if file.path not in optional]
    if any(seen.found(path).found is FileState.MASKED for path in one.places[:2] if path not in optional):
        return _masked(one, seen, steps, paths)
    for file in files:
        steps.refusals += _refusals(file.path, one.name, seen, overwrite_edits=overwrite_edits)
    changed = [_change(seen, file) for file in files if seen.found(file.path).content != file.text.encode()]
    if one.files is not None:
        changed += [
            _removal(seen, path) for path in one.places if path not in paths and seen.found(path).is_ours
        ]
    unread = [file.path.name for file in files if seen.unit(file.path.name)["NeedDaemonReload"] == "yes"]
    touched = {change.path.name for change in changed} | set(unread)
    new = any(file.path.name == one.trigger and not seen.found(file.path).is_ours for file in files)
    steps.files += changed
    steps.unread += [name for name in unread if name not in {change.path.name for change in changed}]
    enabled = _activate(one, seen, steps, new=new, touched=one.trigger in touched)
    if one.before_start is not None and (changed or not seen.is_active(one.trigger)):
        steps.checks.append(one.before_start)
    result = InstallResult(job=one.name, paths=paths, changed=bool(changed), enabled=enabled)
    if enabled or new or one.activation is Activation.DISABLED:
        return result
    return result.noting(
        msg("paused, and left so; {command} enables it", command=command("dify-job", "resume", one.name))
    )


def _activate(one: DesiredUnits, seen: ObservedUnits, steps: _Steps, *, new: bool, touched: bool) -> bool:
    """Collect what is done with the trigger, and return whether it waits afterwards."""
    name, active, enabled = one.trigger, seen.is_active(one.trigger), seen.is_enabled(one.trigger)
    if one.activation is Activation.DISABLED:
        steps.decided.add(name)
        steps.disable += [name] if enabled else []
        steps.stop += [name] if active and seen.running else []
        return False
    wanted = one.activation is Activation.ENABLED or (new and one.activation is Activation.NEW)
    wanted = wanted or name in seen.pending.enable
    if wanted and not (enabled and active):
        steps.wanted.add(name)
    steps.enable += [name] if wanted and not enabled else []
    steps.interrupt += [name] if active and touched and seen.running else []
    starts = (wanted or name in seen.pending.start) and not active
    steps.start += [name] if seen.running and (starts or (active and touched)) else []
    steps.catch_up |= {name} if one.catch_up else set()
    return active or starts


def _masked(one: DesiredUnits, seen: ObservedUnits, steps: _Steps, paths: tuple[Path, ...]) -> InstallResult:
    """Leave units alone that the administrator masked."""
    commands = unmask_commands(one.trigger, one.name, seen.scope)
    shown = join(" && ", commands)
    if one.files is None and one.activation is Activation.ENABLED:
        message = msg("{unit} is masked by the administrator", unit=one.trigger)
        steps.refusals.append(JobError(Outcome.CONFIG, message, shown))
    note = msg("masked by the administrator, and left so: {commands}", commands=shown)
    return InstallResult(job=one.name, paths=paths, enable_commands=commands, notes=(note,))


def _remove(one: DesiredUnits, seen: ObservedUnits, steps: _Steps) -> InstallResult:
    """Collect what removes the units; the files last, because by them an interrupted uninstall is found."""
    managed = [path for path in one.places if seen.found(path).is_ours]
    notes = [
        msg("{path} is not managed by dify-job and was left", path=path)
        for path in one.places
        if seen.found(path).is_foreign
    ]
    steps.decided.add(one.trigger)
    if managed:
        names = [path.name for path in managed]
        loaded = [name for name in names if seen.running and ("@." in name or seen.unit(name).loaded)]
        if one.trigger in loaded:
            steps.disable += [one.trigger] if seen.is_enabled(one.trigger) else []
            steps.stop.append(one.trigger)
        steps.stop_services += [name.replace("@.", "@*.") for name in loaded if name != one.trigger]
        trigger = next(path for path in one.places if path.name == one.trigger)
        if seen.found(trigger).found is not FileState.FOREIGN:
            steps.traces += [enabling_link(trigger), seen.stamp(one.trigger)]
        for path in managed:
            directory = path.with_name(f"{path.name}.d")
            if seen.drop_ins.get(directory) is True:
                notes.append(
                    msg(
                        "{directory} has drop-ins that dify-job did not write, and was left",
                        directory=directory,
                    )
                )
            elif directory in seen.drop_ins:
                steps.directories.append(directory)
        steps.files += [_removal(seen, path) for path in managed]
        steps.removed += [name for name in names if "@." not in name]
    return InstallResult(job=one.name, paths=tuple(managed), changed=bool(managed), notes=tuple(notes))


def enabling_link(trigger: Path) -> Path:
    """Return the link by which a timer or socket is started at boot."""
    return trigger.parent / f"{trigger.suffix.removeprefix('.')}s.target.wants" / trigger.name


def _change(seen: ObservedUnits, file: RenderedFile) -> FileChange:
    status = seen.found(file.path)
    before = None if status.found is FileState.ABSENT else status.content
    return FileChange(path=file.path, before=before, after=file.text.encode())


def _removal(seen: ObservedUnits, path: Path) -> FileChange:
    return FileChange(path=path, before=seen.found(path).content, after=None)


def unmask_commands(unit: str, job: str, scope: Scope) -> tuple[Command, Command]:
    """Return the commands that let a masked unit of a job be installed and enabled again."""
    root = scope is Scope.SYSTEM
    return (
        command("systemctl", *scope.manager_options, "unmask", unit, needs_root=root),
        command("dify-job", "install", job, "--start", needs_root=root),
    )


def foreign_file(path: Path) -> JobError:
    """Return the refusal to replace a file that is not managed."""
    quoted = shlex.quote(str(path))
    return JobError(
        Outcome.CONFIG,
        msg("{path} exists and is not dify-job's", path=path),
        msg("rename the job, or move that file away: mv {path} {path}.bak", path=quoted),
    )


def _refusals(path: Path, job: str, seen: ObservedUnits, *, overwrite_edits: bool) -> Iterator[JobError]:
    found = seen.found(path).found
    if found in (FileState.FOREIGN, FileState.UNREADABLE):
        yield foreign_file(path)
    elif found is FileState.EDITED and not overwrite_edits:
        yield JobError(
            Outcome.CONFIG,
            msg("{path} was edited by hand", path=path),
            msg(
                "keep the edit as a drop-in ({command}) and install with --overwrite-edits; "
                "{command2} shows it",
                command=command("systemctl", "edit", path.name),
                command2=command("dify-job", "install", "--diff"),
            ),
        )
    elif found is FileState.ABSENT and (elsewhere := seen.foreign.get(path.name)) is not None:
        yield JobError(
            Outcome.CONFIG,
            msg("a unit {name} exists already, in {elsewhere}", name=path.name, elsewhere=elsewhere),
            msg("rename job {job}, or remove that unit with what installed it", job=job),
        )
