"""`dify-job install`: install the schedules of the configuration with systemd or cron."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from ..checks.context import HostContext, store_forms
from ..checks.probes import AppProbes
from ..checks.registry import check_prepared
from ..config.loader import load_config, pick, pick_all
from ..config.model import Config, Job
from ..config.secrets import read_token
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..schedulers import installation
from ..schedulers.backend import Backend, InstallOptions
from ..schedulers.detect import chosen_backend, chosen_scope, find_jobs, unit_config_path, visible
from ..schedulers.http_socket import OWNER as HTTP
from ..schedulers.http_socket import HttpSocket, HttpSocketConfig
from ..schedulers.installation import PreparedJob
from ..schedulers.model import InstalledJob, Scope
from ..schedulers.reconcile import Plan
from . import install_report
from .arguments import schedule_of_flags
from .options import (
    DEFAULT_HTTP_LISTEN,
    Globals,
    http_options,
    option,
    pass_globals,
    schedule_options,
    scope_options,
)
from .output import echo_err, echo_info

_SERVER_TIMEOUT = 5.0  # seconds for the probes of all servers


@click.command()
@click.argument("jobs", nargs=-1)
@schedule_options
@scope_options
@http_options
@option(
    "--run-as",
    metavar="USER",
    help=msg("Run as USER. Default: a dynamic user under systemd, root under cron."),
)
@option("--dry-run", is_flag=True, help=msg("Print the complete unit or crontab files; write nothing."))
@option(
    "--diff",
    "as_diff",
    is_flag=True,
    help=msg("Print the differences from the installed files; write nothing."),
)
@option("--check", is_flag=True, help=msg("Write nothing; exit with 1 if the host is not as configured."))
@option("--prune", is_flag=True, help=msg("Also uninstall jobs that this configuration no longer contains."))
@option(
    "--installed",
    is_flag=True,
    help=msg("Install again only the jobs that are installed, each with its current scheduler."),
)
@option("--start/--no-start", default=None, help=msg("Also enable paused jobs / install new jobs disabled."))
@option("--overwrite-edits", is_flag=True, help=msg("Overwrite installed files that were edited by hand."))
@pass_globals
def install(
    options: Globals,
    /,
    *,
    jobs: tuple[str, ...],
    every: str | None,
    calendar: tuple[str, ...],
    cron: str | None,
    timezone: str | None,
    scope: str | None,
    backend: str,
    run_as: str | None,
    dry_run: bool,
    as_diff: bool,
    check: bool,
    prune: bool,
    installed: bool,
    start: bool | None,
    overwrite_edits: bool,
    http: bool,
    http_listen: str,
    http_token_file: Path | None,
) -> int:
    """Install the systemd timers or crontab entries of the named jobs, or of all jobs in the configuration.

    Installing starts no run. Installing again updates only what changed.
    """
    now, where = datetime.now(UTC), chosen_scope(scope)
    config = load_config(options.config_path, options.env_file, with_lines=True)
    place = unit_config_path(config, where)
    schedule = schedule_of_flags(every, calendar, cron, timezone)
    for_one = schedule is not None or run_as is not None
    backends = visible(backend, where.value)
    chosen: Sequence[tuple[Backend, Sequence[Job]]]
    if installed:
        _check_all(jobs, for_one=for_one)
        chosen = _installed_jobs(backends, place, config)
    else:
        none = prune and not (jobs or config.names)
        chosen = [(chosen_backend(backend, where), [] if none else pick_all(config, jobs))]
        if for_one:
            _check_one(chosen[0][1])
    if start is None and config.auto_start is False:
        start = False
    _check_http_options(http_listen, http_token_file, http=http)
    orphans = [] if config.broken_files else installation.orphans(backends, place, config.names)
    requests = [
        _Request(
            scheduler=scheduler,
            config=config,
            place=place,
            ready=[installation.prepare(config, job, schedule, run_as, where) for job in of_scheduler],
            options=InstallOptions(start=start, overwrite_edits=overwrite_edits),
            http=_http_config(of_scheduler, scheduler, place, http_listen, http_token_file)
            if http and of_scheduler
            else None,
            orphans=[one for other, one in orphans if other.name == scheduler.name],
            prune=prune,
        )
        for scheduler, of_scheduler in _with_others(chosen, dict(orphans))
    ]
    if dry_run or as_diff or check:
        return _preview(requests, now, dry_run=dry_run, diff=as_diff, check=check)
    for warning in config.warnings:
        echo_err(msg("dify-job: {message}", message=warning))
    if not requests:
        echo_info(msg("no job of this configuration is installed"))
    contexts = _check(requests, now)
    if len(requests) > 1:  # none is executed if one of them is rejected
        for request in requests:
            request.plan().check()
    for request in requests:
        plan = installation.apply_plan(request.scheduler, request.plan)
        _report(request, plan, now, quiet=options.quiet)
    store_forms(contexts)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The jobs to install with one scheduler.

    Attributes:
        orphans: Jobs that were installed from this configuration and are no longer in it.
        prune: Uninstall the orphans.
    """

    scheduler: Backend
    config: Config
    place: Path
    ready: Sequence[PreparedJob]
    options: InstallOptions
    http: HttpSocketConfig | None
    orphans: Sequence[InstalledJob]
    prune: bool

    def plan(self) -> Plan:
        """Compare the request with the host."""
        remove = self.orphans if self.prune else ()
        return installation.plan_install(
            self.scheduler, self.ready, self.options, http=self.http, remove=remove
        )


