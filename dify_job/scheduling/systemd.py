"""The systemd back end: units brought to the host, asked about, paused, and taken away without a trace."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import JobError
from ..exits import Outcome
from ..files import locked
from ..ownership import Found, Seen, look
from . import handler, reach, systemctl, units
from .arming import Arming
from .base import Artifact, Change, Installed, Plan, Scope, Wishes
from .places import Places
from .started import trouble_of
from .systemctl import Manager, Unit
from .unfinished import forget


class Systemd:
    """systemd, system or user scope. version: rendered for; this machine's where None."""

    name = "systemd"

    def __init__(self, scope: Scope, version: int | None = None, places: Places | None = None) -> None:
        self.scope = scope
        self.version = version or systemctl.version() or 252
        self._places = places or Places.of(scope)
        self.manager = Manager(scope)

    def render(self, plan: Plan) -> tuple[Artifact, ...]:
        """Service and timer of a job."""
        return units.render_units(plan, self.scope, self.version, self._places.units)

    def install(self, plans: Sequence[Plan], wishes: Wishes) -> list[Change]:
        """Write, reload once, enable and start; all or nothing."""
        if self.scope is Scope.SYSTEM:
            for plan in plans:
                self._check_reach(plan)
        running = self.manager.why_not() is None
        if not running and self.scope is Scope.USER and systemctl.is_booted():
            raise JobError(
                Outcome.CONFIG,
                f"user units cannot be installed: {self.manager.why_not()}",
                "sudo loginctl enable-linger $USER, or install with --backend cron",
            )
        with locked(self._places.base):
            return Arming(
                self.render, self._places, self.manager, plans, wishes, version=self.version, running=running
            ).go()

    def uninstall(self, jobs: Sequence[str]) -> list[Change]:
        """Stop, disable and remove; a run under way is stopped on the server, too."""
        with locked(self._places.base):
            running = self.manager.why_not() is None
            ours, notes = self._ours(jobs)
            names = {path.name for paths in ours.values() for path in paths}
            shown = self.manager.ask(sorted(names)) if running else {}
            for kind in (".timer", ".service"):  # the timers first, so that they cannot start a service again
                loaded = [name for name, unit in shown.items() if name.endswith(kind) and unit.loaded]
                if loaded and kind == ".timer":
                    self.manager.tell("disable", loaded)
                if loaded:
                    self.manager.tell("stop", loaded)
            changes = [self._take_away(job, ours[job], notes[job]) for job in jobs]
            if running and names:
                self.manager.reload()
                left = self.manager.show(sorted(names))
                failed = [name for name, unit in left.items() if unit["ActiveState"] == "failed"]
                if failed:
                    self.manager.tell("reset-failed", failed)
        return changes

    def pause(self, job: str, *, paused: bool) -> Change:
        """Disarm or arm a job's timer, now and at boot; a run under way goes on."""
        _, timer = units.unit_names(job)
        with locked(self._places.base):
            forget(self._places.base, timer)
            if paused:
                self.manager.tell("disable", [timer])
                self.manager.tell("stop", [timer])
            else:
                self._refuse_masked(job, timer)
                self._places.touch_stamp(timer)
                self.manager.tell("enable", [timer])
                self.manager.tell("start", [timer])
        return Change(job=job, changed=True, armed=not paused)

    def _refuse_masked(self, job: str, timer: str) -> None:
        if look(self._places.units / timer, job).found is Found.MASKED:
            raise JobError(
                Outcome.CONFIG,
                f"{timer} is masked by the administrator",
                " && ".join(units.unmask_commands(timer, job, self.scope)),
            )

    def status(self, jobs: Iterable[str] | None = None) -> list[Installed]:
        """What is installed, from the marks; how it does, from the manager if that can be asked."""
        seen = self._marked(set(jobs) if jobs is not None else None)
        why_not = self.manager.why_not()
        names = [name for job in seen for name in units.unit_names(job)]
        shown = {} if why_not else self.manager.show(names)
        return [self._installed(job, seen[job], shown) for job in sorted(seen)]

    def compared(self, plan: Plan) -> list[tuple[Path, str, str]]:
        """Each file of a job: its place, its text now, and the one that install would give it."""
        found = [(one, look(one.path, plan.job)) for one in self.render(plan)]
        return [(one.path, seen.content.decode(errors="replace"), one.text) for one, seen in found]

    def lacks(self, plan: Plan) -> tuple[str, ...]:
        """What this version cannot do for the job, and what is done instead; a sentence each."""
        return units.lacks(plan, self.scope, self.version)

    def starts_by_hand(self, plan: Plan) -> bool:
        """False where the unit would take `systemctl start` for the timer, and might hold the run back."""
        return units.told_by_timer(plan, self.version) or not units.can_be_held_back(plan)

    # Reading

    def _marked(self, jobs: set[str] | None) -> dict[str, dict[Path, Seen]]:
        found: dict[str, dict[Path, Seen]] = {}
        with contextlib.suppress(OSError):
            for path in sorted(self._places.units.glob("dify-job-*")):
                if path.suffix not in (".service", ".timer"):
                    continue
                job = handler.job_of(path.name)
                seen = look(path, job)
                ours = seen.found in (Found.OURS, Found.EDITED, Found.UNREADABLE)
                masked = seen.found is Found.MASKED and path.suffix == ".timer"
                if (ours or masked) and (jobs is None or job in jobs):
                    found.setdefault(job, {})[path] = seen
        return found

    def _installed(self, job: str, seen: Mapping[Path, Seen], shown: Mapping[str, Unit]) -> Installed:
        service_name, timer_name = units.unit_names(job)
        marks = [one.mark for one in seen.values() if one.mark is not None]
        troubles = []
        edited = any(one.found is Found.EDITED for one in seen.values())
        if len({service_name, timer_name} & {path.name for path in seen}) < 2:
            troubles.append("one of its two units is missing")
        if self._lacks_handler(job, seen):
            troubles.append(f"the unit that tells of its failures is missing: dify-job install {job}")
        if any(one.found is Found.MASKED for one in seen.values()):
            mend = " && ".join(units.unmask_commands(timer_name, job, self.scope))
            troubles.append(f"masked by the administrator: {mend}")
        texts = [one.content.decode(errors="replace") for one in seen.values()]
        troubles += filter(None, (trouble_of(text, job) for text in texts))
        plain = Installed(
            job=job,
            backend=self.name,
            scope=self.scope,
            paths=tuple(seen),
            fingerprint=marks[0].config if marks else "",
            source=marks[0].source if marks else "",
            edited=edited,
            paused=not self._places.wanted(timer_name).is_symlink(),
            troubles=tuple(troubles),
        )
        service, timer = shown.get(service_name), shown.get(timer_name)
        if service is None or timer is None:
            silent = f"the {self.scope} manager of systemd does not answer: dify-job doctor {job}"
            return replace(plain, troubles=(*troubles, silent)) if self.manager.silent else plain
        if drop_ins := " ".join(filter(None, (service["DropInPaths"], timer["DropInPaths"]))):
            troubles.append(f"changed by {drop_ins}")
        if service["LoadState"] not in ("loaded", "masked") or timer["LoadState"] not in ("loaded", "masked"):
            bad = service_name if service["LoadState"] != "loaded" else timer_name
            troubles.append(f"{bad} is not loaded: systemctl status {bad}")
        if "yes" in (service["NeedDaemonReload"], timer["NeedDaemonReload"]):
            troubles.append("changed on disk since systemd read it: systemctl daemon-reload")
        ended = systemctl.time_of(service["ExecMainExitTimestamp"])
        return replace(
            plain,
            armed=timer.active,
            paused=not timer.active,
            running=service.active,
            next_run=systemctl.time_of(timer["NextElapseUSecRealtime"]),
            exit_code=int(service["ExecMainStatus"] or 0) if ended else None,
            result=service["Result"] if ended else None,
            ended=ended,
            troubles=tuple(troubles),
        )

    def _lacks_handler(self, job: str, seen: Mapping[Path, Seen]) -> bool:
        """True where OnFailure= names a unit that is not there; one that is masked is somebody's will."""
        service = seen.get(self._places.units / units.unit_names(job)[0])
        place = self._places.units / handler.name_of(job)
        named = service is not None and b"\nOnFailure=dify-job-notify@" in service.content
        return named and look(place, job).found is Found.ABSENT

    # Taking away

    def _ours(self, jobs: Sequence[str]) -> tuple[dict[str, list[Path]], dict[str, list[str]]]:
        """The files of each job that are ours, and a sentence for each that is not."""
        ours: dict[str, list[Path]] = {}
        notes: dict[str, list[str]] = {}
        for job in jobs:
            seen = {
                self._places.units / name: look(self._places.units / name, job)
                for name in (handler.name_of(job), *units.unit_names(job))
            }
            ours[job] = [path for path, one in seen.items() if one.found in (Found.OURS, Found.EDITED)]
            strange = (Found.FOREIGN, Found.MASKED)
            notes[job] = [
                f"{path} is not ours and was left" for path, one in seen.items() if one.found in strange
            ]
        return ours, notes

    def _take_away(self, job: str, ours: Sequence[Path], notes: Sequence[str]) -> Change:
        """The units last: by them an uninstall that was killed is found, and ended by the next."""
        left = list(notes)
        _, timer = units.unit_names(job)
        forget(self._places.base, timer)
        try:
            if any(path.name == timer for path in ours):
                self._places.wanted(timer).unlink(missing_ok=True)
                self._places.stamp(timer).unlink(missing_ok=True)
            for path in ours:
                left += self._empty_drop_in_directory(path)
                path.unlink(missing_ok=True)
        except OSError as error:
            raise JobError(
                Outcome.CANNOT_WRITE,
                f"{error.filename} could not be removed: {error.strerror}",
                "the timer is stopped; try again when the file system can be written",
            ) from None
        return Change(job=job, paths=tuple(ours), changed=bool(ours), notes=tuple(left))

    def _empty_drop_in_directory(self, path: Path) -> list[str]:
        directory = path.with_name(f"{path.name}.d")
        try:
            directory.rmdir()
        except FileNotFoundError:
            return []
        except OSError:
            return [f"{directory} holds drop-ins that are not ours and was left"]
        return []

    def _check_reach(self, plan: Plan) -> None:
        dynamic = units.is_dynamic(plan, self.scope, self.version)
        account = reach.DYNAMIC if dynamic else reach.account_of(plan.run_as or "root")
        reach.check_plan(plan, account, key_by_manager=units.key_by_manager(self.scope, self.version))
