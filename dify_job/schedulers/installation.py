"""Install and uninstall jobs: their units or crontab lines together with the files of their configuration."""

import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import managed
from ..config.model import Config, Job, KeySource, ScheduleConfig
from ..config.schema import SCHEDULE_KINDS
from ..config.secrets import read_key
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import command
from ..schedule import schedule_lines
from ..system.transaction import FileTransaction, locked
from .backend import InstalledJob, Scope
from .detect import config_place, installed_jobs, visible
from .http_socket import HttpSocket, HttpSocketConfig
from .job_spec import JobSpec, job_spec
from .reconcile import (
    Action,
    Backend,
    ChangeFiles,
    FileChange,
    ForgetConfig,
    InstallOptions,
    Plan,
    StalePlanError,
    execute,
)
from .systemd import Systemd

_TRIES = 3


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """One job ready to be installed.

    Attributes:
        job: As it will be configured.
        spec: What a scheduler needs of it.
        managed_files: The files of the configuration that say so.

    """

    job: Job
    spec: JobSpec
    managed_files: tuple[managed.ManagedFile, ...]


def prepare(
    config: Config, job: Job, flags: ScheduleConfig | None, run_as: str | None, scope: Scope
) -> PreparedJob:
    """Return the job as install will leave it configured; nothing is written yet."""
    place = config_place(config, scope)
    files: list[managed.ManagedFile] = []
    job = replace(job, run_as=run_as or job.run_as)
    key = read_key(job)
    if config.path is None and not place.exists():
        files.append(managed.stub(place))
    if job.key.encrypted is not None:
        job = replace(job, key=replace(job.key, encrypted=job.key.encrypted.absolute()))
    elif job.key.file is None:  # it stands in this shell or in an env file, where no timer finds it
        files += [
            managed.job_file(place, job, whole=config.path is None),
            managed.key_file(place, job.name, key),
        ]
        job = replace(job, key=KeySource(file=managed.key_path(place, job.name)))
    else:
        job = replace(job, key=replace(job.key, file=job.key.file.absolute()))
    times = job.schedule
    if flags is not None:
        stored = {"jitter": times.jitter, "catch_up": times.catch_up, "max_late": times.max_late}
        times = replace(flags, **stored, timezone=flags.timezone or times.timezone)  # type: ignore[arg-type]
    if flags is not None or run_as is not None or config.path is None:
        job = replace(job, schedule=times)
        files.append(managed.schedule_file(place, job.name, job.times, run_as))
    for file in files:
        managed.check_place(file, job.name)
    return PreparedJob(job, job_spec(job, place), tuple(files))


def plan_install(
    scheduler: Backend,
    ready: Sequence[PreparedJob],
    place: Path,
    options: InstallOptions,
    *,
    http: HttpSocketConfig | None = None,
    remove: Sequence[InstalledJob] = (),
) -> Plan:
    """Return the plan that installs jobs: what `install` executes, and `--check` and `--diff` print.

    Args:
        scheduler: The scheduler to install with.
        ready: The jobs.
        place: The config that units name.
        options: What the caller wants.
        http: The HTTP interface to install, too.
        remove: Jobs to uninstall in the same step.

    """
    specs = [each.spec for each in ready]
    removed = [one.job for one in remove]
    if isinstance(scheduler, Systemd):
        socket = HttpSocket(scheduler.scope)
        units = socket.desired(http) if http is not None else None
        plan = scheduler.plan_install(specs, options, removed, units)
        refusals = tuple(socket.refusals(http)) if http is not None else ()
    else:
        plan, refusals = scheduler.plan_install(specs, options, removed), ()
    first = [
        *_installed_elsewhere(scheduler, place, [spec.job for spec in specs]),
        *_missing_records(scheduler, ready),
        *_overruled(place, ready),
    ]
    config_files = [change for each in ready for file in each.managed_files if (change := _change(file))]
    contents = [_content(file) for each in ready for file in each.managed_files]
    before = (ChangeFiles(tuple(config_files)),) if config_files else ()
    return Plan(
        actions=(*before, *_forget_files(remove), *plan.actions, *_forget_directories(remove)),
        refusals=(*first, *plan.refusals, *refusals),
        results=plan.results,
        contents=(*contents, *plan.contents),
    )


def plan_uninstall(scheduler: Backend, installed: Sequence[InstalledJob], *, with_http: bool = False) -> Plan:
    """Return the plan that removes jobs, with what install wrote next to their configuration.

    Args:
        scheduler: The scheduler that has them.
        installed: The jobs.
        with_http: Remove the HTTP interface of the scope, too.

    """
    jobs = [one.job for one in installed]
    if isinstance(scheduler, Systemd):
        http = HttpSocket(scheduler.scope).desired(None) if with_http else None
        plan = scheduler.plan_uninstall(jobs, http)
    else:
        plan = scheduler.plan_uninstall(jobs)
    # The files of the configuration first: an interrupted uninstall is found by the units or crontab lines.
    actions = (*_forget_files(installed), *plan.actions, *_forget_directories(installed))
    return replace(plan, actions=actions)


