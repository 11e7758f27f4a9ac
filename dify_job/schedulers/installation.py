"""Bringing jobs to this host: what `install` shares with the original system's `start_scheduler`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import managed
from ..config.loader import load_config
from ..config.model import Config, Job, KeySource, ScheduleConfig
from ..config.secrets import read_key
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedule import schedule_lines
from ..system.transaction import FileTransaction, locked, transaction
from .backend import Backend, InstalledJob, InstallOptions, InstallResult, Scope
from .detect import config_place, installed_jobs, visible
from .job_spec import JobSpec, job_spec


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """One job ready to be installed: as it will be configured, its plan, and the files that say so."""

    job: Job
    plan: JobSpec
    managed_files: tuple[managed.ManagedFile, ...]


def prepare(
    config: Config, job: Job, flags: ScheduleConfig | None, run_as: str | None, scope: Scope
) -> PreparedJob:
    """The job as install will leave it configured; nothing is written yet."""
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
        kept = {"jitter": times.jitter, "catch_up": times.catch_up, "max_late": times.max_late}
        times = replace(flags, **kept, timezone=flags.timezone or times.timezone)  # type: ignore[arg-type]
    if flags is not None or run_as is not None or config.path is None:
        job = replace(job, schedule=times)
        files.append(managed.schedule_file(place, job.name, job.times, run_as))
    for file in files:
        managed.check_place(file, job.name)
    return PreparedJob(job, job_spec(job, place), tuple(files))


def _check_record(job: Job, plan: JobSpec, *, by_cron: bool) -> None:
    ticks = schedule_lines.ticks_of(plan.schedule, by_cron=by_cron)
    if ticks.if_due and job.state == "none":
        raise JobError(
            Outcome.CONFIG,
            msg(
                "job {name} keeps no state, and its schedule needs a record of its last run: {why}",
                name=job.name,
                why=ticks.why,
            ),
            msg('take state = "none" out of the job'),
        )


def bring(
    scheduler: Backend, ready: Sequence[PreparedJob], place: Path, wishes: InstallOptions
) -> list[InstallResult]:
    """Write what the jobs need and install them; all or nothing. place: the config that units name.

    Raises JobError, and then nothing is changed.
    """
    with locked(scheduler.scope.base):
        _refuse_second_time(scheduler, place, [each.plan.job for each in ready])
        for each in ready:
            _check_record(each.job, each.plan, by_cron=scheduler.by_cron)
        hint = msg("install as root, or with --user and a config of your own")
        with transaction(place, hint) as writer:
            writer.clear(file.path for each in ready for file in each.managed_files)
            for each in ready:
                _write_own(writer, each)
            _check_effect(place, ready)
            return scheduler.install([each.plan for each in ready], wishes)


def take_away(
    scheduler: Backend, installed: Sequence[InstalledJob]
) -> list[tuple[InstallResult, list[Path]]]:
    """Uninstall jobs, and remove what install kept beside their config; with each the files that went."""
    with locked(scheduler.scope.base):
        changes = scheduler.uninstall([one.job for one in installed])
        return [
            (change, managed.forget(Path(one.source), one.job) if one.source else [])
            for change, one in zip(changes, installed, strict=True)
        ]


def orphans(scheduler: Backend, place: Path, configured: Collection[str]) -> list[InstalledJob]:
    """What was installed from this config, and is no longer in it."""
    sources = scheduler.sources().items()
    left = [job for job, source in sources if source == str(place) and job not in configured]
    return scheduler.status(left) if left else []


def _write_own(writer: FileTransaction, ready: PreparedJob) -> None:
    for file in ready.managed_files:
        if file.path.exists() and file.path.read_bytes() == file.content:
            continue
        if file.secret:
            writer.directory(file.path.parent, 0o700)
        writer.put(file.path, file.content, file.mode)


def _check_effect(place: Path, ready: Sequence[PreparedJob]) -> None:
    """What was written must be what `run` will read: another file in config.d can say otherwise."""
    written = [each for each in ready if each.managed_files]
    if not written:
        return
    jobs = load_config(place).jobs
    for each in written:
        if job_spec(jobs[each.job.name], place).fingerprint != each.plan.fingerprint:
            raise JobError(
                Outcome.CONFIG,
                msg(
                    "a later file in {value} sets other values for job {name}",
                    value=place.parent / "config.d",
                    name=each.job.name,
                ),
                msg("dify-job --config {place} config show {name} names it", place=place, name=each.job.name),
            )


def _refuse_second_time(scheduler: Backend, place: Path, jobs: Sequence[str]) -> None:
    """What another scheduler has already would run twice; in the other scope, what has the same config."""
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
                    else msg("{backend} as a {value} job", backend=one.backend, value=scope.value)
                )
                there = msg(
                    "{sudo}dify-job uninstall {job} --backend {backend} --{value}",
                    sudo=scope.sudo,
                    job=one.job,
                    backend=one.backend,
                    value=scope.value,
                )
                raise JobError(
                    Outcome.CONFIG,
                    msg(
                        "job {job} is installed with {what} already; with both it would run twice",
                        job=one.job,
                        what=what,
                    ),
                    msg("{there}, or leave it as it is", there=there),
                )
