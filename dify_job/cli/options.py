"""The options that every command takes, before or after its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click import shell_completion

from .. import log
from ..config import loader
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.paths import absolute
from . import help as help_page


class Globals:
    """What the global options said; click's ctx.obj."""

    config_path: Path | None = None
    env_file: Path | None = None
    log_level: str | None = None
    log_format: str = "auto"
    quiet: bool = False
    verbose: bool = False

    def config_arguments(self) -> tuple[str, ...]:
        """Return the arguments by which the configuration was found, for another command about it."""
        named = (("--config", self.config_path), ("--env-file", self.env_file))
        return tuple(word for flag, path in named if path is not None for word in (flag, str(absolute(path))))


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and value is not False:
        setattr(ctx.ensure_object(Globals), str(parameter.name), value)


class _GlobalOption(click.Option):
    """Listed once, in the help page of the program."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return super().get_help_record(ctx) if ctx.parent is None else None


def _option(*names: str, **settings: Any) -> click.Option:
    return _GlobalOption(names, callback=_keep, expose_value=False, **settings)


def _options() -> list[click.Option]:
    path = click.Path(path_type=Path)
    return [
        _option("--config", "config_path", type=path, metavar="PATH", help=msg("Configuration file.")),
        _option(
            "--env-file",
            "env_file",
            type=path,
            metavar="PATH",
            help=msg("Take the job `default` from this .env file."),
        ),
        _option(
            "--log-level",
            "log_level",
            type=click.Choice(["debug", "info", "warning", "error"]),
            help=msg("Lowest level shown."),
        ),
        _option(
            "--log-format",
            "log_format",
            type=click.Choice(log.FORMATS),
            help=msg("Log output format."),
        ),
        _option("-q", "--quiet", "quiet", is_flag=True, default=None, help=msg("Warnings and errors only.")),
        _option("-v", "--verbose", "verbose", is_flag=True, default=None, help=msg("Debug messages too.")),
    ]


class _Context(click.Context):
    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool | None:
        if isinstance(error, click.UsageError) and error.ctx is None:
            error.ctx = self  # click's parser forgets it where an option has no value
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
    ) -> list[shell_completion.CompletionItem]:
        options = ctx.ensure_object(Globals)
        try:
            jobs = loader.load_config(options.config_path, options.env_file).jobs
        except JobError:
            return []
        return [
            shell_completion.CompletionItem(name, help=job.description)
            for name, job in jobs.items()
            if name.startswith(incomplete)
        ]


def add_globals(command: click.Command) -> click.Command:
    """Give a command, and those below it, the global options; doing it again changes nothing."""
    if not any(parameter.name == "config_path" for parameter in command.params):
        command.params.extend(_options())
    command.context_class = _Context
    command.short_help = " ".join((command.help or "").partition("\n\n")[0].split())  # click's own is cut
    for parameter in command.params:
        if isinstance(parameter, click.Argument) and parameter.name in ("job", "jobs"):
            parameter.type = _JobName()
    if isinstance(command, click.Group):
        for below in command.commands.values():
            add_globals(below)
    return command
