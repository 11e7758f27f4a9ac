"""The entry point: parse arguments, dispatch, and turn errors into messages and exit codes."""

import difflib
import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from .. import __version__
from ..exit_codes import Outcome, code_of
from ..messages.command import command
from ..messages.errors import JobError, file_system_error
from ..messages.i18n import disable_click_translation, enable_click_translation
from ..messages.message import msg
from . import completion, run
from . import help as help_page
from .options import Globals, Option, add_globals
from .output import BrokenStdoutError, StdoutError, echo_err, echo_error, log_traceback

if TYPE_CHECKING:
    from ..run.call_options import RunLimits

# By task: module, attribute, the line of `--help`. A command's module is imported when it is called.
_GROUPS: dict[str, dict[str, tuple[str, str, str]]] = {
    msg("Run"): {
        "run": ("run", "run", msg("Run a job's workflow once; each outcome has an exit status.")),
        "stop": ("stop", "stop", msg("Stop a job's run that is in progress.")),
        "demo": ("demo", "demo", msg("Run a workflow on the built-in server: no Dify, no API key.")),
    },
    msg("Schedule"): {
        "install": ("install", "install", msg("Install systemd timers or crontab entries for jobs.")),
        "uninstall": (
            "uninstall",
            "uninstall",
            msg("Remove the systemd units or crontab entries of the named jobs."),
        ),
        "pause": ("pause", "pause", msg("Disable the schedule of the named jobs until you resume them.")),
        "resume": ("pause", "resume", msg("Re-enable the schedule of paused jobs.")),
        "render": (
            "render",
            "render",
            msg("Print the jobs' units, crontab entries or manifests for another host."),
        ),
        "http": ("http", "http", msg("Answer HTTP requests (for the systemd unit of install --http).")),
    },
    msg("Inspect"): {
        "status": ("status", "status", msg("Show what failed, why, and what runs next.")),
        "history": ("history", "history", msg("Show past runs and why they failed.")),
        "logs": ("logs", "logs", msg("Show the log of one job or of all jobs.")),
        "next": ("next_runs", "next_runs", msg("Show upcoming runs, and clock changes that affect them.")),
        "report": ("report", "report", msg("Write an HTML page about all jobs.")),
        "doctor": (
            "doctor",
            "doctor",
            msg("Check for problems that would prevent the next run, and suggest fixes."),
        ),
        "exit-codes": ("exit_codes", "exit_codes", msg("Show what each exit code means.")),
    },
    msg("Set up"): {
        "init": ("init", "init", msg("Write the configuration of a job and store its API key.")),
        "secret": ("secret", "secret_group", msg("Store the API key of a job.")),
        "config": ("config", "config_group", msg("Show the configuration and its sources, or validate it.")),
        "notify": ("notify", "notify", msg("Send a test message to all notification targets of a job.")),
    },
}
_NAME_WIDTH = max(len(name) for commands in _GROUPS.values() for name in commands)
_COMMANDS = {name: entry for commands in _GROUPS.values() for name, entry in commands.items()}


class _Commands(click.Group):
    """Import a command when it is called, so that `run` does not import the others."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f".{module}", __package__), attribute)
        gc.freeze()
        gc.enable()
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # of __main__; from now on click.Abort
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return add_globals(command)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, commands in _GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [(name.ljust(_NAME_WIDTH), text) for name, (_, _, text) in commands.items()]
                )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            if (hint := help_page.hint_for_unknown(args)) is not None:
                words = msg("There is no command {name!r}. {hint}", name=args[0], hint=hint)
                raise click.UsageError(words, ctx)
            close = difflib.get_close_matches(args[0], _COMMANDS, 1)
            meant = (
                msg(" Did you mean {close}?", close=close[0])
                if close
                else msg(" See dify-job --help for all commands.")
            )
            raise click.UsageError(
                msg("There is no command {args!r}.{meant}", args=args[0], meant=meant), ctx
            )
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands)
@click.version_option(
    __version__, message="dify-job %(version)s", help=msg("Show the version and exit."), cls=Option
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run Dify workflows on the operating system's own scheduler.

    One call per process, no daemon; each outcome has an exit status of its own (dify-job exit-codes).
    """
    ctx.ensure_object(Globals)


add_globals(cli)


def main(args: Sequence[str] | None = None, limits: "RunLimits | None" = None) -> NoReturn:
    """Run the command line, and exit with its exit code.

    Args:
        args: The arguments; those of the process by default.
        limits: Pauses and limits of a run; None for the usual ones.
    """
    _occupy_standard_descriptors()
    enable_click_translation()
    if "_DIFY_JOB_COMPLETE" in os.environ:
        completion.set_up_completion()
    options = Globals()
    options.limits = limits
    with click.Context(cli, obj=options):  # the error handler reads the global options from this context
        code = _run(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # a closed or full output does not change the exit status
    # Everything is flushed and fsynced. Exiting without tear-down saves 0.14 of `import requests`, and no
    # thread that hangs in a DNS look-up delays the exit.
    os._exit(code)


def _occupy_standard_descriptors() -> None:
    """Open /dev/null for closed standard descriptors; otherwise output goes to the next file or socket."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8")


def _run(args: Sequence[str]) -> int:
    try:
        options = click.get_current_context().obj
        result: Any = cli.main(list(args), prog_name="dify-job", standalone_mode=False, obj=options)
    except click.UsageError as error:
        return _usage_error(error, args)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        echo_err(msg("aborted"))
        return code_of(Outcome.CANCELLED, 2)
    except JobError as error:
        echo_error(error)
        return code_of(error.outcome)
    except BrokenStdoutError:
        return 0
    except StdoutError as error:
        echo_err(msg("dify-job: standard output cannot be written: {error}", error=error))
        return code_of(Outcome.CANNOT_WRITE)
    except Exception as error:
        return _report_unexpected(error)
    return result if isinstance(result, int) else 0


def _report_unexpected(error: Exception) -> int:
    """Report a broken file system, or an internal error (70), whose traceback goes to the log."""
    broken = file_system_error(error)
    if broken is None:
        log_traceback()
        return code_of(Outcome.BUG)
    echo_error(broken)
    return code_of(broken.outcome)


def _usage_error(error: click.UsageError, args: Sequence[str]) -> int:
    message = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        echo_err(message)
        return code_of(Outcome.USAGE)
    path = error.ctx.command_path if error.ctx else "dify-job"
    if isinstance(error, click.MissingParameter):  # click lists the choices on lines of their own
        message = " ".join(message.split())
    echo_err(msg("dify-job: {message}", message=message))
    echo_err(msg("  {hint}", hint=command(*path.split(), "--help")))
    if error.ctx is not None and error.ctx.info_name == "run":
        # `run` prints a result for every outcome.
        run.print_usage_error(_in_english(args) or message, error.ctx)
    return code_of(Outcome.USAGE)


def _in_english(args: Sequence[str]) -> str | None:
    """Return the usage error of `run` in English for its result; click raises translated text."""
    disable_click_translation()
    group = cli.make_context("dify-job", list(args), obj=Globals())
    try:
        run.run.make_context("run", group.args, group)
    except click.UsageError as error:
        return error.format_message()
    return None
