"""How the last run of a job ended, and whether an earlier one has an open end."""

from collections.abc import Iterator

from ..exit_codes import TABLE, Outcome, RetrySafety
from ..messages.message import msg
from ..messages.problem import Problem, command
from ..run.unit_result import latest_run, why_not_started
from ..state.history import RunRecord
from ..state.reader import read_abandoned, read_last
from .context import HostContext
from .finding import ok, warn
from .machine import is_hidden

_GOOD = frozenset({Outcome.SUCCEEDED.value, Outcome.SKIPPED.value})
# Results of a unit for which no process was started (systemd.exec(5), $SERVICE_RESULT).
_NO_PROCESS = {
    "start-limit-hit": "it was started too often",
    "resources": "the machine had not what it takes to start it",
}


def check_last_run(context: HostContext) -> Iterator[Problem]:
    """The last run by its own record, or by the service manager where it left none."""
    ending = context.one.ending if context.one is not None else None
    left = read_abandoned(context.state, context.now)
    last = latest_run(read_last(context.state), context.history, ending, left)
    if ending is not None and ending.result in _NO_PROCESS:
        text = msg(
            "systemd did not start it ({result}): {no_process}",
            result=ending.result,
            no_process=_NO_PROCESS[ending.result],
        )
        yield warn("last-run", text, context.systemctl("status", ending.unit))
    elif last is not None:
        yield _judge(context, last)
    elif is_hidden(context):
        yield ok("last-run", msg("permission denied: {state}", state=context.state))
    else:
        yield ok("last-run", msg("none is recorded"))
    if left is not None:
        run = left.workflow_run_id or msg("without an id")
        text = msg("how an earlier run ended is not known ({run}): the next one looks for it first", run=run)
        yield warn("in-flight", text, msg("look for it in the app's Logs in Dify; the next run settles it"))


def _judge(context: HostContext, last: RunRecord) -> Problem:
    if last.outcome in _GOOD:
        return ok("last-run", msg("{outcome}, {call_time}", outcome=last.outcome, call_time=last.call_time))
    job = context.job.name
    if (why := why_not_started(last.exit_code)) is not None:
        fixes = {
            203: context.command("install", job),
            217: context.command("install", job, "--run-as", "USER"),
            243: context.command("secret", "set", job),
        }
        look = context.systemctl("cat", f"dify-job-{job}.service")
        return warn(
            "last-run",
            msg("systemd could not start it: status {why}", why=why),
            fixes.get(last.exit_code or 0, look),
        )
    outcome = last.outcome if last.exit_code is None else f"{last.outcome} ({last.exit_code})"
    again = next((row.again for row in TABLE if row.code == last.exit_code), None)
    if again is RetrySafety.SAFE:
        text = msg("{outcome}: {message}; a retry is safe", outcome=outcome, message=last.message_text)
    elif again is RetrySafety.NOT_SAFE:
        text = msg("{outcome}: {message}; a retry is not safe", outcome=outcome, message=last.message_text)
    else:
        text = msg("{outcome}: {message}", outcome=outcome, message=last.message_text)
    return warn("last-run", text, last.hint or command("dify-job", "logs", job))
