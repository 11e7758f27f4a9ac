"""`dify-job uninstall`: remove what install made, and nothing else."""

import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import click

from ..config.loader import load_config
from ..exit_codes import Outcome
from ..messages.errors import JobError, disk_error_hint
from ..messages.message import join, msg
from ..schedulers import installation
from ..schedulers.backend import InstalledJob, Scope
from ..schedulers.detect import chosen_scope, installed_jobs, visible
from ..schedulers.http_socket import HttpSocket
from ..schedulers.reconcile import Backend, InstallResult, Plan
from ..state.places import places_of, private_of, unpin
from ..state.reader import read_metrics_files
from ..state.store import OWN_FILES, JobState, LockHeldError
from ..system.secure_dir import Directory
from ..system.transaction import locked
from .jobs import check_names, check_not_roots, try_config
from .options import Globals, all_option, pass_globals, scope_options
from .output import reporter

_WRITABLE = re.compile(r"^ReadWritePaths=-?(.+)$", re.MULTILINE)
_LARGEST_METRICS = 1024 * 1024  # bytes; a file of dify-job has two thousand


@click.command()
@click.argument("jobs", nargs=-1)
@all_option
@scope_options
@click.option(
    "--purge",
    is_flag=True,
    help=msg("Also remove the state: last result, history, in-flight record, metrics file."),
)
@pass_globals
def uninstall(
    options: Globals,
    /,
    *,
    jobs: tuple[str, ...],
    all_jobs: bool,
    scope: str | None,
    backend: str,
    purge: bool,
) -> None:
    """Remove the units or crontab entries of the jobs that are named, or of all with --all.

    A run in progress is stopped, in Dify too. It works without the configuration. --all --purge
    also removes the state of jobs that were uninstalled earlier.
    """
    check_names("uninstall", jobs, all_jobs=all_jobs)
    where = chosen_scope(scope)
    backends = visible(backend, where.value)
    there = installed_jobs(backends, jobs)
    absent = sorted(set(jobs) - {one.job for _, one in there})
    check_not_roots("uninstall", absent, scope, backend)
    purged = {one.job for _, one in there} | set(jobs)
    if all_jobs:
        installed = {one.job for _, one in installed_jobs(visible("auto", where.value))}
        purged |= {*_jobs_with_state(where.base)} - installed
    metrics = _metrics_files(options, [one for _, one in there], purged, where.base) if purge else set()
    for scheduler in backends:
        mine = [one for backend_of, one in there if backend_of is scheduler]
        with_http = not scheduler.by_cron and _ends_http(scheduler, mine, all_jobs=all_jobs)
        if mine or with_http:
            _uninstall(options, scheduler, mine, with_http=with_http)
    for job in absent:
        reporter(options)(msg("{job}: not installed", job=job))
    if where is Scope.USER:
        for _, one in there:
            unpin(one.job)
    if purge:
        _purge(options, where, sorted(purged), metrics)


def _uninstall(
    options: Globals, scheduler: Backend, jobs: Sequence[InstalledJob], *, with_http: bool
) -> None:
    config_files: dict[str, list[Path]] = {}

    def plan() -> Plan:
        config_files.update((one.job, installation.removed_config_files(one)) for one in jobs)
        return installation.plan_uninstall(scheduler, jobs, with_http=with_http)

    say = reporter(options)
    for result in installation.carry_out(scheduler, plan).results:
        _report(say, scheduler, result, config_files.get(result.job, []))


def _report(
    say: Callable[[str], None], scheduler: Backend, result: InstallResult, config_files: Iterable[Path]
) -> None:
    done = msg("uninstalled") if result.changed else msg("left as it is")
    say(msg("{job}: {done} ({scheduler})", job=result.job, done=done, scheduler=scheduler.name))
    for path in (*result.paths, *config_files):
        say(msg("  removed {path}", path=path))
    for note in result.notes:
        say(msg("  {note}", note=note))


def _ends_http(scheduler: Backend, going: Sequence[InstalledJob], *, all_jobs: bool) -> bool:
    """Return whether the HTTP interface goes with the last of its jobs."""
    served = set(HttpSocket(scheduler.scope).jobs())
    left = {*scheduler.sources()} - {one.job for one in going}
    return bool(served) and (all_jobs or not served & left)


# State


def _jobs_with_state(base: Path) -> Iterator[str]:
    """Yield the names below the base that a job left its state in."""
    with contextlib.suppress(OSError):
        for path in base.iterdir():
            if path.is_dir() and any((path / name).exists() for name in OWN_FILES):
                yield path.name


