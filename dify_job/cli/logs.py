"""`dify-job logs`: execute journalctl with the right arguments, or print the log files."""

import shlex
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from ..config.loader import load_config, pick
from ..exit_codes import Outcome
from ..log.log_file import LogEntry, LogFile
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..messages.sanitize import one_line
from ..report.text import Colour, Terminal, hanging
from ..schedulers import http_socket
from ..schedulers.backend import Backend
from ..schedulers.detect import find_jobs, visible
from ..schedulers.model import InstalledJob
from ..system import subprocesses
from ..system.packages import install_command
from ..system.paths import is_missing
from .jobs import config_or_none
from .options import Globals, option, scope_options, since_option
from .output import echo_data, echo_err, terminal_of_stdout

_JOURNAL = Path("/run/systemd/journal/socket")
_SYSLOG = Path("/dev/log")
_JOURNALCTL_ARGUMENTS = "dify_job.arguments_of_journalctl"
_MAX_LINES = 1000  # of log files without -n
_POLL_INTERVAL = 0.5  # seconds
_EPOCH = datetime.fromtimestamp(0, UTC)
_LEVELS = {"error": ("error: ", Colour.RED), "warning": ("warning: ", Colour.YELLOW)}


class _Logs(click.Command):
    """Pass the arguments after `--` to journalctl; they are neither options nor jobs of this command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own, rest = args, []
        if "--" in args:
            at = args.index("--")
            own, rest = args[:at], args[at + 1 :]
        ctx.meta[_JOURNALCTL_ARGUMENTS] = rest
        try:
            return super().parse_args(ctx, own)
        except click.NoSuchOption as error:
            option = error.option_name
            raise click.UsageError(
                msg(
                    "No such option {name}. If it is an option of journalctl, run: {command}",
                    name=option,
                    command=command("dify-job", "logs", "--", option),
                ),
                ctx,
            ) from None


@click.command(cls=_Logs)
@click.argument("jobs", nargs=-1)
@option("-f", "--follow", is_flag=True, help=msg("Follow the log."))
@option("-n", "lines", type=click.IntRange(0), metavar="N", help=msg("Show only the last N lines."))
@option("--failed", is_flag=True, help=msg("Show only errors."))
@since_option
@scope_options
@click.pass_context
def logs(
    ctx: click.Context,
    /,
    *,
    jobs: tuple[str, ...],
    follow: bool,
    lines: int | None,
    failed: bool,
    since: datetime | None,
    scope: str | None,
    backend: str,
) -> None:
    """Show the log of all jobs or of some.

    dify-job passes the arguments after -- to journalctl: dify-job logs -- -o json.
    """
    options = ctx.ensure_object(Globals)
    there, _ = find_jobs(visible(backend, scope), jobs)
    _check_names(options, jobs, {one.job for _, one in there})
    if _JOURNAL.exists() and subprocesses.is_on_path("journalctl"):
        argv = ["journalctl", *_matches(there, jobs)]
        argv += ["-f"] if follow else []
        argv += ["-n", str(lines)] if lines is not None else []
        argv += ["-p", "err"] if failed else []
        argv += ["--since", f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"] if since is not None else []
        argv += ctx.meta[_JOURNALCTL_ARGUMENTS]
    else:
        _check_without_journal(jobs, ctx.meta[_JOURNALCTL_ARGUMENTS])
        _print_files(
            _files(options, jobs),
            _Filter(jobs, since, failed),
            _MAX_LINES if lines is None else lines,
            follow=follow,
        )
        return
    echo_err(f"dify-job: {shlex.join(argv)}")
    try:
        subprocesses.exec_program(argv)
    except OSError as error:
        raise JobError(
            Outcome.CONFIG,
            msg("{program} could not be started: {reason}", program=argv[0], reason=error.strerror),
            install_command("systemd"),
        ) from None


def _check_names(options: Globals, jobs: Sequence[str], installed: set[str]) -> None:
    """Raise JobError (config) for a name that is no job."""
    absent = [job for job in jobs if job not in installed]
    if absent:
        config = load_config(options.config_path, options.env_file)
        for job in absent:
            pick(config, job)


def _matches(there: Sequence[tuple[Backend, InstalledJob]], jobs: Sequence[str]) -> list[str]:
    """Return the journalctl matches. Units are preferred: journalctl then shows systemd's messages, too."""
    units = [one for _, one in there if not one.by_cron]
    scopes = {one.scope for one in units}
    if units and len(scopes) == 1 and {one.job for one in units} >= {*jobs, *(one.job for _, one in there)}:
        [scope] = scopes
        user = scope.manager_options
        if not jobs:
            # With only a pattern, journalctl fails if no run has logged yet.
            return [*user, "-u", "dify-job-*.service", "-u", http_socket.SERVICE]
        return [*user, *(word for one in units for word in ("-u", f"dify-job-{one.job}.service"))]
    return ["-t", "dify-job", *(f"DIFY_JOB={job}" for job in dict.fromkeys(jobs))]


