"""`dify-job run`: one workflow call, its result on stdout, its outcome in the exit status."""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from .. import log
from ..config.loader import load_config, pick
from ..config.model import Config, Expectation, Job
from ..config.readers import run_path
from ..dify.event_queue import EventQueue
from ..exit_codes import Outcome
from ..messages.command import command, for_reader
from ..messages.errors import JobError
from ..messages.i18n import translate
from ..messages.message import msg, with_setting
from ..report import run_text
from ..run import dry_run, engine, output
from ..run.api import notify_of, run_job
from ..run.call_options import RunLimits
from ..run.observers import Observers
from ..run.outcome import cancelled
from ..run.result import Result, job_error_of, log_result, not_started
from ..run.run_spec import RunContext
from ..run.state_directory import state_directory
from ..state import history
from ..system import lazy_import
from . import logging_setup, schedule_guard
from .arguments import check_job, files_of, inputs_of
from .options import Globals, option
from .output import (
    StdoutError,
    echo_data,
    echo_err,
    echo_error,
    echo_json,
    echo_value,
    log_traceback,
    reader,
    terminal_of_stdout,
)
from .signals import Cancelled, Signals

if TYPE_CHECKING:
    from ..log.sinks import NonBlockingWriter
    from ..state.store import JobState

_STARTED = time.monotonic()
_SCHEDULED_WAIT_NETWORK = 60.0
_STDERR_READER = 1.0  # seconds to wait at the end for the reader of stderr


