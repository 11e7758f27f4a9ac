"""`dify-job run`: one workflow call, its result on stdout, its truth in the exit status."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import log
from ..config.model import Job, Source
from ..config.read import load_config, pick
from ..config.secrets import read_key
from ..errors import JobError
from ..exits import Outcome
from ..running import output
from ..running.inbox import Inbox
from ..running.inputs import parse_object, render_inputs, render_output_file, secrets_in
from ..running.result import Result, refused
from ..running.runner import Request, run_job
from ..state import JobState, cannot_write, directory_of
from . import run_log, tick
from .options import Globals
from .output import log_traceback, put_json, say

if TYPE_CHECKING:
    from .live import LiveLine

_BEGAN = time.monotonic()
_SCHEDULED_WAIT_NETWORK = 60.0


@dataclass(frozen=True, slots=True)
class _Start:
    """How this process was started."""

    call_time: str
    scheduled: bool
    if_due: bool


@click.command()
@click.argument("job", required=False)
@click.option("-i", "--input", "pairs", multiple=True, metavar="KEY=VALUE", help="One input, a string.")
@click.option("--inputs", "inputs_json", metavar="JSON|@FILE|-", help="Inputs as a JSON object.")
@click.option("--mode", type=click.Choice(["streaming", "blocking"]), help="How the server answers.")
@click.option("--workflow-id", metavar="ID", help="A published version instead of the newest.")
@click.option("--end-user", metavar="ID", help="Instead of one made for this run.")
@click.option("--timeout", metavar="DUR", help="Deadline of the whole run, as 90s or 1h 30min.")
@click.option("--output", "output_file", metavar="FILE", help="Write the result there when the run succeeds.")
@click.option(
    "--overlap", type=click.Choice(["fail", "skip", "wait"]), help="While another run is under way."
)
@click.option("--if-due", is_flag=True, help="Run only when the job's schedule says that it is due.")
@click.option("--scheduled", is_flag=True, help="For units and crontabs: no result on stdout.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    *,
    job: str | None,
    pairs: tuple[str, ...],
    inputs_json: str | None,
    output_file: str | None,
    scheduled: bool,
    if_due: bool,
    **flags: str | None,
) -> int:
    """Run a job's workflow once.

    The result is one JSON object on stdout; the exit status tells how it ended (dify-job exit-codes).
    """
    options = ctx.ensure_object(Globals)
    inbox = Inbox()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda number, _frame: inbox.cancel(number))
    call_time = _now()
    name = job or ""
    try:
        given = {"output": {"file": output_file}} if output_file else {}
        config = load_config(
            options.config_path,
            options.env_file,
            flags=given | {key: value for key, value in flags.items() if value is not None},
        )
        chosen = pick(config, job)
        name = chosen.name
        live = run_log.set_up(options, chosen, scheduled=scheduled)
        for warning in config.warnings:
            log.warning(warning)
        start = _Start(call_time, scheduled=scheduled, if_due=if_due)
        result = _run(chosen, config.path, pairs, inputs_json, inbox, live, start)
    except JobError as error:
        result = refused(name, error.outcome, error.message, error.hint, call_time, time.monotonic() - _BEGAN)
        _tell(result)
    except Exception as error:  # noqa: BLE001 - a fault of ours is a result too, exit 70
        log_traceback()
        words = f"a fault of dify-job itself: {type(error).__name__}"
        hint = "please report it with the traceback in the log; a run may have been started"
        result = refused(name, Outcome.BUG, words, hint, call_time, time.monotonic() - _BEGAN)
    if not scheduled:
        _print(result)
    elif not result.success and log.is_set_up() and run_log.is_cron(scheduled=True):
        say(f"dify-job: job {result.job}: {result.message}")  # cron mails it
        if result.hint:
            say(f"  {result.hint}")
    return result.exit_code


def print_refusal(error: JobError, ctx: click.Context) -> None:
    """The result of a call whose arguments were wrong."""
    name = str(ctx.params.get("job") or "")
    _print(refused(name, error.outcome, error.message, error.hint, _now(), time.monotonic() - _BEGAN))


def _run(
    job: Job,
    config_path: Path | None,
    pairs: tuple[str, ...],
    inputs_json: str | None,
    inbox: Inbox,
    live: LiveLine | None,
    start: _Start,
) -> Result:
    _refuse_what_is_not_built(job)
    key = read_key(job)
    _warn_of_plain_http(job)
    state = _open_state(job, config_path)
    began = _BEGAN
    if (why := tick.held_back(job, state, scheduled=start.scheduled, if_due=start.if_due)) is not None:
        return _ended_early(job, Outcome.SKIPPED, f"skipped: {why}", start)
    if start.scheduled and (jitter := tick.jitter(job)):
        log.info("waiting for the job's jitter", seconds=round(jitter))
        if (cancel := inbox.pause(time.monotonic() + jitter)) is not None:
            return _ended_early(job, Outcome.CANCELLED, "cancelled before it began", start, cancel.signum)
        began = time.monotonic()  # jitter is no part of the deadline
    inputs = _inputs(job, state, pairs, inputs_json)
    for secret in secrets_in(inputs):
        log.hide(secret)
    target = _target(job, state)
    if target is not None:
        output.check_writable(target)
    wait = job.wait_network if job.wait_network is not None else _SCHEDULED_WAIT_NETWORK * start.scheduled
    request = Request(job=job, key=key, inputs=inputs, began=began, wait_network=wait)
    log.info("run started", message_id="started", job=job.name)
    if live is not None:
        live.start()
    try:
        result = run_job(
            request, state, inbox=inbox, progress=live.progress if live is not None else _log_event
        )
    finally:
        if live is not None:
            live.stop()
    if result.success and result.outcome is not Outcome.SKIPPED and target is not None:
        try:
            output.write(target, result, job.output.select)
        except (OSError, LookupError) as error:
            log.warning("the output file could not be written", path=str(target), reason=str(error))
    _tell(result)
    return result


def _ended_early(job: Job, outcome: Outcome, message: str, start: _Start, signum: int = 0) -> Result:
    result = refused(job.name, outcome, message, None, start.call_time, time.monotonic() - _BEGAN, signum)
    _tell(result)
    return result


def _target(job: Job, state: JobState | None) -> Path | None:
    """The output file; a relative one of the config stands in the state directory, one from a flag here."""
    now = _now_in(job.schedule.timezone)
    name = render_output_file(job, now=now, last_success=_last_success(state))
    if not name:
        return None
    path = Path(name).expanduser()
    given = job.origins.get("output")
    by_flag = given is not None and given.source is Source.FLAG
    return path if path.is_absolute() or by_flag or state is None else state.directory / path


def _log_event(event: Any) -> None:
    log.debug(event.kind, node=event.node, status=event.node_status, workflow_run_id=event.run_id)


def _inputs(
    job: Job, state: JobState | None, pairs: tuple[str, ...], inputs_json: str | None
) -> Mapping[str, Any]:
    rendered = render_inputs(job, now=_now_in(job.schedule.timezone), last_success=_last_success(state))
    for pair in pairs:
        if "=" not in pair:
            raise JobError(Outcome.USAGE, f"-i {pair}: KEY=VALUE is needed", "dify-job run --help")
    given = _inputs_given(None if inputs_json is None else _utf8(inputs_json))
    return rendered | given | dict(_utf8(pair).split("=", 1) for pair in pairs)


def _utf8(argument: str) -> str:
    """An argument as UTF-8 whatever the locale: in the C locale Python cannot decode it."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeDecodeError:
        raise JobError(
            Outcome.USAGE, "an argument is not UTF-8", "use --inputs @FILE with a UTF-8 file"
        ) from None


