"""`dify-job uninstall`: remove what install made, and nothing else."""

import contextlib
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import click

from ..config.loader import load_config
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedulers import installation
from ..schedulers.backend import InstalledJob, Scope
from ..schedulers.detect import chosen_scope, installed_jobs, visible
from ..schedulers.http_socket import HttpSocket
from ..schedulers.reconcile import Backend, InstallResult, Plan
from ..state.store import OWN_FILES, JobState, LockHeldError, places_of, private_of, unpin
from ..system.transaction import locked, removing
from .common_options import check_names, check_not_roots, reporter, scope_options, try_config
from .options import Globals


@click.command()
@click.argument("jobs", nargs=-1)
@click.option("--all", "all_jobs", is_flag=True, help=msg("All jobs of yours, or of the machine as root."))
@scope_options
@click.option(
    "--purge",
    is_flag=True,
    help=msg("Also remove the state: last result, history, in-flight record, metrics file."),
)
@click.pass_context
def uninstall(
    ctx: click.Context,
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
    options = ctx.ensure_object(Globals)
    check_names("uninstall", jobs, all_jobs=all_jobs)
    where = chosen_scope(scope)
    backends = visible(backend, where.value)
    there = installed_jobs(backends, jobs)
    absent = sorted(set(jobs) - {one.job for _, one in there})
    check_not_roots("uninstall", absent, scope, backend)
    metrics = [*_metrics_files(options, [one for _, one in there], jobs, all_jobs=all_jobs)] if purge else []
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
        purged = {one.job for _, one in there} | set(jobs)
        if all_jobs:
            still_installed = {one.job for _, one in installed_jobs(visible("auto", where.value))}
            purged |= {*_jobs_with_state(where.base)} - still_installed
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
    options: Globals, there: Iterable[InstalledJob], jobs: Iterable[str], *, all_jobs: bool
) -> Iterator[Path]:
    """Yield the files of metrics that the configurations of the jobs name, and that runs of them wrote."""
    sources = {one.job: Path(one.source) for one in there if one.source}
    own = try_config(options)
    named = dict.fromkeys(jobs, own) | dict.fromkeys(own.jobs if own and all_jobs else (), own)
    for job, source in sources.items():
        with contextlib.suppress(JobError):
            named[job] = load_config(source)
    for job, config in named.items():
        path = config.jobs[job].metrics.textfile if config is not None and job in config.jobs else None
        if path is not None and _is_of(path, job):
            yield path


def _is_of(path: Path, job: str) -> bool:
    try:
        return (
            path.read_bytes().startswith(b"# HELP dify_job_") and f'job="{job}"'.encode() in path.read_bytes()
        )
    except OSError:
        return False


def _purge(options: Globals, scope: Scope, jobs: Sequence[str], metrics: Iterable[Path]) -> None:
    say, base = reporter(options), scope.base
    with locked(base), removing(base, msg("look at it: ls -la {base}", base=shlex.quote(str(base)))):
        busy = {job: holder for job in jobs if (holder := _purge_job(job, base, say)) is not None}
        for path in metrics:
            path.unlink(missing_ok=True)
            say(msg("  removed {path}", path=path))
    if busy:
        raise JobError(
            Outcome.BUSY,
            msg(
                "the state of {busy} is in use by a run, and was left",
                busy=", ".join(f"{job} ({holder})" for job, holder in busy.items()),
            ),
            msg("give the same command when it has ended"),
        )


def _purge_job(job: str, base: Path, say: Callable[[str], None]) -> str | None:
    """Remove a job's state; where a run holds it, its holder: without the lock a second run could begin."""
    places = places_of(job, base)
    for directory in [path for path in places if path.is_dir()][:1]:
        with contextlib.closing(JobState(directory)) as state:
            try:
                state.lock()
            except LockHeldError as locked_by:
                return locked_by.holder
    for path in places:  # StateDirectory= of a dynamic user is a link
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            continue
        say(msg("  removed {path}", path=path))
    with contextlib.suppress(OSError):  # with the last job
        private_of(base).rmdir()
    return None
