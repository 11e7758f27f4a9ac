"""Options of the commands: global options, before or after the command's name, and shared options."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import log
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..report import since
from ..system.paths import absolute
from . import completion
from . import help as help_page

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..run.call_options import RunLimits

DEFAULT_HTTP_LISTEN = "127.0.0.1:8000"  # the default of the original system


class Globals:
    """The values of the global options; click's ctx.obj."""

    config_path: Path | None = None
    env_file: Path | None = None
    log_level: str | None = None
    log_format: str = "auto"
    quiet: bool = False
    verbose: bool = False
    limits: RunLimits | None = None  # of a run; None for the usual ones

    def config_arguments(self) -> tuple[str, ...]:
        """Return the arguments that named the configuration, for another command."""
        named = (("--config", self.config_path), ("--env-file", self.env_file))
        return tuple(word for flag, path in named if path is not None for word in (flag, str(absolute(path))))


class Option(click.Option):
    """An option with a help text of one line.

    click.Option unindents each text with `inspect`, which takes 0.04 of `import requests` to import.
    """

    def __init__(self, *args: Any, help: str | None = None, **settings: Any) -> None:  # noqa: A002 - click's name
        super().__init__(*args, **settings)
        self.help = help


option = functools.partial(click.option, cls=Option)
pass_globals = click.make_pass_decorator(Globals, ensure=True)


def _store(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and value is not False:
        setattr(ctx.ensure_object(Globals), str(parameter.name), value)


class _GlobalOption(Option):
    """A global option; only the help page of the program lists it."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return super().get_help_record(ctx) if ctx.parent is None else None


def _option(*names: str, **settings: Any) -> click.Option:
    return _GlobalOption(names, callback=_store, expose_value=False, **settings)


def _options() -> list[click.Option]:
    path = click.Path(path_type=Path)
    return [
        _option(
            "--config", "config_path", type=path, metavar="PATH", help=msg("Read this configuration file.")
        ),
        _option(
            "--env-file",
            "env_file",
            type=path,
            metavar="PATH",
            help=msg("Read the settings of the job `default` from this .env file."),
        ),
        _option(
            "--log-level",
            "log_level",
            type=click.Choice(["debug", "info", "warning", "error"]),
            help=msg("Set the lowest level to log."),
        ),
        _option(
            "--log-format",
            "log_format",
            type=click.Choice(log.FORMATS),
            help=msg("Set the format of the log."),
        ),
        _option(
            "-q", "--quiet", "quiet", is_flag=True, default=None, help=msg("Log only warnings and errors.")
        ),
        _option(
            "-v", "--verbose", "verbose", is_flag=True, default=None, help=msg("Also log debug messages.")
        ),
    ]


class _Context(click.Context):
    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool | None:
        if isinstance(error, click.UsageError) and error.ctx is None:
            error.ctx = self  # click's parser does not set it if an option has no value
        return super().__exit__(kind, error, traceback)

    def make_formatter(self) -> click.HelpFormatter:
        return help_page.formatter_of(self)


class _JobName(click.types.StringParamType):
    """A job's name, which a shell completes from the configuration."""

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        options = ctx.ensure_object(Globals)
        return completion.complete_job(options.config_path, options.env_file, incomplete)


def add_globals(command: click.Command) -> click.Command:
    """Add the global options to a command and its subcommands. A second call changes nothing.

    Args:
        command: The command. It is changed and returned.
    """
    if not any(parameter.name == "config_path" for parameter in command.params):
        command.params.extend(_options())
        click.help_option("-h", "--help", cls=Option, help=msg("Show this message and exit."))(command)
    command.context_class = _Context
    command.short_help = " ".join((command.help or "").partition("\n\n")[0].split())  # click shortens its own
    for parameter in command.params:
        if isinstance(parameter, click.Argument) and parameter.name in ("job", "jobs"):
            parameter.type = _JobName()
    if isinstance(command, click.Group):
        for below in command.commands.values():
            add_globals(below)
    return command


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _together(*options: Decorator) -> Decorator:
    """Return several options as one decorator; the help page lists the last first."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in options:
            function = option(function)
        return function

    return decorate


json_option = option("--json", "as_json", is_flag=True, help=msg("Print JSON."))
all_option = option(
    "--all", "all_jobs", is_flag=True, help=msg("Select all your own jobs; as root, all system jobs.")
)
key_file_option = option(
    "--key-file",
    metavar="FILE|-",
    help=msg(
        "Read the API key from FILE, or from standard input with -. Without this option, "
        "type it at a prompt or pass it through a pipe."
    ),
)
scope_options = _together(
    option(
        "--user", "scope", flag_value="user", help=msg("Use your own jobs (the default, except for root).")
    ),
    option("--system", "scope", flag_value="system", help=msg("Use system jobs (default for root).")),
    option(
        "--backend",
        type=click.Choice(["auto", "systemd", "cron"]),
        default="auto",
        show_default=True,
        help=msg("Choose the scheduler; auto takes systemd if systemd booted the machine, otherwise cron."),
    ),
)
schedule_options = _together(
    option("--timezone", metavar="ZONE", help=msg("Set the time zone of --calendar and --cron.")),
    option("--cron", metavar="EXPR", help=msg("Run at the times of a cron line with five fields.")),
    option(
        "--calendar", multiple=True, metavar="EXPR", help=msg("Run at systemd calendar times (repeatable).")
    ),
    option("--every", metavar="DUR", help=msg("Run at this interval: 2h, 30min, 1d.")),
)
http_options = _together(
    option(
        "--http-token-file",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help=msg(
            "Require the bearer token stored in PATH. Without this option, only root and "
            "the user who runs install have access."
        ),
    ),
    option(
        "--http-listen",
        metavar="ADDRESS:PORT",
        default=DEFAULT_HTTP_LISTEN,
        show_default=True,
        help=msg(
            "Listen on this address and port; an address other than loopback requires --http-token-file."
        ),
    ),
    option(
        "--http",
        is_flag=True,
        help=msg(
            "Also install the HTTP interface: a systemd socket for calls that start, stop and query jobs."
        ),
    ),
)


def _since(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    try:
        return None if value is None else since.parse_since(value, datetime.now(UTC))
    except ValueError as error:
        fix = command(*ctx.command_path.split(), "--help")
        raise JobError(Outcome.USAGE, msg("--since {error}", error=error), fix) from None


since_option = option(
    "--since",
    metavar="WHEN",
    callback=_since,
    help=msg(
        "Show only what happened since this time: yesterday, 2h, 2026-01-31, '07:00' (see systemd.time(7))."
    ),
)