def _metrics_files(
    options: Globals, there: Iterable[InstalledJob], jobs: Collection[str], base: Path
) -> set[tuple[str, Path]]:
    """Return metrics files by job: those of configurations and states, and those where its unit can write."""
    own = try_config(options)
    configs = dict.fromkeys(jobs, own)
    found: set[tuple[str, Path]] = set()
    for one in there:
        if one.source:
            with contextlib.suppress(JobError):
                configs[one.job] = load_config(Path(one.source))
        for directory in _writable_directories(one):
            found |= {(one.job, path) for path in directory.glob("*.prom")}
    for job, config in configs.items():
        path = config.jobs[job].metrics.textfile if config is not None and job in config.jobs else None
        found |= {(job, path)} if path is not None else set()
    for job in jobs:
        for directory in places_of(job, base):
            found |= {(job, path) for path in read_metrics_files(directory)}
    return found


def _writable_directories(one: InstalledJob) -> Iterator[Path]:
    for unit in one.paths:
        if unit.suffix == ".service":
            with contextlib.suppress(OSError):
                text = unit.read_text(encoding="utf-8", errors="replace")
                yield from (Path(path) for path in _WRITABLE.findall(text.replace("%%", "%")))


def _purge(options: Globals, scope: Scope, jobs: Sequence[str], metrics: Iterable[tuple[str, Path]]) -> None:
    """Remove what can be removed. Raises JobError for the rest (cannot-write, busy)."""
    say, base = reporter(options), scope.base
    failures: list[OSError] = []
    holders: dict[str, str] = {}

    def remove(path: Path, how: Callable[[], bool]) -> None:
        with _collecting(failures, path):
            if how():
                say(msg("  removed {path}", path=path))

    with locked(base):
        for job in jobs:
            places = places_of(job, base)
            with _collecting(failures, base / job):
                if (holder := _holder(places)) is not None:
                    holders[job] = holder
                    continue
                for path in places:  # StateDirectory= of a dynamic user is a link
                    remove(path, partial(_remove, path))
        with contextlib.suppress(OSError):  # with the last job
            private_of(base).rmdir()
        for job, path in sorted(metrics):
            if job not in holders:
                remove(path, partial(_remove_metrics, path, job))
    _report_what_is_left(base, failures, holders)


def _report_what_is_left(base: Path, failures: Sequence[OSError], holders: Mapping[str, str]) -> None:
    """Raise JobError (cannot-write, busy) for what was not removed."""
    texts = [
        msg("{path} could not be removed: {reason}", path=error.filename, reason=error.strerror)
        for error in failures
    ]
    if holders:
        busy = ", ".join(f"{job} ({holder})" for job, holder in holders.items())
        texts.append(msg("the state of {busy} is in use by a run, and was left", busy=busy))
    if failures:
        look = msg("look at it: ls -la {base}", base=shlex.quote(str(base)))
        raise JobError(Outcome.CANNOT_WRITE, join("; ", texts), disk_error_hint(failures[0], base, look))
    if holders:
        raise JobError(Outcome.BUSY, join("; ", texts), msg("give the same command when it has ended"))


@contextlib.contextmanager
def _collecting(failures: list[OSError], path: Path) -> Iterator[None]:
    """Go on after an error within, which gets a whole path."""
    try:
        yield
    except OSError as error:
        name = str(error.filename or "")  # of what is removed by descriptor it is relative
        error.filename = str(path if name in ("", path.name) else path / name)
        failures.append(error)


def _holder(places: Iterable[Path]) -> str | None:
    """Return the run that holds a job's state: without the lock a second one could begin. Raises OSError."""
    for directory in [path for path in places if path.is_dir()][:1]:
        with contextlib.closing(JobState(directory)) as state:
            try:
                state.lock()
            except LockHeldError as locked_by:
                return locked_by.holder
    return None


def _remove(path: Path) -> bool:
    """Remove a directory or a link; False where there is none. Raises OSError when all else in it is gone."""
    if path.is_symlink():
        path.unlink()
        return True
    if not path.is_dir():
        return False
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        shutil.rmtree(path)  # gives the reason
    return True


def _remove_metrics(path: Path, job: str) -> bool:
    """Remove a metrics file if runs of the job wrote it.

    A user whom root must not trust can have named it: nothing but a plain file with figures of this job goes,
    and the directory cannot be exchanged meanwhile. Raises OSError where it cannot be removed.
    """
    try:
        directory = Directory(path.parent)
    except OSError:
        return False
    with contextlib.closing(directory):
        try:
            with os.fdopen(directory.open(path.name, os.O_RDONLY), "rb") as file:
                content = file.read(_LARGEST_METRICS)
        except OSError:
            return False
        is_of_job = content.startswith(b"# HELP dify_job_") and f'job="{job}"'.encode() in content
        if is_of_job:
            directory.remove(path.name)
        return is_of_job
