"""`dify-job report`: the overview page as one HTML file."""

import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from ..config.loader import load_config
from ..config.model import Config
from ..exit_codes import Outcome
from ..messages.errors import JobError, disk_error_hint
from ..messages.message import msg
from ..messages.problem import command
from ..report.page import render_page
from ..report.status import host_status
from ..schedulers.detect import installed_jobs, visible
from ..system.secure_dir import Directory
from .options import Globals, pass_globals, scope_options
from .output import echo_data, echo_err


@click.command()
@click.argument("jobs", nargs=-1)
@click.option(
    "--output",
    metavar="FILE",
    help=msg("Write the page to FILE; - is standard output, the default in a pipe."),
)
@click.option(
    "--days",
    type=click.IntRange(1, 366),
    default=30,
    show_default=True,
    metavar="N",
    help=msg("How far back rates, tokens and failures go."),
)
@scope_options
@pass_globals
def report(
    options: Globals,
    /,
    *,
    jobs: tuple[str, ...],
    output: str | None,
    days: int,
    scope: str | None,
    backend: str,
) -> None:
    """Write a page about all jobs: last runs, failures and why, durations, tokens, next runs.

    One HTML file that needs no script and no network. Everything that comes from a server is escaped in it.
    """
    if output is None and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError(
            msg(
                "A terminal cannot show the page: {command}",
                command=command("dify-job", "report", "--output", "report.html"),
            )
        )
    config: Config | JobError
    try:
        config = load_config(options.config_path, options.env_file)
    except JobError as error:
        config = error
    installed = [one for _, one in installed_jobs(visible(backend, scope), jobs)]
    if isinstance(config, JobError) and not installed:
        raise config
    seen = host_status(installed, config, datetime.now(UTC), jobs=jobs, every_scope=scope is not None)
    page = render_page(seen, host=socket.gethostname(), days=days)
    if output in (None, "-"):
        echo_data(page.rstrip("\n"))
        return
    path = Path(str(output)).absolute()
    _write(path, page)
    echo_err(msg("dify-job: the page is in {path}", path=path))


def _write(path: Path, page: str) -> None:
    """Write the file whole or not at all. Raises JobError (cannot-write)."""
    try:
        directory = Directory(path.parent)
        try:
            with directory.replacing(path.name) as file:
                file.write(page.encode(errors="backslashreplace"))
        finally:
            directory.close()
    except OSError as error:
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg("the page {path} cannot be written: {reason}", path=path, reason=error.strerror or error),
            disk_error_hint(error, path.parent, command("ls", "-ld", str(path.parent))),
        ) from None