def _preview(requests: Sequence[_Request], now: datetime, *, dry_run: bool, diff: bool, check: bool) -> int:
    """Print the plan and return the exit status. Raises the JobError with which install would end."""
    try:
        _check(requests, now)
    except JobError:
        with contextlib.suppress(JobError):  # the check is the first error of install
            _print_plans(requests, dry_run=dry_run, diff=diff)
        raise
    plans = _print_plans(requests, dry_run=dry_run, diff=diff)
    for plan in plans:
        plan.check()
    return 1 if check and any(plan.changes() for plan in plans) else 0


def _print_plans(requests: Sequence[_Request], *, dry_run: bool, diff: bool) -> list[Plan]:
    plans = [request.plan() for request in requests]
    for request, plan in zip(requests, plans, strict=True):
        for one in request.orphans if request.prune else ():
            place = request.place
            echo_info(
                msg(
                    "{job} is no longer in the configuration {place}, and would be uninstalled",
                    job=one.job,
                    place=place,
                )
            )
        install_report.print_plan(plan, dry_run=dry_run, diff=diff)
    return plans


def _with_others(
    chosen: Sequence[tuple[Backend, Sequence[Job]]], others: Iterable[Backend]
) -> Iterator[tuple[Backend, Sequence[Job]]]:
    """Yield the jobs of each scheduler, and none for each of the others."""
    yield from chosen
    names = {scheduler.name for scheduler, _ in chosen}
    yield from ((other, ()) for other in others if other.name not in names)


def _check_http_options(listen: str, token_file: Path | None, *, http: bool) -> None:
    if not http and (token_file is not None or listen != DEFAULT_HTTP_LISTEN):
        raise JobError(
            Outcome.USAGE,
            msg("--http-listen and --http-token-file need --http"),
            msg("add --http, or leave out --http-listen and --http-token-file"),
        )


def _http_config(
    jobs: Sequence[Job], scheduler: Backend, place: Path, listen: str, token_file: Path | None
) -> HttpSocketConfig:
    """Return the HTTP interface of the flags. Raises JobError if it cannot be served."""
    if scheduler.by_cron:
        raise JobError(
            Outcome.CONFIG,
            msg("--http works only with the systemd back end"),
            msg("leave out --http, or use --backend systemd"),
        )
    if token_file is not None:
        token_file = token_file.absolute()
        read_token(token_file)
    caller = int(os.environ.get("SUDO_UID", "0")) if scheduler.scope is Scope.SYSTEM else os.getuid()
    config = HttpSocketConfig(
        listen=listen,
        jobs=[job.name for job in jobs],
        config_path=place,
        python=Path(sys.executable),
        uid=caller or None,
        token_file=token_file,
    )
    HttpSocket(scheduler.scope).render(config)
    return config


def _check(requests: Iterable[_Request], now: datetime) -> list[HostContext]:
    probes, seen = AppProbes(_SERVER_TIMEOUT), list[HostContext]()
    for request in requests:
        seen += check_prepared(request.config, request.scheduler, request.ready, now, probes)
    return seen


def _check_one(jobs: Sequence[Job]) -> None:
    if len(jobs) != 1:
        raise JobError(
            Outcome.USAGE,
            msg("options for a schedule or a user apply to one job, so name exactly one"),
            command("dify-job", "install", "JOB"),
        )


def _check_all(jobs: Sequence[str], *, for_one: bool) -> None:
    if jobs or for_one:
        raise JobError(
            Outcome.USAGE,
            msg("--installed takes no job names, no schedule and no user"),
            msg("remove --installed, or remove the job names, --run-as and the options of the schedule"),
        )


def _installed_jobs(
    backends: Iterable[Backend], place: Path, config: Config
) -> list[tuple[Backend, Sequence[Job]]]:
    """Return the installed jobs of this configuration by scheduler."""
    there, scheduler_error = find_jobs(tuple(backends))
    found: dict[Backend, list[Job]] = {}
    for scheduler, one in there:
        if one.source == str(place) and one.job in config.names:
            found.setdefault(scheduler, []).append(pick(config, one.job))
    if scheduler_error is not None and not found:
        raise scheduler_error
    return [*found.items()]


def _report(request: _Request, plan: Plan, now: datetime, *, quiet: bool) -> None:
    place, scope = request.place, request.scheduler.scope
    results = {result.job: result for result in plan.results}
    orphans = [one.job for one in request.orphans]
    for job in orphans if request.prune else ():
        echo_info(
            msg(
                "{job}: uninstalled, because it is no longer in the configuration {place}",
                job=job,
                place=place,
            )
        )
    if orphans and not request.prune:
        echo_info(
            msg(
                "no longer in the configuration {place}, but still installed: {jobs}. To uninstall, run: "
                "{command}",
                place=place,
                jobs=join(", ", orphans),
                command=command("dify-job", "uninstall", *orphans, needs_root=scope is Scope.SYSTEM),
            )
        )
    if request.http is not None:
        install_report.report_http_socket(request.http, scope, changed=results[HTTP].changed)
    else:
        if HTTP in (result.job for result in plan.results[len(request.ready) + len(request.orphans) :]):
            echo_info(msg("http: uninstalled, because none of its jobs is installed any more"))
        install_report.remind_of_http_socket(request.scheduler)
    # The results of the jobs come first; a job can have the name of the HTTP interface.
    reports = [
        install_report.JobReport(request.scheduler, each, result, request.config, now)
        for each, result in zip(request.ready, plan.results, strict=False)
    ]
    if quiet:
        for report in reports:
            for note in report.result.notes:
                echo_err(msg("dify-job: {job}: {note}", job=report.result.job, note=note))
    elif len(reports) == 1:
        install_report.print_one(reports[0])
    elif reports:
        install_report.print_many(reports)
