"""Install and uninstall jobs: their units or crontab lines together with the files of their configuration."""

import contextlib
import os
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..config import managed
from ..config.model import Config, Job, KeySource, Origin, ScheduleConfig, Source
from ..config.schema import SCHEDULE_KINDS, SETTINGS, config_values, schedule_keys
from ..config.secrets import read_key
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..state.directories import is_pinned, pin, unpin
from ..state.store import cannot_write
from ..system.opened_file import read_regular
from ..system.transaction import FileChange, FileTransaction, locked
from . import access
from .backend import Backend, InstallOptions
from .cron import UserCrontab
from .detect import find_jobs, unit_config_path, visible
from .http_socket import HttpSocket, HttpSocketConfig
from .job_spec import JobSpec, job_spec
from .model import InstalledJob, Scope
from .reconcile import Plan, StalePlanError, StateChange, Step, change_files, execute
from .systemd import Systemd

_TRIES = 3


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """One job that is ready to be installed.

    Attributes:
        job: The job with its future configuration.
        spec: The specification for the scheduler.
        managed_files: The changes of managed configuration files.
    """

    job: Job
    spec: JobSpec
    managed_files: tuple[FileChange, ...]


def prepare(
    config: Config, job: Job, flags: ScheduleConfig | None, run_as: str | None, scope: Scope
) -> PreparedJob:
    """Return a job with the configuration after install; nothing is written yet.

    Args:
        config: The configuration.
        job: One of its jobs.
        flags: A schedule that replaces the job's own, or None.
        run_as: A user that replaces the job's own, or None.
        scope: The scope of the installed job.

    Raises:
        JobError: (config) The key to be stored cannot be read, or a managed file was edited by hand.
    """
    place = unit_config_path(config, scope)
    whole = config.path is None
    files = [managed.stub(place)] if whole and not place.exists() else []
    values: dict[str, Any] = {"run_as": run_as} if run_as is not None else {}
    job = job._replace(run_as=run_as or job.run_as)
    if job.key.encrypted is not None:
        job = job._replace(key=job.key._replace(encrypted=job.key.encrypted.absolute()))
    elif job.key.file is not None:
        job = job._replace(key=job.key._replace(file=job.key.file.absolute()))
    else:  # the key is in this shell or in an env file, which a timer cannot read
        stored = managed.key_file(place, job.name, read_key(job))
        files.append(stored)
        values["api_key_file"] = str(stored.path)
        job = job._replace(key=KeySource(file=stored.path))
    if flags is not None:
        kinds = {name: getattr(flags, name) for name in SCHEDULE_KINDS}
        times = job.schedule._replace(**kinds, timezone=flags.timezone or job.schedule.timezone)
        others = {key: one for key, one in job.origins.items() if key not in SCHEDULE_KINDS}
        given = {name: Origin(Source.FLAG, f"--{name}") for name, value in kinds.items() if value}
        job = job._replace(schedule=times, origins=others | given)
    if whole:
        values |= config_values(job, (setting for setting in SETTINGS if setting.variable)) | {
            "base_url": job.base_url
        }
    if flags is not None or whole:
        values |= schedule_keys(job.times)
    files += managed.settings_files(place, job.name, values, whole=whole)
    return PreparedJob(job, job_spec(job, place), tuple(files))


