"""The systemd back end: units brought to the host, asked about, paused, and taken away without a trace."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.managed_files import FileState, FileStatus, Header, look
from ..system.transaction import locked, removing
from ..system.unit_result import UnitResult, time_of
from . import access, failure_unit, systemctl, units
from .backend import Backend, InstalledJob, InstallOptions, InstallResult, RenderedFile, Scope
from .installed_python import program_of, trouble_of
from .job_spec import JobSpec
from .pending_install import forget
from .systemctl import Manager, Unit
from .systemd_install import SystemdInstaller
from .systemd_paths import SystemdPaths


class Systemd(Backend):
    """systemd, system or user scope. version: rendered for; this machine's where None."""

    name = "systemd"

    def __init__(self, scope: Scope, version: int | None = None, places: SystemdPaths | None = None) -> None:
        super().__init__(scope)
        self.version = version or systemctl.version_for_units()
        self._places = places or SystemdPaths.of(scope)
        self.manager = Manager(scope)

    def render(self, plan: JobSpec) -> tuple[RenderedFile, ...]:
        """Service and timer of a job."""
        return units.render_units(plan, self.scope, self.version, self._places.units)

    def install(self, plans: Sequence[JobSpec], wishes: InstallOptions) -> list[InstallResult]:
        """Write, reload once, enable and start; all or nothing."""
        if self.scope is Scope.SYSTEM:
            for plan in plans:
                self._check_reach(plan)
        running = self.manager.why_not() is None
        if not running and self.scope is Scope.USER and systemctl.is_booted():
            raise JobError(
                Outcome.CONFIG,
                msg("user units cannot be installed: {why_not}", why_not=self.manager.why_not()),
                msg("sudo loginctl enable-linger $USER, or install with --backend cron"),
            )
        with locked(self._places.base):
            return SystemdInstaller(
                self.render, self._places, self.manager, plans, wishes, version=self.version, running=running
            ).go()

    def uninstall(self, jobs: Sequence[str]) -> list[InstallResult]:
        """Stop, disable and remove; a run under way is stopped on the server, too."""
        with locked(self._places.base):
            seen = {job: self._look(job) for job in jobs}
            names = sorted(path.name for there in seen.values() for path, one in there.items() if one.is_ours)
            running = self.manager.why_not() is None
            if running:
                self._stop(names)
            changes = [self._take_away(job, seen[job]) for job in jobs]
            if running and names:
                self._forget(names)
        return changes

    def pause(self, job: str, *, paused: bool) -> InstallResult:
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
        return InstallResult(job=job, changed=True, enabled=not paused)

    def _refuse_masked(self, job: str, timer: str) -> None:
        if look(self._places.units / timer, job).found is FileState.MASKED:
            raise JobError(
                Outcome.CONFIG,
                msg("{timer} is masked by the administrator", timer=timer),
                " && ".join(units.unmask_commands(timer, job, self.scope)),
            )

    def status(self, jobs: Iterable[str] | None = None) -> list[InstalledJob]:
        """What is installed, from the marks; how it does, from the manager if that can be asked."""
        seen = self._marked(set(jobs) if jobs is not None else None)
        why_not = self.manager.why_not()
        names = [name for job in seen for name in units.unit_names(job)]
        shown = {} if why_not else self.manager.show(names)
        return [self._installed(job, seen[job], shown) for job in sorted(seen)]

    def sources(self) -> dict[str, str]:
        """Each installed job and the config that it came from, by the marks alone: nobody is asked."""
        marks = {job: _mark_of(seen) for job, seen in self._marked(None).items()}
        return {job: mark.source if mark else "" for job, mark in marks.items()}

    def compared(self, plan: JobSpec) -> list[tuple[Path, str, str]]:
        """Each file of a job: its place, its text now, and the one that install would give it."""
        found = [(one, look(one.path, plan.job)) for one in self.render(plan)]
        return [(one.path, seen.text, one.text) for one, seen in found]

    def lacks(self, plan: JobSpec) -> tuple[str, ...]:
        """What this version cannot do for the job, and what is done instead; a sentence each."""
        return units.lacks(plan, self.scope, self.version)

    def starts_by_hand(self, plan: JobSpec) -> bool:
        """False where the unit would take `systemctl start` for the timer, and might hold the run back."""
        return units.told_by_timer(plan, self.version) or not units.can_be_held_back(plan)

    # Reading

    def _marked(self, jobs: set[str] | None) -> dict[str, dict[Path, FileStatus]]:
        found: dict[str, dict[Path, FileStatus]] = {}
        with contextlib.suppress(OSError):
            for path in sorted(self._places.units.glob("dify-job-*")):
                if path.suffix not in (".service", ".timer"):
                    continue
                job = failure_unit.job_of(path.name)
                seen = look(path, job)
                masked = seen.found is FileState.MASKED and path.suffix == ".timer"
                if (seen.is_ours or seen.found is FileState.UNREADABLE or masked) and (
                    jobs is None or job in jobs
                ):
                    found.setdefault(job, {})[path] = seen
        return found

    def _installed(
        self, job: str, seen: Mapping[Path, FileStatus], shown: Mapping[str, Unit]
    ) -> InstalledJob:
        service_name, timer_name = units.unit_names(job)
        mark = _mark_of(seen)
        python = next(filter(None, (program_of(one.text) for one in seen.values())), None)
        by_files = InstalledJob(
            job=job,
            backend=self.name,
            scope=self.scope,
            paths=tuple(seen),
            fingerprint=mark.config if mark else "",
            source=mark.source if mark else "",
            python=python,
            edited=any(one.found is FileState.EDITED for one in seen.values()),
            paused=not self._places.wanted(timer_name).is_symlink(),
            problems=(*self._troubles_of_files(job, seen), *trouble_of(python, job)),
        )
        service, timer = shown.get(service_name), shown.get(timer_name)
        if service is None or timer is None:
            silent = msg(
                "the {scope} manager of systemd does not answer: dify-job doctor {job}",
                scope=self.scope,
                job=job,
            )
            told = (silent,) if self.manager.silent else ()
            return replace(by_files, problems=(*by_files.problems, *told))
        ending = UnitResult.of_properties(service_name, service.properties)
        return replace(
            by_files,
            enabled=timer.active,
            paused=not timer.active,
            running=service.active,
            next_run=time_of(timer["NextElapseUSecRealtime"]),
            ending=ending if ending.ended is not None else None,
            since=time_of(timer["ActiveEnterTimestamp"]),
            problems=(*by_files.problems, *_troubles_of_manager(service, timer)),
        )

    def _troubles_of_files(self, job: str, seen: Mapping[Path, FileStatus]) -> Iterator[str]:
        _, timer = names = units.unit_names(job)
        if not set(names) <= {path.name for path in seen}:
            yield msg("one of its two units is missing")
        if self._lacks_handler(job, seen):
            yield msg("the unit that tells of its failures is missing: dify-job install {job}", job=job)
        if any(one.found is FileState.MASKED for one in seen.values()):
            mend = " && ".join(units.unmask_commands(timer, job, self.scope))
            yield msg("masked by the administrator: {mend}", mend=mend)

    def _lacks_handler(self, job: str, seen: Mapping[Path, FileStatus]) -> bool:
        """True where OnFailure= names a unit that is not there; one that is masked is somebody's will."""
        service = seen.get(self._places.units / units.unit_names(job)[0])
        place = self._places.units / failure_unit.name_of(job)
        named = service is not None and b"\nOnFailure=dify-job-notify@" in service.content
        return named and look(place, job).found is FileState.ABSENT

    # Taking away

    def _look(self, job: str) -> dict[Path, FileStatus]:
        """What stands at the places of a job's units."""
        names = (failure_unit.name_of(job), *units.unit_names(job))
        return {path: look(path, job) for path in map(self._places.units.joinpath, names)}

    def _stop(self, names: Sequence[str]) -> None:
        """The timers first, so that they cannot start a service again."""
        loaded = [name for name, unit in self.manager.ask(names).items() if unit.loaded]
        timers = [name for name in loaded if name.endswith(".timer")]
        self.manager.tell("disable", timers)
        self.manager.tell("stop", timers)
        self.manager.tell("stop", set(loaded) - set(timers))

    def _forget(self, names: Sequence[str]) -> None:
        """Let the manager know no more of units whose files are gone."""
        self.manager.reload()
        left = self.manager.show(names)
        self.manager.tell("reset-failed", [name for name in left if left[name]["ActiveState"] == "failed"])

    def _take_away(self, job: str, seen: Mapping[Path, FileStatus]) -> InstallResult:
        """The units last: by them an uninstall that was killed is found, and ended by the next."""
        ours = [path for path, one in seen.items() if one.is_ours]
        left: list[str] = [
            msg("{path} is not ours and was left", path=path) for path, one in seen.items() if one.is_foreign
        ]
        _, timer = units.unit_names(job)
        forget(self._places.base, timer)
        hint = msg("the timer is stopped; try again when the file system can be written")
        with removing(self._places.units, hint):
            if ours and seen[self._places.units / timer].found is not FileState.FOREIGN:
                self._places.wanted(timer).unlink(missing_ok=True)
                self._places.stamp(timer).unlink(missing_ok=True)
            for path in ours:
                left += _empty_drop_in_directory(path)
                path.unlink(missing_ok=True)
        return InstallResult(job=job, paths=tuple(ours), changed=bool(ours), notes=tuple(left))

    def _check_reach(self, plan: JobSpec) -> None:
        dynamic = units.is_dynamic(plan, self.scope, self.version)
        account = access.DYNAMIC if dynamic else access.account_of(plan.run_as or "root", confined=True)
        access.check_plan(plan, account, key_by_manager=units.key_by_manager(self.scope, self.version))


def _mark_of(seen: Mapping[Path, FileStatus]) -> Header | None:
    return next((one.mark for one in seen.values() if one.mark is not None), None)


def _troubles_of_manager(service: Unit, timer: Unit) -> Iterator[str]:
    if drop_ins := " ".join(filter(None, (service["DropInPaths"], timer["DropInPaths"]))):
        yield msg("changed by {drop_ins}", drop_ins=drop_ins)
    for unit in (service, timer):
        if unit["LoadState"] not in ("loaded", "masked"):
            yield msg("{unit} is not loaded: systemctl status {unit}", unit=unit["Id"])
    if "yes" in (service["NeedDaemonReload"], timer["NeedDaemonReload"]):
        yield msg("changed on disk since systemd read it: systemctl daemon-reload")


def _empty_drop_in_directory(path: Path) -> list[str]:
    """Remove a unit's, where it is empty; else a sentence about it."""
    directory = path.with_name(f"{path.name}.d")
    try:
        directory.rmdir()
    except FileNotFoundError:
        return []
    except OSError:
        return [msg("{directory} holds drop-ins that are not ours and was left", directory=directory)]
    return []
