"""`dify-job report`: the overview page as one HTML file."""

import socket
import sys
from pathlib import Path

import click

from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError, disk_error_hint
from ..messages.message import msg
from ..report.page import render_page
from ..report.status import host_status
from ..schedulers.detect import visible
from ..system.secure_dir import Directory
from .options import Globals, option, pass_globals, scope_options
from .output import echo_data, echo_err


@click.command()
@click.argument("jobs", nargs=-1)
@option(
    "--output",
    metavar="FILE",
    help=msg("Write the page to FILE; - writes it to standard output (default in a pipe)."),
)
@option(
    "--days",
    type=click.IntRange(1, 366),
    default=30,
    show_default=True,
    metavar="N",
    help=msg("Show rates, tokens and failures of the last N days."),
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

    The page is one HTML file. It contains no scripts and needs no network. Texts from Dify are escaped.
    """
    if output is None and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError(
            msg(
                "a terminal cannot show an HTML page; to write the page to a file, run: {command}",
                command=command("dify-job", "report", "--output", "report.html"),
            )
        )
    seen = host_status(
        visible(backend, scope),
        jobs,
        config_path=options.config_path,
        env_file=options.env_file,
        every_scope=scope is not None,
    )
    page = render_page(seen, host=socket.gethostname(), days=days, config_options=options.config_arguments())
    if output in (None, "-"):
        echo_data(page.rstrip("\n"))
        return
    path = Path(str(output)).absolute()
    _write(path, page)
    echo_err(msg("dify-job: the page was written to {path}", path=path))


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
            disk_error_hint(
                error,
                path.parent,
                msg(
                    "choose another file, or leave out --output to print the page; to see the directory, "
                    "run: {command}",
                    command=command("ls", "-ld", str(path.parent)),
                ),
            ),
        ) from None