def _inputs_given(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    if text == "-":
        return parse_object(sys.stdin.read(), "the inputs on standard input", Outcome.REJECTED)
    if text.startswith("@"):
        try:
            content = Path(text[1:]).read_text(encoding="utf-8")
        except OSError as error:
            raise JobError(
                Outcome.NO_INPUT,
                f"the input file {text[1:]} cannot be read: {error.strerror}",
                "check --inputs",
            ) from None
        except UnicodeDecodeError:
            raise JobError(
                Outcome.REJECTED, f"the input file {text[1:]} is not UTF-8", "convert it: iconv -t UTF-8"
            ) from None
        return parse_object(content, f"the input file {text[1:]}", Outcome.REJECTED)
    return parse_object(text, "--inputs", Outcome.USAGE)


def _open_state(job: Job, config_path: Path | None) -> JobState | None:
    if job.state == "none":
        return None
    directory = directory_of(job.name, config_path)
    try:
        return JobState(directory)
    except OSError as error:
        raise cannot_write(directory, error) from None


def _last_success(state: JobState | None) -> datetime | None:
    for entry in reversed(state.history() if state is not None else []):
        if entry.get("outcome") == Outcome.SUCCEEDED:
            return datetime.fromisoformat(entry["call_time"])
    return None


def _refuse_what_is_not_built(job: Job) -> None:
    """A key that would be read and then not acted on is a lie; each goes from this list when it is built."""
    unset = Job(name=job.name, base_url=job.base_url, key=job.key)
    for key in ("files", "expect", "notify", "metrics", "log_outputs"):
        if getattr(job, key) != getattr(unset, key):
            raise JobError(
                Outcome.CONFIG,
                f"job {job.name} sets {key}, which this version of dify-job does not do yet",
                f"take {key} out of the job ({job.origins.get(key)})",
            )


def _warn_of_plain_http(job: Job) -> None:
    from urllib.parse import urlsplit  # noqa: PLC0415 - loaded by requests anyway

    parts = urlsplit(job.base_url)
    host = parts.hostname or ""
    if parts.scheme == "http" and not (host in ("localhost", "::1") or host.startswith("127.")):
        log.warning(f"the key goes to {host} unencrypted; set base_url to https:// if the server has it")


def _tell(result: Result) -> None:
    """The canonical line of the run: everything that a reader of the log needs, once."""
    run = result.run
    fields = {
        "outcome": result.outcome.value,
        "exit_code": result.exit_code,
        "elapsed_ms": round(result.duration * 1000),
        "attempt": result.attempts,
        "workflow_run_id": run.run_id if run else None,
        "task_id": run.task_id if run else None,
        "total_tokens": run.total_tokens if run else None,
        "hint": result.hint,
    }
    tell = log.info if result.success else log.error
    kind = "skipped" if result.outcome is Outcome.SKIPPED else "finished" if result.success else "failed"
    if not log.is_set_up():  # the configuration could not be read, and with it how to log
        say(f"dify-job: {result.message}")
        if result.hint:
            say(f"  {result.hint}")
        return
    tell(result.message, message_id=kind, **fields)


def _print(result: Result) -> None:
    try:
        put_json(result.as_json())
    except (OSError, ValueError, AttributeError) as error:
        log.warning("the result could not be printed", reason=str(error))


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def _now_in(zone: str | None) -> datetime:
    if zone is None:
        return datetime.now().astimezone()
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - for jobs with a zone

    return datetime.now(ZoneInfo(zone))