def plan_install(
    scheduler: Backend,
    ready: Sequence[PreparedJob],
    options: InstallOptions,
    *,
    http: HttpSocketConfig | None = None,
    remove: Sequence[InstalledJob] = (),
    remove_http: bool = False,
) -> Plan:
    """Return the plan that installs jobs: what `install` executes, and `--check` and `--diff` print.

    Args:
        scheduler: The scheduler to install with.
        ready: The jobs.
        options: The options of the caller.
        http: The HTTP interface to install, or None.
        remove: Jobs to uninstall in the same plan, with the HTTP interface that only they used.
        remove_http: Remove the HTTP interface of the scope in any case.
    """
    specs = [each.spec for each in ready]
    removed = [one.job for one in remove]
    errors: tuple[JobError, ...] = ()
    if isinstance(scheduler, Systemd):
        socket = HttpSocket(scheduler.scope) if http is not None or remove or remove_http else None
        units = None
        if socket is not None and http is not None:
            units, errors = socket.desired(http), tuple(socket.errors(http))
        elif socket is not None:
            left = {*scheduler.sources(), *(spec.job for spec in specs)} - {*removed}
            units = socket.desired(None) if remove_http or socket.serves_none_of(left) else None
        plan = scheduler.plan_install(specs, options, removed, units)
    else:
        plan = scheduler.plan_install(specs, options, removed)
    contents = [change for each in ready for change in each.managed_files]
    config_files = tuple(change for change in contents if change.before != change.after)
    # Configuration files are removed first: units or crontab lines show an interrupted uninstall.
    before = [change_files(files) for files in (config_files, _removed_files(remove)) if files]
    pins: list[Step] = []
    if scheduler.scope is Scope.USER:
        pins = [_pin(spec.job) for spec in specs if not is_pinned(spec.job)]
        pins += [_unpin(job) for job in removed if is_pinned(job)]
    return Plan(
        steps=(*pins, *before, *plan.steps, *_remove_leftovers(remove)),
        errors=(
            *_other_installation_errors(scheduler, specs),
            *_override_errors(ready),
            *plan.errors,
            *errors,
        ),
        results=plan.results,
        contents=(*contents, *plan.contents),
    )


def plan_uninstall(scheduler: Backend, installed: Sequence[InstalledJob], *, with_http: bool = False) -> Plan:
    """Return the plan that removes jobs and their managed configuration files.

    Args:
        scheduler: The scheduler that has them.
        installed: The jobs.
        with_http: Remove the HTTP interface of the scope, even if no job used it.
    """
    return plan_install(scheduler, (), InstallOptions(), remove=installed, remove_http=with_http)


def apply_plan(scheduler: Backend, make_plan: Callable[[], Plan]) -> Plan:
    """Make a plan and execute it under the lock of the scope.

    Args:
        scheduler: The scheduler.
        make_plan: Returns the plan; called again if the host changed meanwhile.

    Returns:
        The plan that was executed.

    Raises:
        JobError: The plan was rejected or failed; nothing was changed.
    """
    with locked(scheduler.base):
        for _ in range(_TRIES):
            plan = make_plan()
            try:
                execute(plan, scheduler.directory)
            except StalePlanError:
                continue
            changes = (*plan.contents, *plan.changed_files())
            FileTransaction().clear(one.path for one in changes if one.path.is_absolute())
            return plan
    raise JobError(
        Outcome.CANNOT_WRITE,
        msg(
            "the crontab changed right after dify-job wrote it, so another program writes it at the same time"
        ),
        msg("look at the crontab: crontab -l"),
    )


def orphans(
    schedulers: Iterable[Backend], place: Path, configured: Collection[str]
) -> list[tuple[Backend, InstalledJob]]:
    """Return the jobs that were installed from a configuration and are no longer in it.

    Args:
        schedulers: The schedulers of the scope; one that does not answer is skipped.
        place: The path of the configuration.
        configured: The jobs in the configuration.
    """
    found: list[tuple[Backend, InstalledJob]] = []
    for scheduler in schedulers:
        with contextlib.suppress(JobError):
            sources = scheduler.sources().items()
            left = [job for job, source in sources if source == str(place) and job not in configured]
            found += [(scheduler, one) for one in (scheduler.status(left) if left else ())]
    return found


# Files of the configuration


def removed_config_files(one: InstalledJob) -> list[Path]:
    """Return the managed configuration files that are removed with a job."""
    return [change.path for change in _removed_files([one]) if change.after is None]


def _removed_files(jobs: Iterable[InstalledJob]) -> tuple[FileChange, ...]:
    sources = ((Path(one.source), one.job) for one in jobs if one.source)
    return tuple(change for source, job in sources for change in managed.removals(source, job))