def _check_without_journal(jobs: Sequence[str], rest: Sequence[str]) -> None:
    if rest:
        raise JobError(
            Outcome.CONFIG,
            msg("the arguments after -- are for journalctl, but this machine has no journal"),
            command("dify-job", "logs", *jobs),
        )


@dataclass(frozen=True, slots=True)
class _Filter:
    """The entries that the options select."""

    jobs: Sequence[str]
    since: datetime | None
    failed: bool

    def takes(self, entry: LogEntry) -> bool:
        """Return whether an entry is printed."""
        late = self.since is None or (entry.at is not None and entry.at >= self.since)
        return (
            late and (not self.jobs or entry.job in self.jobs) and (not self.failed or entry.level == "error")
        )


def _print_files(files: Sequence[Path], chosen: _Filter, number: int, *, follow: bool) -> None:
    """Print the last entries of log files, then new ones until Ctrl-C."""
    terminal, logs = terminal_of_stdout(), [LogFile(file) for file in files]
    echo_err(msg("dify-job: log file: {files}", files=join(", ", map(str, files))))
    entries = _new_entries(logs, files, chosen)
    if not entries and not follow:
        echo_err(msg("dify-job: no line of the log matches the options"))
    for entry in entries[len(entries) - number if number < len(entries) else 0 :]:
        echo_data(_text_of(entry, terminal))
    try:
        while follow:
            time.sleep(_POLL_INTERVAL)
            for entry in _new_entries(logs, files, chosen):
                echo_data(_text_of(entry, terminal))
    except KeyboardInterrupt:
        return


def _new_entries(logs: Sequence[LogFile], files: Sequence[Path], chosen: _Filter) -> list[LogEntry]:
    entries: list[LogEntry] = []
    for log, file in zip(logs, files, strict=True):
        try:
            entries += filter(chosen.takes, log.new_entries())
        except OSError as error:
            raise JobError(
                Outcome.CONFIG,
                msg("the log file {path} cannot be read: {reason}", path=file, reason=error.strerror),
                command("dify-job", "logs", *chosen.jobs, needs_root=True),
            ) from None
    # The sort is stable: a line without a time stays behind the line before it only in its own file.
    return sorted(entries, key=lambda entry: entry.at or _EPOCH) if len(logs) > 1 else entries


def _text_of(entry: LogEntry, terminal: Terminal) -> str:
    if entry.at is None:
        return one_line(entry.text)
    head = f"{terminal.time_text(entry.at.astimezone())}  "
    sign, colour = _LEVELS.get(entry.level, ("", None))
    text = f"{sign}{entry.job}: {one_line(entry.text)}" if entry.job else f"{sign}{one_line(entry.text)}"
    lines = hanging(head, text, len(head), terminal.columns)
    if colour is not None:
        lines = [f"{line[: len(head)]}{terminal.paint(line[len(head) :], colour)}" for line in lines]
    if entry.hint:
        lines += hanging("", one_line(entry.hint), len(head) + 2, terminal.columns)
    return "\n".join(lines)


def _files(options: Globals, jobs: Sequence[str]) -> list[Path]:
    """Return the log files of cron's runs without a journal. Raises JobError if the log is no file."""
    config = config_or_none(options)
    configured = config.jobs if config is not None else {}
    named = jobs or tuple(configured)
    files = [job.log_file for name in named if (job := configured.get(name)) is not None and job.log_file]
    again = command("dify-job", "history", *jobs)
    if _SYSLOG.exists() or not files:
        raise JobError(
            Outcome.CONFIG,
            msg("there is no journal on this machine"),
            msg(
                "the log is in /var/log/syslog (lines with dify-job); to see past runs, run: {history}",
                history=again,
            )
            if _SYSLOG.exists()
            else msg("set log_file in the job; to see past runs, run: {history}", history=again),
        )
    present = [file for file in dict.fromkeys(files) if not is_missing(file)]
    if not present:
        raise JobError(
            Outcome.CONFIG,
            msg("the log file {path} has no lines yet", path=files[0]),
            command("dify-job", "status"),
        )
    for file in present:
        if not stat.S_ISREG(file.lstat().st_mode):  # others can write to its directory; runs follow no link
            raise JobError(
                Outcome.CONFIG,
                msg("the log file {path} is not a regular file", path=file),
                command("ls", "-ld", str(file)),
            )
    return present
