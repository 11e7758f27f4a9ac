"""`dify-job status`: the status of all jobs, the worst first."""

import sys
import time
from collections.abc import Callable

import click

from ..messages.command import command
from ..messages.message import msg
from ..report.status import HostStatus, host_status
from ..report.status_text import status_lines
from ..run.state_directory import elsewhere_note
from ..schedulers.detect import visible
from .options import Globals, option, pass_globals, scope_options
from .output import echo, echo_data, echo_err, echo_json, reader, terminal_of_stdout

_REFRESH_INTERVAL = 3.0  # seconds
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


@click.command()
@click.argument("jobs", nargs=-1)
@scope_options
@option("--watch", is_flag=True, help=msg("Refresh every few seconds until Ctrl-C (on a terminal)."))
@option("--json", "as_json", is_flag=True, help=msg("Print JSON; docs/status.md describes the fields."))
@pass_globals
def status(
    options: Globals, /, *, jobs: tuple[str, ...], scope: str | None, backend: str, watch: bool, as_json: bool
) -> int:
    """Show all jobs, the worst first: last outcome, recent runs, next run, and what needs attention.

    Exit status 0: all is well. 1: a job needs attention: it fails, has failed since yesterday, does not run,
    or is not installed as configured.
    """
    if watch and as_json:
        raise click.UsageError(msg("--watch and --json cannot be used together."))

    def look() -> HostStatus:
        return host_status(
            visible(backend, scope),
            jobs,
            config_path=options.config_path,
            env_file=options.env_file,
            every_scope=scope is not None,
        )

    if watch and sys.stdout is not None and sys.stdout.isatty():
        return _watch(look)
    seen = look()
    if as_json:
        echo_json(seen.as_json())
    elif not seen.jobs:
        echo(
            msg(
                "no job is installed or configured; to install a job, run: {command}",
                command=command("dify-job", "install", "--every", "1h", "--env-file", ".env"),
            )
        )
    else:
        echo_data("\n".join(status_lines(seen, terminal_of_stdout(), reader())))
        for row in seen.jobs:
            past = row.history
            if past is not None and (note := elsewhere_note(row.job, past.directory)) is not None:
                echo_err(note)
    return 0 if seen.healthy else 1


def _watch(look: Callable[[], HostStatus]) -> int:
    """Refresh the status until Ctrl-C; the exit status is that of the last refresh."""
    code = 0
    try:
        while True:
            seen = look()
            code = 0 if seen.healthy else 1
            terminal = terminal_of_stdout()
            lines = status_lines(seen, terminal, reader(), most=terminal.rows - 1) if seen.jobs else []
            echo_data(_CLEAR + "\n".join(lines))
            time.sleep(_REFRESH_INTERVAL)
    except KeyboardInterrupt:
        return code
