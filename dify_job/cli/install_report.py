"""Output of `dify-job install`: a plan without execution, or the result of each job."""

import difflib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from ..checks.http_socket import http_callers
from ..config import managed
from ..config.model import Config
from ..messages.command import command
from ..messages.message import join, msg
from ..report.job_status import last_due_time
from ..report.text import time_text
from ..schedule import schedule_lines, upcoming
from ..schedulers import access
from ..schedulers.backend import Backend
from ..schedulers.http_socket import HttpSocket, HttpSocketConfig, address_of
from ..schedulers.installation import PreparedJob
from ..schedulers.model import Scope
from ..schedulers.reconcile import Change, InstallResult, Plan, StateChange, UnitChange
from ..system.transaction import FileChange
from .output import echo, echo_data, echo_info

_KEY = b"(the API key)\n"


def print_plan(plan: Plan, *, dry_run: bool, diff: bool) -> None:
    """Print a plan.

    Args:
        plan: The plan.
        dry_run: Print every file completely.
        diff: Print a diff of each file; without either flag, print the names of the differences.
    """
    for one in plan.contents if dry_run else ():
        echo_data(f"# {one.path}\n{_text(_KEY if one.secret else one.after)}")
    for change in plan.changes():
        if diff:
            _print_difference(change)
        elif not dry_run:
            echo_info(_difference(change))


def _print_difference(change: Change) -> None:
    if isinstance(change, UnitChange):
        echo_data(f"# systemctl {change.verb} {change.unit}")
        return
    if isinstance(change, StateChange):
        echo_data(f"# {_difference(change)}")
        return
    before, after = (_KEY if change.secret and text else text for text in (change.before, change.after))
    if change.secret and before and after:
        echo_data(f"# {change.path}: (the API key)")
        return
    lines = difflib.unified_diff(
        _text(before).splitlines(keepends=True),
        _text(after).splitlines(keepends=True),
        str(change.path),
        "/dev/null" if after is None else f"{change.path} (new)",
    )
    echo_data("".join(lines).rstrip("\n"))


def _difference(change: Change) -> str:
    """Return a line about one difference."""
    if isinstance(change, FileChange):
        if change.after is None:
            return msg("{path} would be removed", path=change.path)
        if change.before is None:
            return msg("{path} is missing", path=change.path)
        return msg("{path} differs from the configuration", path=change.path)
    if isinstance(change, StateChange):
        return msg(
            "the state directory {path} is not set up for the user {user}", path=change.path, user=change.user
        )
    match change.verb:
        case "enable":
            return msg("{unit} is not enabled", unit=change.unit)
        case "start":
            return msg("{unit} is not started", unit=change.unit)
        case "daemon-reload":
            return msg("{unit} changed on disk since systemd read it", unit=change.unit)
    return msg("install would run systemctl {verb} {unit}", unit=change.unit, verb=change.verb)


def _text(content: bytes | None) -> str:
    return (content or b"").decode(errors="replace")


def report_http_socket(config: HttpSocketConfig, scope: Scope, *, changed: bool) -> None:
    """Print the address of the HTTP interface, and who can call it.

    Args:
        config: The interface.
        scope: The scope of its units.
        changed: Whether install changed its units.
    """
    address, port = address_of(config.listen)
    values = {"address": address, "port": port, "callers": http_callers(config)}
    if changed:
        echo_info(
            msg(
                "http: systemd now listens on {address} port {port}; requests are allowed from {callers}",
                **values,
            )
        )
    else:
        echo_info(
            msg(
                "http: unchanged, systemd listens on {address} port {port}; requests are allowed from "
                "{callers}",
                **values,
            )
        )
    echo_info(
        msg("  the interface can only start, stop and query these jobs: {jobs}", jobs=join(", ", config.jobs))
    )
    if scope is Scope.SYSTEM:
        echo_info(
            msg(
                "  each request runs in a sandboxed root process with two capabilities and "
                "no outbound network"
            )
        )
    first = f"?job={config.jobs[0]}" if len(config.jobs) > 1 else ""
    bearer = (
        msg(' -H "Authorization: Bearer $(cat {quote})"', quote=shlex.quote(str(config.token_file)))
        if config.token_file
        else ""
    )
    name = f"[{address}]" if ":" in address else address
    echo_info(
        msg(
            "  try it     curl{bearer} http://{name}:{port}/api/dify/scheduler/status{first}",
            bearer=bearer,
            name=name,
            port=port,
            first=first,
        )
    )