def _remove_leftovers(jobs: Iterable[InstalledJob]) -> Iterator[Step]:
    for source in dict.fromkeys(one.source for one in jobs if one.source):
        yield Step("remove leftovers", partial(managed.remove_leftovers, Path(source)))


def _pin(job: str) -> Step:
    """Return the step that pins the state directory of a user's job, independent of variables."""

    def do() -> None:
        try:
            pin(job)
        except OSError as error:
            raise cannot_write(Path(error.filename), error) from None

    change = StateChange(Scope.USER.base / job, access.user_name(os.geteuid()))
    return Step("pin the state", do, partial(unpin, job), (change,))


def _unpin(job: str) -> Step:
    """Return the step that unpins the state directory of a job."""
    return Step("unpin the state", partial(unpin, job), partial(pin, job))


# Rejections


def _override_errors(ready: Iterable[PreparedJob]) -> Iterator[JobError]:
    """Yield an error if a file of config.d overrides values that install would write."""
    for each in ready:
        for file in each.managed_files:
            if file.path.parent.name != "config.d" or file.after is None:
                continue
            if (later := _overruling(file, each)) is not None:
                yield JobError(
                    Outcome.CONFIG,
                    msg(
                        "some new settings of job {job} would have no effect, because {file} is read later "
                        "and sets other values",
                        job=each.job.name,
                        file=later,
                    ),
                    msg(
                        "to see which file sets each value, run: {command}",
                        command=command(
                            "dify-job",
                            "--config",
                            str(each.spec.config_path),
                            "config",
                            "show",
                            each.job.name,
                        ),
                    ),
                )


def _overruling(file: FileChange, each: PreparedJob) -> Path | None:
    own = tomllib.loads((file.after or b"").decode())["jobs"][each.job.name]
    removed = {change.path for change in each.managed_files if change.after is None}
    for later in sorted({*file.path.parent.glob("*.toml")} - removed):
        if later.stem <= file.path.stem or later.name.startswith("."):
            continue
        try:
            table = tomllib.loads(read_regular(later).decode()).get("jobs", {}).get(each.job.name, {})
        except (OSError, ValueError, RecursionError):  # jobs that need it were rejected before
            continue
        other_schedule = table.keys() & SCHEDULE_KINDS and own.keys() & SCHEDULE_KINDS
        if other_schedule or any(table.get(key, value) != value for key, value in own.items()):
            return later
    return None


def _other_installation_errors(scheduler: Backend, specs: Sequence[JobSpec]) -> Iterator[JobError]:
    """Yield an error if another scheduler, or the other scope with the same configuration, has a job."""
    places = {spec.job: str(spec.config_path) for spec in specs}
    for scope in Scope if places else ():
        same_scope = scope is scheduler.scope
        others = (
            other
            for other in visible("auto", scope.value)
            # root has one crontab for both scopes if there is no /etc/cron.d
            if not isinstance(other, UserCrontab) or not isinstance(scheduler, UserCrontab)
            if not same_scope or other.name != scheduler.name
        )
        found, scheduler_error = find_jobs(tuple(others), tuple(places))
        # Without an answer, an installed job may be hidden. Missing permission (denied) is no error here.
        if scheduler_error is not None and scheduler_error.outcome is Outcome.CANNOT_WRITE:
            yield scheduler_error
        blocking: dict[str, list[str]] = {}
        for _, one in found:
            if same_scope or one.source == places[one.job]:
                blocking.setdefault(one.backend, []).append(one.job)
        for backend, jobs in blocking.items():
            where = (
                backend
                if same_scope
                else msg("{backend} as {scope} jobs", backend=backend, scope=scope.value)
            )
            yield JobError(
                Outcome.CONFIG,
                msg(
                    "already installed with {where}: {jobs}. A second installation would run each job twice",
                    where=where,
                    jobs=join(", ", sorted(jobs)),
                ),
                msg(
                    "before you install again, uninstall: {command}",
                    command=command(
                        "dify-job",
                        "uninstall",
                        *sorted(jobs),
                        "--backend",
                        backend,
                        f"--{scope.value}",
                        needs_root=scope is Scope.SYSTEM,
                    ),
                ),
            )