def carry_out(scheduler: Backend, make_plan: Callable[[], Plan]) -> Plan:
    """Make a plan and execute it, while no other install or uninstall of the scope does.

    Args:
        scheduler: The scheduler.
        make_plan: Called again where something else changed the host meanwhile.

    Returns:
        The plan that was executed.

    Raises:
        JobError: Refused or failed; then nothing was changed.

    """
    with locked(scheduler.base):
        for _ in range(_TRIES):
            plan = make_plan()
            try:
                execute(plan, scheduler.manager, scheduler.directory)
            except StalePlanError:
                continue
            FileTransaction().clear(path for path in _paths_of(plan) if path.is_absolute())
            return plan
    raise JobError(
        Outcome.CANNOT_WRITE,
        msg("the crontab does not keep what is written to it; something else writes it at the same time"),
        msg("look at it: crontab -l"),
    )


def orphans(scheduler: Backend, place: Path, configured: Collection[str]) -> list[InstalledJob]:
    """Return what was installed from this config, and is no longer in it."""
    sources = scheduler.sources().items()
    left = [job for job, source in sources if source == str(place) and job not in configured]
    return scheduler.status(left) if left else []


def _paths_of(plan: Plan) -> Iterator[Path]:
    yield from (one.path for one in plan.contents)
    yield from (one.path for one in plan.changed_files())


# Files of the configuration


def _content(file: managed.ManagedFile) -> FileChange:
    try:
        before = file.path.read_bytes()
    except OSError:
        before = None
    return FileChange(path=file.path, before=before, after=file.content, mode=file.mode, secret=file.secret)


def _change(file: managed.ManagedFile) -> FileChange | None:
    change = _content(file)
    return change if change.before != change.after else None


def config_files(one: InstalledJob) -> list[Path]:
    """Return the files that install wrote next to the configuration of a job."""
    return managed.kept(Path(one.source), one.job) if one.source else []


def _forget_files(jobs: Iterable[InstalledJob]) -> Iterator[Action]:
    for one in jobs:
        if paths := config_files(one):
            yield ChangeFiles(
                tuple(FileChange(path=path, before=path.read_bytes(), after=None) for path in paths)
            )


def _forget_directories(jobs: Iterable[InstalledJob]) -> Iterator[Action]:
    for one in jobs:
        if one.source:
            yield ForgetConfig(Path(one.source), one.job)


# Refusals


def _missing_records(scheduler: Backend, ready: Iterable[PreparedJob]) -> Iterator[JobError]:
    """Yield a refusal for each job whose schedule needs state, and that keeps none."""
    for each in ready:
        ticks = schedule_lines.ticks_of(each.spec.schedule, by_cron=scheduler.by_cron)
        if ticks.if_due and each.job.state == "none":
            yield JobError(
                Outcome.CONFIG,
                msg(
                    "job {name} keeps no state, and its schedule needs a record of its last run: {why}",
                    name=each.job.name,
                    why=ticks.why,
                ),
                msg('take state = "none" out of the job'),
            )


def _overruled(place: Path, ready: Iterable[PreparedJob]) -> Iterator[JobError]:
    """Yield a refusal where a file of config.d that is read later sets other values than install would."""
    for each in ready:
        for file in each.managed_files:
            if file.path.parent.name == "config.d" and _is_overruled(file, each.job.name):
                yield JobError(
                    Outcome.CONFIG,
                    msg(
                        "a later file in {directory} sets other values for job {job}",
                        directory=file.path.parent,
                        job=each.job.name,
                    ),
                    msg(
                        "{command} names it",
                        command=command("dify-job", "--config", str(place), "config", "show", each.job.name),
                    ),
                )


def _is_overruled(file: managed.ManagedFile, job: str) -> bool:
    own = tomllib.loads(file.content.decode())["jobs"][job]
    for later in sorted(file.path.parent.glob("*.toml")):
        if later.stem <= file.path.stem or later.name.startswith("."):
            continue
        try:
            table = tomllib.loads(later.read_text(encoding="utf-8")).get("jobs", {}).get(job, {})
        except (OSError, ValueError, RecursionError):  # jobs that need it were refused before
            continue
        other_schedule = table.keys() & SCHEDULE_KINDS and own.keys() & SCHEDULE_KINDS
        if other_schedule or any(table.get(key, value) != value for key, value in own.items()):
            return True
    return False


def _installed_elsewhere(scheduler: Backend, place: Path, jobs: Sequence[str]) -> Iterator[JobError]:
    """Yield a refusal where another scheduler has a job, or the other scope one of the same config."""
    for scope in Scope:
        same_scope = scope is scheduler.scope
        others = (
            other for other in visible("auto", scope.value) if not same_scope or other.name != scheduler.name
        )
        for _, one in installed_jobs(tuple(others), tuple(jobs)):
            if same_scope or one.source == str(place):
                what = (
                    one.backend
                    if same_scope
                    else msg("{backend} as a {scope} job", backend=one.backend, scope=scope.value)
                )
                yield JobError(
                    Outcome.CONFIG,
                    msg(
                        "job {job} is installed with {what} already; with both it would run twice",
                        job=one.job,
                        what=what,
                    ),
                    msg(
                        "{command}, or leave it as it is",
                        command=command(
                            "dify-job",
                            "uninstall",
                            one.job,
                            "--backend",
                            one.backend,
                            f"--{scope.value}",
                            needs_root=scope is Scope.SYSTEM,
                        ),
                    ),
                )
