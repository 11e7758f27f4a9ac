"""`dify-job logs`: hand over to journalctl with the right arguments, or to tail for a log_file."""

from pathlib import Path

import click

from ..config.loader import load_config, pick
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedulers.backend import Backend, Scope
from ..schedulers.detect import installed_jobs, visible
from ..system import subprocesses
from ..system.managed_files import is_missing
from .common_options import scope_options, try_config
from .options import Globals
from .output import echo_err

_JOURNAL = Path("/run/systemd/journal/socket")
_SYSLOG = Path("/dev/log")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("job", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("-f", "--follow", is_flag=True, help=msg("Go on with what comes."))
@click.option("-n", "lines", metavar="N", help=msg("The last N lines."))
@scope_options
@click.pass_context
def logs(
    ctx: click.Context,
    /,
    *,
    job: str | None,
    arguments: tuple[str, ...],
    follow: bool,
    lines: str | None,
    scope: str | None,
    backend: str,
) -> None:
    """Show the log of a job; what follows -- goes to journalctl, for example -- -p err --since today."""
    options = ctx.ensure_object(Globals)
    if job is None:
        job = pick(load_config(options.config_path, options.env_file), None).name
    there = installed_jobs(visible(backend, scope), (job,))
    scheduler = there[0][0] if there else None
    config = try_config(options) if scheduler is None else None
    if config is not None and job not in config.names:
        echo_err(
            msg(
                "dify-job: no job {job} is installed or configured; dify-job status shows those that are",
                job=job,
            )
        )
    if _JOURNAL.exists() and subprocesses.found("journalctl"):
        command = ["journalctl", *_match(scheduler, job), *(["-f"] if follow else [])]
        command += ["-n", lines] if lines else []
        command += arguments
    else:
        command = ["tail", "-n", lines or "1000", *(["-F"] if follow else []), str(_file(options, job))]
    echo_err(msg("dify-job: {command}", command=" ".join(command)))
    try:
        subprocesses.hand_over(command)
    except OSError as error:
        raise JobError(
            Outcome.CONFIG,
            msg("{command} could not be started: {strerror}", command=command[0], strerror=error.strerror),
            msg("apt-get install systemd"),
        ) from None


def _file(options: Globals, job: str) -> Path:
    """Where cron's runs log on a machine without a journal. Raises JobError where that is no file."""
    config = try_config(options)
    configured = config.jobs.get(job) if config is not None else None
    file = configured.log_file if configured is not None else None
    if _SYSLOG.exists() or file is None:
        raise JobError(
            Outcome.CONFIG,
            msg("there is no journal on this machine"),
            msg("grep dify-job /var/log/syslog, or dify-job history {job}", job=job)
            if _SYSLOG.exists()
            else msg("give the job a log_file, or look at dify-job history {job}", job=job),
        )
    if is_missing(file):
        raise JobError(
            Outcome.CONFIG,
            msg("nothing was logged yet in {file}", file=file),
            msg("dify-job status {job}", job=job),
        )
    return file


def _match(scheduler: Backend | None, job: str) -> list[str]:
    if scheduler is None or scheduler.by_cron:
        return ["-t", "dify-job", f"DIFY_JOB={job}"]
    user = ["--user"] if scheduler.scope is Scope.USER else []
    return [*user, "-u", f"dify-job-{job}.service"]