def remind_of_http_socket(scheduler: Backend) -> None:
    """Print a reminder if the HTTP units start another interpreter, which an upgrade may remove.

    Args:
        scheduler: The scheduler of the installed jobs.
    """
    state = HttpSocket(scheduler.scope).state() if not scheduler.by_cron else None
    if state is not None and state.config is not None and state.config.python != Path(sys.executable):
        echo_info(
            msg(
                "http: the interface uses another Python interpreter than this dify-job; to use the "
                "same one, run: {command}",
                command=command("dify-job", "install", "--http"),
            )
        )


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job that was installed."""

    scheduler: Backend
    prepared: PreparedJob
    result: InstallResult
    config: Config
    now: datetime

    @property
    def line(self) -> str:
        """The result in one line."""
        return msg(
            "{job}: {done}, {schedule}{default}, {enabled}",
            job=self.result.job,
            done=msg("installed") if self.result.changed else msg("unchanged"),
            schedule=schedule_lines.schedule_text(self.prepared.spec.schedule),
            default="" if self.prepared.job.schedule.has_time else msg(" (default)"),
            enabled=msg("enabled") if self.result.enabled else msg("not enabled"),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user."""
        spec, by_cron = self.prepared.spec, self.scheduler.by_cron
        converted = schedule_lines.lines_for(spec.schedule, by_cron=by_cron)
        notes = [
            *self.result.notes,
            *([converted.why] if converted.why else []),
            *self.scheduler.limitations(spec),
        ]
        notes += [
            msg("the API key is stored in {path}", path=file.path)
            for file in self.prepared.managed_files
            if file.secret
        ]
        if self.config.path is None:
            path = managed.settings_path(spec.config_path, spec.job)
            notes.append(msg("the job's settings are stored in {path}", path=path))
        notes += upcoming.clock_warnings(spec.schedule, self.now, by_cron=by_cron)
        if not by_cron and self.scheduler.scope is Scope.USER and not access.lingers():
            notes.append(
                msg(
                    "the job runs only while you are logged in. To let it run without a "
                    "login, run: {command}",
                    command=access.linger_command(),
                )
            )
        return tuple(notes)

    def next_runs(self, count: int) -> str:
        """Return the next runs as text; empty for a disabled job.

        Args:
            count: The number of runs.
        """
        if not self.result.enabled:
            return ""
        times, by_cron = self.prepared.spec.schedule, self.scheduler.by_cron
        last = last_due_time(self.scheduler.scope.base / self.result.job)
        runs = islice(upcoming.run_times(times, self.now, by_cron=by_cron, last=last), count)
        return join(", ", map(time_text, runs))

    @property
    def commands(self) -> tuple[str, ...]:
        """The next commands for the user."""
        job, scope = self.result.job, self.scheduler.scope
        service, root, user = f"dify-job-{job}.service", scope is Scope.SYSTEM, scope.manager_options
        if self.scheduler.starts_at_once(self.prepared.spec):
            start = command("systemctl", *user, "start", service, needs_root=root)
        else:
            start = command("dify-job", "run", job, needs_root=root)
        if self.scheduler.by_cron:
            watch = command("dify-job", "logs", job, "-f", needs_root=root)
            stop = command("dify-job", "stop", job, needs_root=root)
        else:
            watch = command("journalctl", *user, "-fu", service, needs_root=root)
            stop = command("systemctl", *user, "stop", service, needs_root=root)
        return (
            msg("run now    {command}", command=start),
            msg("watch      {command}", command=watch),
            msg("stop       {command}", command=stop),
            msg("remove     {command}", command=command("dify-job", "uninstall", job, needs_root=root)),
        )


def print_one(report: JobReport) -> None:
    """Print the result, the notes and the commands of one job.

    Args:
        report: The report of the job.
    """
    echo(report.line)
    for note in report.notes:
        echo(msg("  {note}", note=note))
    if runs := report.next_runs(3):
        echo(msg("  next runs  {runs}", runs=runs))
    for line in report.commands:
        echo(msg("  {command}", command=line))
    echo(_summary([report]))


def print_many(reports: Sequence[JobReport]) -> None:
    """Print a line and the notes of each job, then once the notes that several jobs share.

    Args:
        reports: At least two.
    """
    jobs_of: dict[str, list[str]] = {}
    for report in reports:
        for note in report.notes:
            jobs_of.setdefault(note, []).append(report.result.job)
    for report in reports:
        runs = report.next_runs(1)
        echo(msg("{line}, next run {runs}", line=report.line, runs=runs) if runs else report.line)
        for note in report.notes:
            if len(jobs_of[note]) == 1:
                echo(msg("  {note}", note=note))
    for note, jobs in jobs_of.items():
        if len(jobs) == len(reports):
            echo(note)
        elif len(jobs) > 1:
            echo(msg("{jobs}: {note}", jobs=join(", ", jobs), note=note))
    echo(msg("commands, with {job} as the example:", job=reports[0].result.job))
    for line in reports[0].commands:
        echo(msg("  {command}", command=line))
    echo(_summary(reports))


def _summary(reports: Sequence[JobReport]) -> str:
    disabled = [report.result for report in reports if not report.result.enabled]
    job = (disabled[0] if disabled else reports[0].result).job
    resume = command("dify-job", "resume", job, needs_root=reports[0].scheduler.scope is Scope.SYSTEM)
    if disabled and reports[0].config.auto_start is False:
        return msg(
            "the jobs are not enabled, because AUTO_START_SCHEDULER is false; to enable "
            "a job, run: {command}",
            command=resume,
        )
    if len(reports) > 1:
        return msg(
            "{enabled} of {all} jobs are enabled", enabled=len(reports) - len(disabled), all=len(reports)
        )
    if disabled:
        commands = join(" && ", disabled[0].enable_commands or (resume,))
        return msg("{job} is not enabled; to enable it, run: {commands}", job=job, commands=commands)
    return msg("{job} is enabled", job=job)