@click.command(context_settings={"allow_extra_args": True})
@click.argument("job", required=False)
@option(
    "-i",
    "--input",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help=msg("Set one input, as a string (repeatable)."),
)
@option("--inputs", "inputs_json", metavar="JSON|@FILE|-", help=msg("Set the inputs from a JSON object."))
@option(
    "--file",
    "files",
    multiple=True,
    metavar="KEY=PATH|URL",
    help=msg("Set one file input; repeat the option for a list of files."),
)
@option("--mode", type=click.Choice(["streaming", "blocking"]), help=msg("Choose how the server answers."))
@option(
    "--workflow-id",
    metavar="ID",
    help=msg("Run this published version of the workflow instead of the newest."),
)
@option("--end-user", metavar="ID", help=msg("Set the Dify end-user ID (default: generated for each run)."))
@option("--timeout", metavar="DUR", help=msg("Set the deadline of the whole run, such as 90s or 1h 30min."))
@option(
    "--output", "output_file", metavar="FILE", help=msg("Write the result of a successful run to this file.")
)
@option(
    "--print",
    "print_path",
    metavar="PATH",
    help=msg("Print only this value, such as outputs.NAME; print nothing if the run fails."),
)
@option(
    "--overlap",
    type=click.Choice(["fail", "skip", "wait"]),
    help=msg("Choose what to do if another run of the job is in progress."),
)
@option(
    "--run-id",
    metavar="ID",
    default="",
    envvar="DIFY_JOB_RUN_ID",
    help=msg(
        "Set an idempotency ID: if a run with this ID exists on the server, follow "
        "it instead of starting a new one."
    ),
)
@option(
    "--lost",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    envvar="DIFY_JOB_LOST",
    help=msg(
        "Give the number of earlier processes that used this run ID and ended without "
        "recording an outcome. If N is more than 0, follow the existing run, and never "
        "start a new one."
    ),
)
@option(
    "--dry-run",
    "as_dry_run",
    is_flag=True,
    help=msg("Show the inputs and check them against the app's input form; start no run."),
)
@option("--json", "as_json", is_flag=True, help=msg("Print JSON also on a terminal."))
@option("--if-due", is_flag=True, help=msg("Run only if the job is due by its schedule."))
@option("--scheduled", is_flag=True, help=msg("Print no result (used by units and crontabs)."))
@click.pass_context
def run(
    ctx: click.Context,
    /,
    *,
    job: str | None,
    pairs: tuple[str, ...],
    inputs_json: str | None,
    files: tuple[str, ...],
    output_file: str | None,
    print_path: str | None,
    run_id: str,
    lost: int,
    scheduled: bool,
    if_due: bool,
    as_json: bool = False,
    as_dry_run: bool = False,
    **flags: str | None,
) -> int:
    """Run a job's workflow once.

    Each outcome has an exit status (dify-job exit-codes). In a pipe, the result is one JSON object on stdout.
    """
    if as_dry_run:
        return _dry_run(ctx, job, _settings(flags, output_file, files), pairs, inputs_json)
    gc.disable()  # disabled during the imports, as in main
    options = ctx.ensure_object(Globals)
    events = EventQueue()
    signals = Signals(events)
    stderr = logging_setup.make_stderr_non_blocking()
    in_words = _on_terminal() and not (as_json or scheduled or print_path is not None)
    context = RunContext(_STARTED, events, observers=(signals,), limits=options.limits or RunLimits())
    chosen, name = None, job or ""
    try:
        with signals.raise_cancelled():
            check_job(name, ctx.args)
            logging_setup.set_up_journal(options, name, scheduled=scheduled)
            config = load_config(
                options.config_path, options.env_file, flags=_settings(flags, output_file, files)
            )
            chosen = _with_assertion(pick(config, job), print_path)
            name = chosen.name
            live = logging_setup.set_up(options, chosen, scheduled=scheduled, without_result=in_words)
            _warn(config, chosen, scheduled=scheduled)
            context = context._replace(
                config_path=config.path,
                run_id=run_id,
                lost=lost > 0,
                wait_network=_SCHEDULED_WAIT_NETWORK if scheduled else 0.0,
                jitter=schedule_guard.jitter(chosen) if scheduled else 0.0,
                skip_reason=partial(_skip_reason, scheduled=scheduled, if_due=if_due),
                by_unit=scheduled and schedule_guard.notified_by_unit(chosen),
            )
            given = inputs_of(pairs, inputs_json)
            if live is not None:
                live.usual = _usual_duration(chosen, config)
                live.start()
                context = context._replace(observers=(live, signals))
        result = run_job(chosen, given, context)
    except JobError as error:
        result = _report_not_started(error, chosen, name, context)
    except Cancelled as error:
        result = not_started(name, cancelled(error.signum), context.began)
        Observers(context.observers).finished(result)
    except Exception as error:  # an internal error has a result, too: exit 70
        why = job_error_of(error)
        is_bug = why.outcome is Outcome.BUG
        if is_bug:
            log_traceback()
        result = _report_not_started(why, None if is_bug else chosen, name, context)
    message, hint = for_reader(result.message, reader()), result.hint and for_reader(result.hint, reader())
    result = result._replace(message=message, hint=hint)
    by_cron = logging_setup.is_cron(options, scheduled=scheduled)
    with contextlib.suppress(Cancelled), signals.raise_cancelled():  # a reader may wait without limit
        if in_words and log.is_set_up():
            _print_for_person(result)
        elif not in_words:  # otherwise _report_not_started has printed everything
            _print_or_mail(result, print_path, scheduled=scheduled, by_cron=by_cron)
        _wait_for_stderr(stderr)
    return result.exit_code


def _dry_run(
    ctx: click.Context,
    name: str | None,
    settings: Mapping[str, Any],
    pairs: tuple[str, ...],
    inputs_json: str | None,
) -> int:
    """Print what a run would send. Raises the JobError that the run would fail with."""
    options = ctx.ensure_object(Globals)
    check_job(name or "", ctx.args)
    config = load_config(options.config_path, options.env_file, flags=settings)
    job = pick(config, name)
    logging_setup.set_up(options, job, scheduled=True)
    given = inputs_of(pairs, inputs_json)
    echo_json(dry_run.dry_run(job, given, config.path))
    return 0


def _wait_for_stderr(stderr: NonBlockingWriter | None) -> None:
    log.finish(_STDERR_READER)
    if stderr is not None:
        stderr.drain(0.1)


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _usual_duration(job: Job, config: Config) -> float | None:
    """Return the mean duration of successful runs in seconds; None if there is none."""
    try:
        past = history.read_history(state_directory(job, config.path))
        duration: float | None = history.summary(past).mean_duration
    except OSError:
        return None
    return duration


@contextlib.contextmanager
def _warning(text: str) -> Iterator[None]:
    """Log an output error as a warning, because it must not change the known outcome."""
    try:
        yield
    except Exception as error:
        log.warning(text, reason=str(error) or type(error).__name__)


