"""Installing units without ever starting a run.

The order of the steps is measured: a timer is stopped before its file changes, the manager is reloaded once,
the stamp is touched, and the timer is started again, never restarted (systemd#31231, #14899, #16186).
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import JobError, mend_of_disk
from ..exits import Outcome
from ..files import Writer
from ..ownership import Found, Seen, look
from . import handler, units
from .base import Artifact, Change, Plan, Wishes
from .places import Places
from .systemctl import Manager, Unit
from .unfinished import Unfinished
from .verify import can_verify, verify


@dataclass(slots=True)
class _Timers:
    """What is to be done with timers, by unit name. fresh: not enabled before; going back disables them."""

    enable: set[str] = field(default_factory=set)
    start: set[str] = field(default_factory=set)
    stop: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)


class Arming:
    """One install under the lock: what is to change is known before anything is touched."""

    def __init__(
        self,
        render: Callable[[Plan], tuple[Artifact, ...]],
        places: Places,
        manager: Manager,
        plans: Sequence[Plan],
        wishes: Wishes,
        *,
        version: int,
        running: bool,
    ) -> None:
        self._version = version
        self._places = places
        self._manager = manager
        self._wishes = wishes
        self._running = running
        self._artifacts = {plan.job: self._unmasked(plan.job, render(plan)) for plan in plans}
        self._catch_up = {plan.job: plan.schedule.catch_up for plan in plans}
        self._writer = Writer()
        self._unfinished = Unfinished(places.base)

    def go(self) -> list[Change]:
        """Refuse, verify, write, arm: all or nothing."""
        seen = {
            artifact.path: look(artifact.path, job)
            for job, artifacts in self._artifacts.items()
            for artifact in artifacts
        }
        masked = {
            job
            for job, pair in self._artifacts.items()
            if any(seen[a.path].found is Found.MASKED for a in pair)
        }
        rest = {job: pair for job, pair in self._artifacts.items() if job not in masked}
        shown = (
            self._manager.ask([a.path.name for pair in rest.values() for a in pair]) if self._running else {}
        )
        self._refuse(rest, seen, shown)
        changed = [a for pair in rest.values() for a in pair if seen[a.path].content != a.text.encode()]
        gone = self._gone(rest)
        if changed:
            verify(changed, [a for pair in rest.values() for a in pair], self._manager.scope, self._version)
        # what a killed install wrote, and did not come to let the manager read
        unread = {
            path for path in seen if (unit := shown.get(path.name)) and unit["NeedDaemonReload"] == "yes"
        }
        timers, kept = self._sort(rest, seen, shown, {a.path for a in changed} | unread)
        if changed or gone or unread or timers.enable or timers.start:
            self._bring(changed, gone, timers)
        self._clear_up(rest)
        paths = {a.path for a in changed} | set(gone)
        return [
            self._change(job, pair, paths, timers, shown, masked=job in masked, kept=job in kept)
            for job, pair in self._artifacts.items()
        ]

    def _unmasked(self, job: str, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        """Without a handler that the administrator masked: the job itself goes on."""
        masked = any(look(a.path, job).found is Found.MASKED for a in artifacts[2:])
        return artifacts[:2] if masked else artifacts

    def _gone(self, rest: Mapping[str, Sequence[Artifact]]) -> list[Path]:
        """Handlers of jobs that no longer tell anybody."""
        silent = {self._places.units / handler.name_of(job): job for job, a in rest.items() if len(a) == 2}
        return [path for path, job in silent.items() if look(path, job).found in (Found.OURS, Found.EDITED)]

    def _sort(
        self,
        rest: Mapping[str, Sequence[Artifact]],
        seen: Mapping[Path, Seen],
        shown: Mapping[str, Unit],
        changed: set[Path],
    ) -> tuple[_Timers, set[str]]:
        """Which timers are to be enabled, started and stopped first; and which jobs stay as they rest."""
        timers, kept = _Timers(), set[str]()
        left = self._unfinished.read()
        for job, (_, timer, *_) in rest.items():
            name, unit = timer.path.name, shown.get(timer.path.name)
            active = unit is not None and unit.active
            enabled = self._places.wanted(name).is_symlink()
            new = seen[timer.path].found is Found.ABSENT
            if self._wishes.start or name in left.enable or (new and self._wishes.start is None):
                timers.enable |= set() if enabled and active else {name}
                timers.start |= set() if active else {name}
            elif name in left.start:
                timers.start |= set() if active else {name}
            elif not active and not new:
                kept.add(job)
            if active and timer.path in changed:
                timers.stop.add(name)
                timers.start.add(name)
            timers.fresh |= {name} & timers.enable if not enabled else set()
        return timers, kept

    def _refuse(
        self,
        rest: Mapping[str, Sequence[Artifact]],
        seen: Mapping[Path, Seen],
        shown: Mapping[str, Unit],
    ) -> None:
        for pair in rest.values():
            for artifact in pair:
                path, found = artifact.path, seen[artifact.path].found
                if found in (Found.FOREIGN, Found.UNREADABLE):
                    raise JobError(
                        Outcome.CONFIG,
                        f"{path} exists and is not dify-job's",
                        f"rename the job, or move that file away: mv {path} {path}.bak",
                    )
                if found is Found.EDITED and not self._wishes.overwrite_edits:
                    raise JobError(
                        Outcome.CONFIG,
                        f"{path} was edited by hand",
                        f"keep the edit as a drop-in (systemctl edit {path.name}) and install with "
                        "--overwrite-edits; dify-job install --diff shows it",
                    )
                unit = shown.get(path.name)
                elsewhere = unit["FragmentPath"] if unit is not None else ""
                if (
                    found is Found.ABSENT
                    and elsewhere
                    and Path(elsewhere) != path
                    and Path(elsewhere).exists()
                ):
                    raise JobError(
                        Outcome.CONFIG,
                        f"a unit {path.name} exists already, in {elsewhere}",
                        "rename the job, or remove that unit with what installed it",
                    )

    def _bring(self, changed: Sequence[Artifact], gone: Sequence[Path], timers: _Timers) -> None:
        try:
            self._unfinished.add(enable=timers.enable, start=timers.start)
            if timers.stop:
                self._manager.tell("stop", timers.stop)
            self._writer.put_all({a.path: a.text.encode() for a in changed})
            for path in gone:
                self._writer.remove(path)
            if timers.enable:
                self._manager.tell("enable", timers.enable, "--no-reload")
            if self._running:
                self._manager.reload()
            if timers.start and self._running:
                self._start(timers.start)
        except OSError as error:
            self._take_back(timers)
            raise JobError(
                Outcome.CANNOT_WRITE,
                f"the units could not be written; nothing was changed: {error.filename}: {error.strerror}",
                mend_of_disk(
                    error,
                    self._places.units,
                    "install as root, or with --user; --dry-run prints the files",
                ),
            ) from None
        except BaseException:
            self._take_back(timers)
            raise

    def _start(self, names: set[str]) -> None:
        for name in names:
            if self._catch_up[name.removeprefix("dify-job-").removesuffix(".timer")]:
                self._places.touch_stamp(name)
        self._manager.tell("start", names)
        for name, unit in self._manager.ask(sorted(names)).items():
            if not unit.loaded or not unit.active or unit["NeedDaemonReload"] == "yes":
                raise JobError(
                    Outcome.CONFIG,
                    f"systemd does not arm {name} ({unit['LoadState']}, {unit['ActiveState']}); "
                    "the installation was taken back",
                    f"systemctl status {name}",
                )

    def _take_back(self, timers: _Timers) -> None:
        """Each step for itself: what a broken manager refuses must not keep the files from going back."""
        if timers.fresh:
            with contextlib.suppress(JobError):
                self._manager.tell("disable", timers.fresh, "--no-reload")
        if timers.start and self._running:  # an active timer must not see its file change
            with contextlib.suppress(JobError):
                self._manager.tell("stop", timers.start)
        self._writer.roll_back()
        with contextlib.suppress(JobError):
            if self._running:
                self._manager.reload()
                for name in timers.stop:
                    self._places.touch_stamp(name)
                if timers.stop:
                    self._manager.tell("start", timers.stop)
        with contextlib.suppress(OSError):
            self._unfinished.drop(timers.enable | timers.start)

    def _clear_up(self, rest: Mapping[str, Sequence[Artifact]]) -> None:
        """What an install that was killed left of these jobs is no longer needed."""
        with contextlib.suppress(OSError):
            self._unfinished.drop({timer.path.name for _, timer, *_ in rest.values()})
        self._writer.clear(a.path for pair in rest.values() for a in pair)

    def _change(
        self,
        job: str,
        pair: Sequence[Artifact],
        written: set[Path],
        timers: _Timers,
        shown: Mapping[str, Unit],
        *,
        masked: bool,
        kept: bool,
    ) -> Change:
        timer = pair[1].path.name
        unit = shown.get(timer)
        notes = []
        arm = units.unmask_commands(timer, job, self._manager.scope) if masked else ()
        if masked:
            notes.append(f"masked by the administrator, and left so: {' && '.join(arm)}")
        elif kept:
            notes.append(f"paused, and left so; dify-job resume {job} arms it")
        if written and not can_verify():
            notes.append("systemd-analyze is not installed: the units were checked by dify-job alone")
        return Change(
            job=job,
            paths=tuple(artifact.path for artifact in pair),
            changed=any(artifact.path in written for artifact in pair)
            or self._places.units / handler.name_of(job) in written,
            armed=timer in timers.start or (not masked and unit is not None and unit.active),
            arm=arm,
            notes=tuple(notes),
        )
