"""The systemd backend: the installed units of jobs, and the plans that change them."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.managed_files import FileState, FileStatus, Header, file_status
from ..system.unit_result import UnitResult, time_of
from . import access, systemctl, unit_plan, units
from .backend import Backend, InstallOptions
from .job_spec import JobSpec, failure_unit_name, interpreter_of, job_of_unit, unit_names
from .model import InstalledJob, RenderedFile, Scope, Unit
from .reconcile import InstallResult, Plan
from .systemctl import SystemdPaths
from .unit_plan import Activation, DesiredUnits, ObservedUnits, Pending, enabling_link


class Systemd(Backend):
    """The systemd backend in the system or user scope."""

    name = "systemd"
    version: int

    def __init__(self, scope: Scope, version: int | None = None, paths: SystemdPaths | None = None) -> None:
        """Create the backend.

        Args:
            scope: The scope.
            version: The version of systemd to render units for; None for this machine's.
            paths: The directories of the scope; None for the default.
        """
        super().__init__(scope)
        self.version = version or systemctl.version_for_units()
        self.key_by_manager = units.key_by_manager(scope, self.version)
        self.paths = paths or SystemdPaths.of(scope)

    @property
    def directory(self) -> Path:
        """The directory of the unit files."""
        return self.paths.units

    def render(self, spec: JobSpec) -> tuple[RenderedFile, ...]:
        """Return service and timer of a job, and the failure unit of a job with notifications."""
        return units.render_units(spec, self.scope, self.version, self.paths.units)

    # Plans

    def plan_install(
        self,
        specs: Sequence[JobSpec],
        options: InstallOptions,
        remove: Sequence[str] = (),
        http: DesiredUnits | None = None,
    ) -> Plan:
        """Return the plan that installs jobs and removes others, with one reload for all.

        A run in progress of a removed job is stopped, in Dify too.

        Args:
            specs: The jobs to install.
            options: The options of install.
            remove: Jobs to uninstall.
            http: The HTTP interface, to install or remove.
        """
        activation = {True: Activation.ENABLED, False: Activation.UNCHANGED, None: Activation.NEW}
        desired = [
            self._desired(
                spec.job,
                self.render(spec),
                activation=activation[options.start],
                catch_up=spec.schedule.catch_up,
            )
            for spec in specs
        ]
        desired += [self._desired(job, ()) for job in remove]
        desired += [http] if http is not None else []
        plan = self.plan(desired, overwrite_edits=options.overwrite_edits)
        errors = (*(self._manager_errors() if specs else ()), *plan.errors)
        changed = {one.path for one in plan.changed_files()}
        files = [file for one in desired for file in one.files or ()]
        changing = [file for file in files if file.path in changed]
        verified = True
        if changing and not errors:
            try:
                verified = systemctl.verify(changing, files, self.scope, self.version)
            except JobError as error:
                errors = (error,)
        why_not = self.manager.unavailable_reason()

        def notes(one: InstallResult) -> Iterator[str]:
            if one.changed and not verified:
                yield msg("systemd-analyze is not installed, so only dify-job itself checked the units")
            if one.enabled and why_not is not None:
                yield msg("nothing starts the job until systemd runs: {why_not}", why_not=why_not)

        results = (replace(one, notes=(*one.notes, *notes(one))) for one in plan.results)
        return replace(plan, errors=errors, results=tuple(results))

    def plan_pause(self, jobs: Sequence[str], *, paused: bool) -> Plan:
        """Return the plan that disables or enables timers, now and at boot; a run in progress continues."""
        activation = Activation.DISABLED if paused else Activation.ENABLED
        plan = self.plan([self._desired(job, None, activation=activation, catch_up=True) for job in jobs])
        return replace(plan, errors=(*self._manager_errors(), *plan.errors))

    def plan(self, desired: Sequence[DesiredUnits], *, overwrite_edits: bool = False) -> Plan:
        """Observe the units of the scope and compare them with the desired ones.

        Args:
            desired: The desired units.
            overwrite_edits: Replace managed files that were edited by hand.
        """
        return unit_plan.plan_units(desired, self._observe(desired), overwrite_edits=overwrite_edits)

    def _desired(
        self,
        job: str,
        files: tuple[RenderedFile, ...] | None,
        *,
        activation: Activation = Activation.NEW,
        catch_up: bool = False,
    ) -> DesiredUnits:
        service, timer, failure = (
            self.paths.units / name for name in (*unit_names(job), failure_unit_name(job))
        )
        return DesiredUnits(
            name=job,
            all_paths=(service, timer, failure),
            optional_paths=frozenset({failure}),
            files=files,
            trigger=timer.name,
            activation=activation,
            catch_up=catch_up,
        )

    def _observe(self, desired: Sequence[DesiredUnits]) -> ObservedUnits:
        files = {path: file_status(path, one.name) for one in desired for path in one.all_paths}
        running = self.manager.unavailable_reason() is None
        wanted = {file.path for one in desired for file in one.files or ()}
        there = {path for path, seen in files.items() if seen.state is not FileState.ABSENT}
        names = sorted(path.name for path in wanted | there if "@." not in path.name)
        shown = self.manager.properties_of(names) if running else {}
        elsewhere = {name: Path(unit["FragmentPath"]) for name, unit in shown.items() if unit["FragmentPath"]}
        drop_ins = (
            path.with_name(f"{path.name}.d") for one in desired if one.removed for path in one.all_paths
        )
        triggers = (path for one in desired for path in one.all_paths if path.name == one.trigger)
        return ObservedUnits(
            manager=self.manager,
            running=running,
            base=self.base,
            files=files,
            units=shown,
            enabled=frozenset(path.name for path in triggers if enabling_link(path).is_symlink()),
            pending=Pending.read(self.base),
            foreign={
                name: path
                for name, path in elsewhere.items()
                if path != self.paths.units / name and path.exists()
            },
            drop_ins={path: any(path.iterdir()) for path in drop_ins if path.is_dir()},
            stamps=self.paths.stamps,
        )

    def _manager_errors(self) -> Iterator[JobError]:
        why_not = (
            self.manager.unavailable_reason() if self.scope is Scope.USER and systemctl.is_booted() else None
        )
        if why_not is not None:
            yield JobError(
                Outcome.CONFIG,
                msg("user units cannot be installed: {why_not}", why_not=why_not),
                msg(
                    "install with --backend cron, or start your user manager: {command}",
                    command=access.linger_command(),
                ),
            )

    # Status

    def status(self, jobs: Iterable[str] | None = None) -> list[InstalledJob]:
        """Return the installed jobs by their headers, with their states if the manager answers."""
        seen = self._managed(set(jobs) if jobs is not None else None)
        names = [name for job in seen for name in unit_names(job)]
        shown = {} if self.manager.unavailable_reason() else self.manager.show(names)
        return [self._installed(job, seen[job], shown) for job in sorted(seen)]

    def sources(self) -> dict[str, str]:
        """Return each installed job and its configuration file, from the headers only."""
        return {job: _header_of(job, seen).source for job, seen in self._managed(None).items()}

    def limitations(self, spec: JobSpec) -> tuple[str, ...]:
        """Return the limitations of this version for the job, with the alternatives."""
        return units.limitations(spec, self.scope, self.version)

    def starts_at_once(self, spec: JobSpec) -> bool:
        """Return False if the unit may skip a run of `systemctl start`, like one of the timer."""
        return units.knows_timer_starts(spec, self.version) or not units.may_skip_start(spec)

    def _managed(self, jobs: set[str] | None) -> dict[str, dict[Path, FileStatus]]:
        found: dict[str, dict[Path, FileStatus]] = {}
        with contextlib.suppress(OSError):
            for path in sorted(self.paths.units.glob("dify-job-*")):
                job = job_of_unit(path.name)
                if path.suffix not in (".service", ".timer") or (jobs is not None and job not in jobs):
                    continue
                seen = file_status(path, job)
                masked = seen.state is FileState.MASKED and path.suffix == ".timer"
                if seen.is_managed or seen.state is FileState.UNREADABLE or masked:
                    found.setdefault(job, {})[path] = seen
        return found

    def _installed(
        self, job: str, seen: Mapping[Path, FileStatus], shown: Mapping[str, Unit]
    ) -> InstalledJob:
        service_name, timer_name = unit_names(job)
        header = _header_of(job, seen)
        by_files = InstalledJob(
            job=job,
            backend=self.name,
            scope=self.scope,
            files=seen,
            fingerprint=header.config,
            source=header.source,
            python=next(filter(None, (interpreter_of(one.text) for one in seen.values())), None),
            paused=not enabling_link(self.paths.units / timer_name).is_symlink(),
        )
        service, timer = shown.get(service_name), shown.get(timer_name)
        if service is None or timer is None:
            return by_files
        ending = UnitResult.of_properties(service_name, service.properties)
        ending = replace(ending, user=self.scope is Scope.USER)
        return replace(
            by_files,
            enabled=timer.active,
            paused=not timer.active,
            running=service.active,
            next_run=time_of(timer["NextElapseUSecRealtime"]),
            unit_result=ending if ending.ended is not None else None,
            since=time_of(timer["ActiveEnterTimestamp"]),
            units={service_name: service, timer_name: timer},
        )


def _header_of(job: str, seen: Mapping[Path, FileStatus]) -> Header:
    return next((one.header for one in seen.values() if one.header), Header(job, "", "", ""))