def _print_for_person(result: Result) -> None:
    """Print a result for a person at a terminal."""
    stdout = terminal_of_stdout()
    outputs = log.redacted(result.run.outputs or {}) if result.run is not None else None
    with _warning(msg("the run ended, but its result could not be printed")):
        for line in run_text.run_lines(result.job, result.record, outputs, stdout):
            echo_data(translate(line))


def _warn(config: Config, job: Job, *, scheduled: bool) -> None:
    for warning in config.warnings:
        log.warning(warning)
    if scheduled and (changed := schedule_guard.drift(config, job)) is not None:
        log.warning(changed)


def _report_not_started(error: JobError, job: Job | None, name: str, context: RunContext) -> Result:
    """Report a run that was not started; job: None if the configuration is unreadable."""
    result = not_started(name, error, context.began)
    if log.is_set_up():
        log_result(result)
    else:
        echo_error(error)
    Observers(context.observers).finished(result)
    if job is not None:
        notify_of(job, result, context)
    return result


def _skip_reason(job: Job, state: JobState | None, *, scheduled: bool, if_due: bool) -> str | None:
    """Return why the run is skipped; before a run that is not skipped, import the remaining modules."""
    why = schedule_guard.skip_reason(job, state, scheduled=scheduled, if_due=if_due)
    if why is None:
        lazy_import.execute(engine)
        gc.freeze()
        gc.enable()
    return why


def print_usage_error(message: str, ctx: click.Context) -> None:
    """Print the result of a call whose arguments were wrong.

    Args:
        message: What is wrong with them, in English.
        ctx: The context of the command.
    """
    flags = {word.partition("=")[0] for word in sys.argv}
    if "--print" in flags or (_on_terminal() and "--json" not in flags):
        return
    error = JobError(Outcome.USAGE, message, command("dify-job", "run", "--help"))
    _print(not_started(str(ctx.params.get("job") or ""), error, _STARTED))


def _print_or_mail(result: Result, print_path: str | None, *, scheduled: bool, by_cron: bool) -> None:
    """Print a result to stdout; of a scheduled run, print only a failure under cron, which mails stderr.

    This comes last, because a reader such as a pager may wait without limit.
    """
    if print_path is not None:
        _print_value(result, print_path)
    elif not scheduled:
        _print(result)
    elif not result.success and log.is_set_up() and by_cron:
        echo_err(msg("dify-job: job {job}: {message}", job=result.job, message=result.message))
        if result.hint:
            echo_err(msg("  {hint}", hint=result.hint))


def _settings(
    flags: Mapping[str, str | None], output_file: str | None, files: tuple[str, ...]
) -> dict[str, Any]:
    """Return the settings of the job that flags override."""
    given: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
    given |= {"output": {"file": output_file}} if output_file else {}
    return given | ({"files": files_of(files)} if files else {})


def _with_assertion(job: Job, path: str | None) -> Job:
    """Return the job with an assertion for --print, so that a missing value is a failure."""
    if path is None:
        return job
    try:
        return job._replace(expect={run_path(path): Expectation()} | dict(job.expect))
    except ValueError as error:
        raise JobError(
            Outcome.USAGE, with_setting(error, "--print"), command("dify-job", "run", "--help")
        ) from None


def _print_value(result: Result, path: str) -> None:
    """Print one value of a successful run, a string without quotes; nothing for other runs."""
    data = result.response_data
    if not result.success or data is None:
        return
    with _warning(msg("the run ended, but {path} could not be printed", path=path)):
        value = output.value_at(data["data"], path)
        if isinstance(value, str):
            echo_value(value.removesuffix("\n"))
        else:
            echo_json(value)


def _print(result: Result) -> None:
    with _warning(msg("the run ended, but its result could not be printed")):
        try:
            echo_json(result.as_json())
        except StdoutError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            log.warning(msg("the run ended, but its outputs could not be printed"), reason=reason)
            message = msg(
                "{message}; the outputs could not be printed: {reason}", message=result.message, reason=reason
            )
            run = None if result.run is None else result.run._replace(outputs=None)
            echo_json(result._replace(run=run, message=message).as_json())
