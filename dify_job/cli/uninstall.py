"""`dify-job uninstall`: remove the files that install wrote."""

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import click

from ..config.loader import load_config
from ..config.model import Config
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedulers import installation
from ..schedulers.backend import Backend
from ..schedulers.cron import CRONTAB
from ..schedulers.detect import chosen_scope, installed_jobs, visible
from ..schedulers.http_socket import HttpSocket
from ..schedulers.model import InstalledJob
from ..schedulers.reconcile import InstallResult, Plan
from ..state.directories import directories_of
from ..state.purge import jobs_with_state, purge_state
from ..state.reader import read_metrics_files
from ..system.opened_file import read_regular
from .jobs import check_names, check_not_system_jobs, config_or_none
from .options import Globals, all_option, option, pass_globals, scope_options
from .output import echo_info

_WRITABLE = re.compile(r"^ReadWritePaths=-?(.+)$", re.MULTILINE)


@click.command()
@click.argument("jobs", nargs=-1)
@all_option
@scope_options
@option(
    "--purge",
    is_flag=True,
    help=msg("Also delete the job's state: last result, history, record of a run in progress, metrics file."),
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
    """Remove the systemd units or crontab entries of the named jobs, or of all jobs with --all.

    systemd stops a run in progress, in Dify too; a run of cron continues to its end. The command works
    without the configuration. --all --purge also removes the state of jobs that were uninstalled earlier.
    """
    check_names("uninstall", jobs, all_jobs=all_jobs)
    where = chosen_scope(scope)
    backends = visible(backend, where.value)
    there = installed_jobs(backends, jobs)
    absent = sorted(set(jobs) - {one.job for _, one in there})
    check_not_system_jobs("uninstall", absent, scope, backend)
    purged = {one.job for _, one in there} | set(jobs)
    if all_jobs and purge:
        installed = {one.job for _, one in installed_jobs(visible("auto", where.value))}
        purged |= {*jobs_with_state(where.base)} - installed
    metrics = _metrics_files(options, [one for _, one in there], purged, where.base) if purge else set()
    for scheduler in backends:
        mine = [one for backend_of, one in there if backend_of is scheduler]
        unused = not scheduler.by_cron and HttpSocket(scheduler.scope).serves_none_of(scheduler.sources())
        if mine or unused:
            _uninstall(scheduler, mine, with_http=unused)
    for job in absent:
        echo_info(msg("{job}: not installed", job=job))
    if purge:
        purge_state(where.base, sorted(purged), metrics, echo_info)


def _uninstall(scheduler: Backend, jobs: Sequence[InstalledJob], *, with_http: bool) -> None:
    config_files: dict[str, list[Path]] = {}

    def plan() -> Plan:
        config_files.update((one.job, installation.removed_config_files(one)) for one in jobs)
        return installation.plan_uninstall(scheduler, jobs, with_http=with_http)

    for result in installation.apply_plan(scheduler, plan).results:
        _report(scheduler, result, config_files.get(result.job, []))


def _report(scheduler: Backend, result: InstallResult, config_files: Iterable[Path]) -> None:
    done = msg("uninstalled") if result.changed else msg("nothing removed")
    echo_info(msg("{job}: {done} ({scheduler})", job=result.job, done=done, scheduler=scheduler.name))
    for path in (*result.paths, *config_files):
        block = path == CRONTAB  # in a crontab, dify-job removes only its own block
        removed = msg("the block of job {job} in your crontab", job=result.job) if block else path
        echo_info(msg("  removed {path}", path=removed))
    for note in result.notes:
        echo_info(msg("  {note}", note=note))


def _metrics_files(
    options: Globals, there: Iterable[InstalledJob], jobs: Collection[str], base: Path
) -> set[tuple[str, Path]]:
    """Return the metrics files of jobs: from configurations, from states, and where their units can write."""
    own = config_or_none(options)
    configs: dict[str, Config | None] = dict.fromkeys(jobs, own)
    found: set[tuple[str, Path]] = set()
    sources: dict[str, Config] = {}
    for source in {one.source for one in there if one.source}:  # once, because a file can have many jobs
        with contextlib.suppress(JobError):
            sources[source] = load_config(Path(source))
    for one in there:
        configs[one.job] = sources.get(one.source, own)
        for directory in _writable_directories(one):
            found |= {(one.job, path) for path in directory.glob("*.prom")}
    for job, config in configs.items():
        path = config.jobs[job].metrics.textfile if config is not None and job in config.jobs else None
        found |= {(job, path)} if path is not None else set()
    for job in jobs:
        for directory in directories_of(job, base):
            found |= {(job, path) for path in read_metrics_files(directory)}
    return found


def _writable_directories(one: InstalledJob) -> Iterator[Path]:
    for unit in one.paths:
        if unit.suffix == ".service":
            with contextlib.suppress(OSError):
                text = read_regular(unit).decode(errors="replace")
                yield from (Path(path) for path in _WRITABLE.findall(text.replace("%%", "%")))
