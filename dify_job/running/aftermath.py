"""What systemd says of a process that could not tell its own end, made into the record of a run. Pure."""

from collections.abc import Mapping
from datetime import datetime

from ..exits import TABLE
from ..history import PastRun
from ..state import InFlight
from ..values import dataclass

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
    243: ("CREDENTIALS", "a file of LoadCredential= is missing, or cannot be read"),
}


@dataclass(frozen=True, kw_only=True)
class Ending:
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


def ending_of(environ: Mapping[str, str]) -> Ending | None:
    """The end that systemd 251 and newer tell a handler of (systemd.exec(5)); None where they do not."""
    if "MONITOR_SERVICE_RESULT" not in environ:
        return None
    return Ending(
        unit=environ.get("MONITOR_UNIT", ""),
        result=environ["MONITOR_SERVICE_RESULT"],
        code=environ.get("MONITOR_EXIT_CODE", ""),
        status=environ.get("MONITOR_EXIT_STATUS", ""),
        invocation=environ.get("MONITOR_INVOCATION_ID", ""),
    )


def record_of(ending: Ending, left: InFlight | None, now: datetime) -> PastRun:
    """The record of the run. left: what a process that was killed had in flight."""
    code = ending.exit_code
    journal = f"journalctl -u {ending.unit} -n 20"
    if code is not None and ending.result == "exit-code":
        known = next((row for row in TABLE if row.code == code), None)
        if known is not None:
            return PastRun(
                call_time=_text(now), outcome=known.outcome, exit_code=code, message=known.when, hint=journal
            )
        name, why = _NOT_STARTED.get(code, ("", ""))
        if name:
            message = f"not started: {why} (status {code}/{name})"
            return PastRun(
                call_time=_text(now),
                outcome="not-started",
                exit_code=code,
                message=message,
                hint=f"systemctl status {ending.unit}; where paths have changed: dify-job install",
            )
        message = f"it ended with status {code}, which dify-job does not give"
        return PastRun(call_time=_text(now), outcome="crashed", exit_code=code, message=message, hint=journal)
    if ending.code in ("killed", "dumped"):
        why, hint = _KILLED.get(ending.result, (f"killed by SIG{ending.status}", None))
        return PastRun(
            call_time=left.started if left is not None else _text(now),
            outcome="killed",
            exit_code=None,
            message=f"{why} (systemd says {ending.result}, {ending.code} by {ending.status})",
            hint=hint if left is None else "; ".join(filter(None, (hint, "the run may go on in Dify"))),
            attempts=0 if left is None else 1,
            run_id=left.workflow_run_id if left is not None else None,
        )
    return PastRun(
        call_time=left.started if ending.untold and left is not None else _text(now),
        outcome="killed" if ending.untold and left is not None else "not-started",
        exit_code=code,
        message=f"{ending.unit} failed without a result"
        + ("" if ending.untold else f" (systemd says {ending.result})"),
        hint=f"systemctl status {ending.unit}",
        run_id=left.workflow_run_id if ending.untold and left is not None else None,
    )


def _text(at: datetime) -> str:
    return at.astimezone().isoformat(timespec="milliseconds")
