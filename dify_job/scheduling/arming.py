"""Installing units without ever starting a run.

The order of the steps is measured: a timer is stopped before its file changes, the manager is reloaded once,
the stamp is touched, and the timer is started again, never restarted (systemd#31231, #14899, #16186).
"""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import JobError
from ..exits import Outcome
from ..files import Writer
from ..ownership import Found, Seen, look
from .base import Artifact, Change, Plan, Wishes
from .places import Places
from .systemctl import Manager, Unit
from .verify import verify

_UNFINISHED = "install-unfinished.json"


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
        self._artifacts = {plan.job: render(plan) for plan in plans}
        self._catch_up = {plan.job: plan.schedule.catch_up for plan in plans}
        self._writer = Writer()

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
            self._manager.show([a.path.name for pair in rest.values() for a in pair]) if self._running else {}
        )
        self._refuse(rest, seen, shown)
        changed = [a for pair in rest.values() for a in pair if seen[a.path].content != a.text.encode()]
        if changed:
            verify(changed, [a for pair in rest.values() for a in pair], self._manager.scope, self._version)
        unfinished = set(self._unfinished())
        arm, keep, stop = set[str](), set[str](), set[str]()
        for job, (_, timer) in rest.items():
            name = timer.path.name
            new = seen[timer.path].found is Found.ABSENT
            unit = shown.get(name)
            active = unit is not None and unit.active
            if self._wishes.start or name in unfinished or (new and self._wishes.start is None):
                if not (active and unit is not None and unit.enabled and timer not in changed):
                    arm.add(name)
            elif active and timer in changed:
                arm.add(name)
            elif not active and not new:
                keep.add(job)
            if active and timer in changed:
                stop.add(name)
        if changed or arm:
            self._bring(changed, arm, stop)
        paths = {a.path for a in changed}
        return [
            self._change(job, pair, paths, arm, shown, masked=job in masked, kept=job in keep)
            for job, pair in self._artifacts.items()
        ]

    def _refuse(
        self,
        rest: Mapping[str, Sequence[Artifact]],
        seen: Mapping[Path, Seen],
        shown: Mapping[str, Unit],
    ) -> None:
        for pair in rest.values():
            for artifact in pair:
                path, found = artifact.path, seen[artifact.path].found
                if found is Found.FOREIGN:
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

    def _bring(self, changed: Sequence[Artifact], arm: set[str], stop: set[str]) -> None:
        if arm:
            self._remember(arm)
        try:
            if stop and self._running:
                self._manager.tell("stop", stop)
            for artifact in changed:
                self._writer.put(artifact.path, artifact.text.encode())
            if arm:
                self._manager.tell("enable", arm)
            if self._running and changed:
                self._manager.reload()
            if arm and self._running:
                self._start(arm)
        except OSError as error:
            self._take_back(arm, stop)
            raise JobError(
                Outcome.CANNOT_WRITE,
                f"the units could not be written; nothing was changed: {error.filename}: {error.strerror}",
                "install as root, or with --user; --dry-run prints the files",
            ) from None
        except BaseException:
            self._take_back(arm, stop)
            raise
        self._forget()

    def _start(self, arm: set[str]) -> None:
        for timer in arm:
            if self._catch_up[timer.removeprefix("dify-job-").removesuffix(".timer")]:
                self._places.touch_stamp(timer)
        self._manager.tell("start", arm)
        for name, unit in self._manager.show(sorted(arm)).items():
            if not unit.loaded or not unit.active or unit["NeedDaemonReload"] == "yes":
                raise JobError(
                    Outcome.CONFIG,
                    f"systemd does not arm {name} ({unit['LoadState']}, {unit['ActiveState']}); "
                    "the installation was taken back",
                    f"systemctl status {name}",
                )

    def _take_back(self, arm: set[str], stop: set[str]) -> None:
        fresh = arm - stop
        with contextlib.suppress(JobError, OSError):
            if fresh:
                self._manager.tell("disable", fresh)
            if fresh and self._running:
                self._manager.tell("stop", fresh)
        self._writer.roll_back()
        with contextlib.suppress(JobError, OSError):
            if self._running:
                self._manager.reload()
                for timer in stop:
                    self._places.touch_stamp(timer)
                if stop:
                    self._manager.tell("start", stop)
        self._forget()

    def _change(
        self,
        job: str,
        pair: Sequence[Artifact],
        written: set[Path],
        arm: set[str],
        shown: Mapping[str, Unit],
        *,
        masked: bool,
        kept: bool,
    ) -> Change:
        timer = pair[1].path.name
        unit = shown.get(timer)
        notes = []
        if masked:
            notes.append(f"masked by the administrator, and left so: systemctl unmask {timer}")
        elif kept:
            notes.append(f"paused, and left so; dify-job install {job} --start arms it")
        return Change(
            job=job,
            paths=tuple(artifact.path for artifact in pair),
            changed=any(artifact.path in written for artifact in pair),
            armed=timer in arm or (not masked and unit is not None and unit.active),
            notes=tuple(notes),
        )

    # What a kill in the middle must not lose: which timers were to be armed

    def _unfinished(self) -> list[str]:
        try:
            told = json.loads((self._places.base / _UNFINISHED).read_bytes())
        except (OSError, ValueError):
            return []
        return [name for name in told if isinstance(name, str)] if isinstance(told, list) else []

    def _remember(self, arm: set[str]) -> None:
        both = sorted(arm | set(self._unfinished()))
        Writer().put(self._places.base / _UNFINISHED, json.dumps(both).encode(), 0o600)

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            (self._places.base / _UNFINISHED).unlink(missing_ok=True)
