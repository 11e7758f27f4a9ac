"""`dify-job install`: install the schedules of the configuration with systemd or cron."""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from ..checks.context import HostContext, store_forms
from ..checks.probes import Servers
from ..checks.registry import check_prepared
from ..config.loader import load_config, pick, pick_all
from ..config.model import Config, Job
from ..config.secrets import read_token
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import command
from ..schedulers import installation
from ..schedulers.backend import InstalledJob, Scope
from ..schedulers.detect import chosen_backend, chosen_scope, find_jobs, unit_config_path, visible
from ..schedulers.http_socket import OWNER as HTTP
from ..schedulers.http_socket import HttpSocket, HttpSocketConfig
from ..schedulers.installation import PreparedJob
from ..schedulers.reconcile import Backend, InstallOptions, Plan
from . import install_report
from .arguments import schedule_of_flags
from .options import (
    DEFAULT_HTTP_LISTEN,
    Globals,
    http_options,
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
@click.option(
    "--run-as",
    metavar="USER",
    help=msg("Run as USER. Default: a dynamic user under systemd, root under cron."),
)
@click.option("--dry-run", is_flag=True, help=msg("Print the complete unit or crontab files; write nothing."))
@click.option(
    "--diff",
    "as_diff",
    is_flag=True,
    help=msg("Print the differences from the installed files; write nothing."),
)
@click.option(
    "--check", is_flag=True, help=msg("Write nothing; exit with 1 if the host is not as configured.")
)
@click.option(
    "--prune", is_flag=True, help=msg("Also uninstall jobs that this configuration no longer contains.")
)
@click.option(
    "--installed",
    is_flag=True,
    help=msg("Install again only the jobs that are installed, each with its current scheduler."),
)
@click.option(
    "--start/--no-start",
    default=None,
    help=msg("Also enable paused jobs / install new jobs disabled."),
)
@click.option(
    "--overwrite-edits", is_flag=True, help=msg("Overwrite installed files that were edited by hand.")
)
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
    config = load_config(options.config_path, options.env_file)
    place = unit_config_path(config, where)
    schedule = schedule_of_flags(every, calendar, cron, timezone)
    for_one = schedule is not None or run_as is not None
    chosen: Sequence[tuple[Backend, Sequence[Job]]]
    if not installed:
        none = prune and not (jobs or config.names)
        chosen = [(chosen_backend(backend, where), [] if none else pick_all(config, jobs))]
        if for_one:
            _check_one(chosen[0][1])
    elif not jobs and not for_one:
        chosen = _installed_jobs(visible(backend, where.value), place, config)
    else:
        raise JobError(
            Outcome.USAGE,
            msg("--installed takes no job names, no schedule and no user"),
            msg("remove --installed, or remove the job names, --run-as and the options of the schedule"),
        )
    if start is None and config.auto_start is False:
        start = False
    requests = [
        _Request(
            scheduler=scheduler,
            config=config,
            place=place,
            ready=[installation.prepare(config, job, schedule, run_as, where) for job in of_scheduler],
            options=InstallOptions(start=start, overwrite_edits=overwrite_edits),
            http=_http_config(
                of_scheduler, scheduler, place, http=http, listen=http_listen, token_file=http_token_file
            ),
            orphans=[] if config.broken_files else installation.orphans(scheduler, place, config.names),
            prune=prune,
        )
        for scheduler, of_scheduler in chosen
    ]
    if dry_run or as_diff or check:
        return _preview(requests, now, dry_run=dry_run, diff=as_diff, check=check)
    for warning in config.warnings:
        echo_err(msg("dify-job: {message}", message=warning))
    if not requests:
        echo_info(msg("no job of this configuration is installed"))
    contexts = _check(requests, now)
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
    """Print the plan and return the exit status. Raises JobError if install rejects a job."""
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
    for plan in plans:
        plan.check()
    _check(requests, now)
    return 1 if check and any(plan.changes() for plan in plans) else 0


def _http_config(
    jobs: Sequence[Job], scheduler: Backend, place: Path, *, http: bool, listen: str, token_file: Path | None
) -> HttpSocketConfig | None:
    """Return the HTTP interface of the flags; None without --http. Raises JobError if it cannot be served."""
    if not http:
        if token_file is not None or listen != DEFAULT_HTTP_LISTEN:
            raise JobError(
                Outcome.USAGE,
                msg("--http-listen and --http-token-file need --http"),
                msg("add --http, or leave out --http-listen and --http-token-file"),
            )
        return None
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
    servers, seen = Servers(_SERVER_TIMEOUT), list[HostContext]()
    for request in requests:
        seen += check_prepared(request.config, request.scheduler, request.ready, now, servers)
    return seen


def _check_one(jobs: Sequence[Job]) -> None:
    if len(jobs) != 1:
        raise JobError(
            Outcome.USAGE,
            msg("options for a schedule or a user apply to one job, so name exactly one"),
            command("dify-job", "install", "JOB"),
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
    for one in request.orphans:
        if request.prune:
            echo_info(
                msg(
                    "{job}: uninstalled, because it is no longer in the configuration {place}",
                    job=one.job,
                    place=place,
                )
            )
        else:
            again = command("dify-job", "uninstall", one.job, needs_root=scope is Scope.SYSTEM)
            echo_info(
                msg(
                    "{job} is no longer in the configuration {place}, but is still "
                    "installed. To remove it, run: {command}",
                    job=one.job,
                    place=place,
                    command=again,
                )
            )
    if request.http is not None:
        install_report.report_http_socket(request.http, scope, changed=results[HTTP].changed)
    else:
        install_report.remind_of_http_socket(request.scheduler)
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
