"""What systemd says of a process that could not tell its own end, made into the record of a run. Pure."""

from collections.abc import Mapping
from datetime import datetime

from ..exit_codes import TABLE
from ..messages.message import msg
from ..state.history import RunRecord
from ..state.store import InFlight
from ..system.values import dataclass, replace

_KILLED = {
    "oom-kill": (msg("killed, because there was no memory left for it"), msg("raise MemoryMax= of the unit")),
    "timeout": (
        msg("killed, because it did not end in time"),
        msg("the job's own timeout should come first"),
    ),
    "watchdog": (msg("killed by the watchdog"), None),
    "core-dump": (msg("it crashed"), msg("coredumpctl info")),
}
# Statuses that systemd gives where it cannot start the process (systemd.exec(5), "Process Exit Codes").
_NOT_STARTED = {
    200: ("CHDIR", msg("its working directory is missing")),
    203: ("EXEC", msg("the interpreter in ExecStart= is missing, or cannot be executed")),
    217: ("USER", msg("its user does not exist")),
    226: ("NAMESPACE", msg("a file or directory that it needs is missing")),
    238: ("STATE_DIRECTORY", msg("its state directory cannot be made")),
    243: ("CREDENTIALS", msg("a file of LoadCredential= is missing, or cannot be read or decrypted")),
}


@dataclass(frozen=True, kw_only=True)
class UnitResult:
    """A unit's end as MONITOR_ variables or `systemctl show` give it.

    result: the unit's Result. code: exited, killed or dumped, empty where no process was. status: the exit
    status, or the signal's name. invocation: hexadecimal.
    """

    unit: str
    result: str
    code: str
    status: str
    invocation: str = ""

    @property
    def exit_code(self) -> int | None:
        """The exit status of a process that ended by itself."""
        return int(self.status) if self.code == "exited" and self.status.isdigit() else None

    @property
    def untold(self) -> bool:
        """True where the manager could not be asked: some have no bus for a dynamic user."""
        return not (self.result or self.code)


def ending_of(environ: Mapping[str, str]) -> UnitResult | None:
    """The end that systemd 251 and newer tell a handler of (systemd.exec(5)); None where they do not."""
    if "MONITOR_SERVICE_RESULT" not in environ:
        return None
    return UnitResult(
        unit=environ.get("MONITOR_UNIT", ""),
        result=environ["MONITOR_SERVICE_RESULT"],
        code=environ.get("MONITOR_EXIT_CODE", ""),
        status=environ.get("MONITOR_EXIT_STATUS", ""),
        invocation=environ.get("MONITOR_INVOCATION_ID", ""),
    )


def why_not_started(exit_code: int | None) -> str | None:
    """`203/EXEC, ...` for a status by which systemd says that it could not start the process, else None."""
    name, why = _NOT_STARTED.get(exit_code or 0, ("", ""))
    return f"{exit_code}/{name}, {why}" if name else None


def record_of(ending: UnitResult, left: InFlight | None, now: datetime) -> RunRecord:
    """The record of the run. left: what a process that was killed had in flight."""
    if ending.exit_code is not None and ending.result == "exit-code":
        outcome, message, hint = _of_status(ending.exit_code, ending.unit)
    elif ending.code in ("killed", "dumped"):
        outcome, (message, hint) = "killed", _of_kill(ending)
    else:
        outcome = "killed" if ending.untold and left is not None else "not-started"
        message = msg("{unit} failed without a result", unit=ending.unit)
        message += "" if ending.untold else msg(" (systemd says {result})", result=ending.result)
        hint = msg("systemctl status {unit}", unit=ending.unit)
    run = RunRecord(
        call_time=_text(now), outcome=outcome, exit_code=ending.exit_code, message=message, hint=hint
    )
    if outcome != "killed" or left is None:
        return run
    return replace(
        run,
        call_time=left.started,
        hint="; ".join(filter(None, (hint, msg("the run may go on in Dify")))),
        attempts=1,
        run_id=left.workflow_run_id,
    )


def _of_status(code: int, unit: str) -> tuple[str, str, str | None]:
    """Outcome, message and hint of a process that ended by itself, or never was."""
    journal = f"journalctl -u {unit} -n 20"
    known = next((row for row in TABLE if row.code == code), None)
    if known is not None:
        return known.outcome, known.when, journal
    if (why := why_not_started(code)) is not None:
        hint = msg("systemctl status {unit}; where paths have changed: dify-job install", unit=unit)
        return "not-started", msg("not started: status {why}", why=why), hint
    return "crashed", msg("it ended with status {code}, which dify-job does not give", code=code), journal


def _of_kill(ending: UnitResult) -> tuple[str, str | None]:
    why, hint = _KILLED.get(ending.result, (msg("killed by SIG{status}", status=ending.status), None))
    return msg(
        "{why} (systemd says {result}, {code} by {status})",
        why=why,
        result=ending.result,
        code=ending.code,
        status=ending.status,
    ), hint


def _text(at: datetime) -> str:
    return at.astimezone().isoformat(timespec="milliseconds")
