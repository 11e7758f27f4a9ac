"""How the last run of a job ended, and whether an earlier one has an open end."""

from ..exit_codes import TABLE, Outcome, RetrySafety
from ..messages.message import msg
from ..messages.problem import Problem, command
from ..run.unit_result import latest_run, why_not_started
from ..state.reader import read_last
from .context import HostContext
from .finding import ok, warn

_GOOD = frozenset({Outcome.SUCCEEDED.value, Outcome.SKIPPED.value})
# Results of a unit for which no process was started (systemd.exec(5), $SERVICE_RESULT).
_NO_PROCESS = {
    "start-limit-hit": msg("it was started too often"),
    "resources": msg("the machine lacked the resources to start it"),
}


def check_last_run(context: HostContext) -> Problem:
    """Check the last run by its own record, or by the service manager where it left none."""
    ending = context.one.ending if context.one is not None else None
    last = latest_run(read_last(context.state), context.history, ending, context.abandoned)
    if ending is not None and ending.result in _NO_PROCESS:
        text = msg(
            "systemd did not start it ({result}): {no_process}",
            result=ending.result,
            no_process=_NO_PROCESS[ending.result],
        )
        return warn(text, context.systemctl("status", ending.unit))
    if last is None:
        if context.state_is_hidden:
            return ok(msg("permission denied: {state}", state=context.state))
        return ok(msg("none is recorded"))
    if last.outcome in _GOOD:
        return ok(msg("{outcome}, {call_time}", outcome=last.outcome, call_time=last.call_time))
    job = context.job.name
    if (why := why_not_started(last.exit_code)) is not None:
        fixes = {
            203: context.command("install", job),
            217: context.command("install", job, "--run-as", "USER"),
            243: context.command("secret", "set", job),
        }
        look = context.systemctl("cat", f"dify-job-{job}.service")
        return warn(
            msg("systemd could not start it: status {why}", why=why),
            fixes.get(last.exit_code or 0, look),
        )
    outcome = (
        last.outcome
        if last.exit_code is None
        else msg("{outcome} ({code})", outcome=last.outcome, code=last.exit_code)
    )
    again = next((row.again for row in TABLE if row.code == last.exit_code), None)
    if again is RetrySafety.SAFE:
        text = msg("{outcome}: {message}; a retry is safe", outcome=outcome, message=last.message_text)
    elif again is RetrySafety.NOT_SAFE:
        text = msg("{outcome}: {message}; a retry is not safe", outcome=outcome, message=last.message_text)
    else:
        text = msg("{outcome}: {message}", outcome=outcome, message=last.message_text)
    return warn(text, last.hint_text or command("dify-job", "logs", job))


def check_in_flight(context: HostContext) -> Problem | None:
    """Check whether it is unknown how an earlier run ended."""
    left = context.abandoned
    if left is None:
        return None
    run = left.workflow_run_id or msg("without an id")
    text = msg("how an earlier run ended is not known ({run}): the next one looks for it first", run=run)
    return warn(text, msg("look for it in the app's Logs in Dify; the next run settles it"))
