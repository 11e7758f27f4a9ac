"""Installing units without ever starting a run.

The order of the steps is measured: a timer is stopped before its file changes, the manager is reloaded once,
the stamp is touched, and the timer is started again, never restarted (systemd#31231, #14899, #16186).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError, disk_error_hint
from ..messages.message import msg
from ..system.managed_files import FileState, look
from ..system.transaction import FileTransaction
from . import failure_unit, units
from .backend import InstallOptions, InstallResult, RenderedFile
from .job_spec import JobSpec
from .pending_install import PendingInstall
from .systemctl import Manager, Unit
from .systemd_paths import SystemdPaths
from .verify import can_verify, verify

_UNKNOWN = Unit({})  # to a manager that does not run, too


@dataclass(slots=True)
class _Timers:
    """What is to be done with timers, by unit name.

    fresh: not enabled before; going back disables them. kept: jobs whose timers stay as they rest.
    """

    enable: set[str] = field(default_factory=set)
    start: set[str] = field(default_factory=set)
    stop: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)


class SystemdInstaller:
    """One install under the lock: what is to change is known before anything is touched.

    unread: what a killed install wrote, and did not come to let the manager read.
    """

    def __init__(
        self,
        render: Callable[[JobSpec], tuple[RenderedFile, ...]],
        places: SystemdPaths,
        manager: Manager,
        plans: Sequence[JobSpec],
        wishes: InstallOptions,
        *,
        version: int,
        running: bool,
    ) -> None:
        self._version = version
        self._places = places
        self._manager = manager
        self._wishes = wishes
        self._running = running
        self._writer = FileTransaction()
        self._unfinished = PendingInstall(places.base)
        self._catch_up = {plan.job: plan.schedule.catch_up for plan in plans}
        self._jobs = {plan.job: _without_masked_handler(plan.job, render(plan)) for plan in plans}
        self._seen = {a.path: look(a.path, job) for job, artifacts in self._jobs.items() for a in artifacts}
        self._masked = {job for job, artifacts in self._jobs.items() if any(map(self._is_masked, artifacts))}
        self._rest = {job: artifacts for job, artifacts in self._jobs.items() if job not in self._masked}
        self._artifacts = [artifact for artifacts in self._rest.values() for artifact in artifacts]
        names = [artifact.path.name for artifact in self._artifacts]
        self._shown = manager.ask(names) if running else {}
        self._changed = [a for a in self._artifacts if self._seen[a.path].content != a.text.encode()]
        self._gone = list(self._silenced())
        self._unread = {
            path for path in self._seen if self._shown.get(path.name, _UNKNOWN)["NeedDaemonReload"] == "yes"
        }
        self._timers = self._sorted()

    def go(self) -> list[InstallResult]:
        """Refuse, verify, write, arm: all or nothing."""
        for artifact in self._artifacts:
            self._refuse(artifact.path, self._seen[artifact.path].found)
        if self._changed:
            verify(self._changed, self._artifacts, self._manager.scope, self._version)
        if self._changed or self._gone or self._unread or self._timers.enable or self._timers.start:
            self._bring()
        self._clear_up()
        return [self._change(job, artifacts) for job, artifacts in self._jobs.items()]

    # What there is, and is to be

    def _is_masked(self, artifact: RenderedFile) -> bool:
        return self._seen[artifact.path].found is FileState.MASKED

    def _silenced(self) -> Iterator[Path]:
        """Handlers of jobs that no longer tell anybody."""
        for job, artifacts in self._rest.items():
            path = self._places.units / failure_unit.name_of(job)
            if len(artifacts) == 2 and look(path, job).is_ours:
                yield path

    def _sorted(self) -> _Timers:
        timers = _Timers()
        left = self._unfinished.read()
        touched = {artifact.path for artifact in self._changed} | self._unread
        for job, (_, timer, *_) in self._rest.items():
            name = timer.path.name
            active = self._shown.get(name, _UNKNOWN).active
            enabled = self._places.wanted(name).is_symlink()
            new = self._seen[timer.path].found is FileState.ABSENT
            if self._wishes.start or name in left.enable or (new and self._wishes.start is None):
                timers.enable |= set() if enabled and active else {name}
                timers.start |= set() if active else {name}
            elif name in left.start:
                timers.start |= set() if active else {name}
            elif not active and not new:
                timers.kept.add(job)
            if active and timer.path in touched:
                timers.stop.add(name)
                timers.start.add(name)
            timers.fresh |= {name} & timers.enable if not enabled else set()
        return timers

    def _refuse(self, path: Path, found: FileState) -> None:
        if found in (FileState.FOREIGN, FileState.UNREADABLE):
            raise JobError(
                Outcome.CONFIG,
                msg("{path} exists and is not dify-job's", path=path),
                msg("rename the job, or move that file away: mv {path} {path}.bak", path=path),
            )
        if found is FileState.EDITED and not self._wishes.overwrite_edits:
            raise JobError(
                Outcome.CONFIG,
                msg("{path} was edited by hand", path=path),
                msg(
                    "keep the edit as a drop-in (systemctl edit {name}) and install with --overwrite-edits; "
                    "dify-job install --diff shows it",
                    name=path.name,
                ),
            )
        elsewhere = self._shown.get(path.name, _UNKNOWN)["FragmentPath"]
        if found is FileState.ABSENT and elsewhere not in ("", str(path)) and Path(elsewhere).exists():
            raise JobError(
                Outcome.CONFIG,
                msg("a unit {name} exists already, in {elsewhere}", name=path.name, elsewhere=elsewhere),
                msg("rename the job, or remove that unit with what installed it"),
            )

    # Doing it, or nothing

    def _bring(self) -> None:
        timers = self._timers
        try:
            self._unfinished.add(enable=timers.enable, start=timers.start)
            self._manager.tell("stop", timers.stop)
            self._writer.put_all({a.path: a.text.encode() for a in self._changed})
            for path in self._gone:
                self._writer.remove(path)
            self._manager.tell("enable", timers.enable, "--no-reload")
            if self._running:
                self._manager.reload()
                self._start(timers.start)
        except OSError as error:
            self._take_back()
            raise JobError(
                Outcome.CANNOT_WRITE,
                msg(
                    "the units could not be written; nothing was changed: {filename}: {strerror}",
                    filename=error.filename,
                    strerror=error.strerror,
                ),
                disk_error_hint(
                    error,
                    self._places.units,
                    msg("install as root, or with --user; --dry-run prints the files"),
                ),
            ) from None
        except BaseException:
            self._take_back()
            raise

    def _start(self, names: set[str]) -> None:
        for name in names:
            if self._catch_up[failure_unit.job_of(name)]:
                self._places.touch_stamp(name)
        self._manager.tell("start", names)
        for name, unit in self._manager.ask(sorted(names)).items():
            if not unit.loaded or not unit.active or unit["NeedDaemonReload"] == "yes":
                raise JobError(
                    Outcome.CONFIG,
                    msg(
                        "systemd does not arm {name} ({unit}, {unit2}); the installation was taken back",
                        name=name,
                        unit=unit["LoadState"],
                        unit2=unit["ActiveState"],
                    ),
                    msg("systemctl status {name}", name=name),
                )

    def _take_back(self) -> None:
        """Each step for itself: what a broken manager refuses must not keep the files from going back."""
        timers = self._timers
        with contextlib.suppress(JobError):
            self._manager.tell("disable", timers.fresh, "--no-reload")
        if self._running:  # an active timer must not see its file change
            with contextlib.suppress(JobError):
                self._manager.tell("stop", timers.start)
        self._writer.roll_back()
        with contextlib.suppress(JobError):
            if self._running:
                self._manager.reload()
                for name in timers.stop:
                    self._places.touch_stamp(name)
                self._manager.tell("start", timers.stop)
        with contextlib.suppress(OSError):
            self._unfinished.drop(timers.enable | timers.start)

    def _clear_up(self) -> None:
        """What an install that was killed left of these jobs is no longer needed."""
        with contextlib.suppress(OSError):
            self._unfinished.drop({timer.path.name for _, timer, *_ in self._rest.values()})
        self._writer.clear(artifact.path for artifact in self._artifacts)

    def _change(self, job: str, artifacts: Sequence[RenderedFile]) -> InstallResult:
        timer = artifacts[1].path.name
        paths = tuple(artifact.path for artifact in artifacts)
        touched = {artifact.path for artifact in self._changed} | set(self._gone)
        notes = []
        arm = units.unmask_commands(timer, job, self._manager.scope) if job in self._masked else ()
        if arm:
            notes.append(msg("masked by the administrator, and left so: {arm}", arm=" && ".join(arm)))
        elif job in self._timers.kept:
            notes.append(msg("paused, and left so; dify-job resume {job} arms it", job=job))
        if touched and not can_verify():
            notes.append(msg("systemd-analyze is not installed: the units were checked by dify-job alone"))
        return InstallResult(
            job=job,
            paths=paths,
            changed=not touched.isdisjoint((*paths, self._places.units / failure_unit.name_of(job))),
            enabled=timer in self._timers.start or self._shown.get(timer, _UNKNOWN).active,
            arm=arm,
            notes=tuple(notes),
        )


def _without_masked_handler(job: str, artifacts: tuple[RenderedFile, ...]) -> tuple[RenderedFile, ...]:
    """The administrator may mask it, and the job itself goes on."""
    masked = any(look(artifact.path, job).found is FileState.MASKED for artifact in artifacts[2:])
    return artifacts[:2] if masked else artifacts
