"""What systemd says of a process that could not tell its own end, made into the record of a run. Pure."""

from collections.abc import Mapping
from datetime import datetime

from ..exit_codes import TABLE
from ..state.history import RunRecord
from ..state.store import InFlight
from ..system.values import dataclass, replace

_KILLED = {
    "oom-kill": ("killed, because there was no memory left for it", "raise MemoryMax= of the unit"),
    "timeout": ("killed, because it did not end in time", "the job's own timeout should come first"),
    "watchdog": ("killed by the watchdog", None),
    "core-dump": ("it crashed", "coredumpctl info"),
}
# Statuses that systemd gives where it cannot start the process (systemd.exec(5), "Process Exit Codes").
_NOT_STARTED = {
    200: ("CHDIR", "its working directory is missing"),
    203: ("EXEC", "the interpreter in ExecStart= is missing, or cannot be executed"),
    217: ("USER", "its user does not exist"),
    226: ("NAMESPACE", "a file or directory that it needs is missing"),
    238: ("STATE_DIRECTORY", "its state directory cannot be made"),
    243: ("CREDENTIALS", "a file of LoadCredential= is missing, or cannot be read or decrypted"),
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
        message = f"{ending.unit} failed without a result"
        message += "" if ending.untold else f" (systemd says {ending.result})"
        hint = f"systemctl status {ending.unit}"
    run = RunRecord(
        call_time=_text(now), outcome=outcome, exit_code=ending.exit_code, message=message, hint=hint
    )
    if outcome != "killed" or left is None:
        return run
    return replace(
        run,
        call_time=left.started,
        hint="; ".join(filter(None, (hint, "the run may go on in Dify"))),
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
        hint = f"systemctl status {unit}; where paths have changed: dify-job install"
        return "not-started", f"not started: status {why}", hint
    return "crashed", f"it ended with status {code}, which dify-job does not give", journal


def _of_kill(ending: UnitResult) -> tuple[str, str | None]:
    why, hint = _KILLED.get(ending.result, (f"killed by SIG{ending.status}", None))
    return f"{why} (systemd says {ending.result}, {ending.code} by {ending.status})", hint


def _text(at: datetime) -> str:
    return at.astimezone().isoformat(timespec="milliseconds")
