"""Create the record of a start without its own record, for notify, status, history and doctor. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..exit_codes import TABLE, Outcome
from ..messages.command import command
from ..messages.message import msg
from ..state.history import RunRecord, UnitOutcome
from ..state.store import InFlight
from ..system.unit_result import UnitResult

_KILLED = {
    "oom-kill": (
        msg("the system killed the run, because no memory was left"),
        msg("raise MemoryMax= of the unit, or give the machine more memory"),
    ),
    "timeout": (
        msg("systemd killed the run, because it did not end in time"),
        msg("set timeout of the job to less than TimeoutStartSec= of the unit"),
    ),
    "watchdog": (msg("the watchdog of systemd killed the run"), None),
    "core-dump": (msg("the process of the run crashed"), msg("to see the crash, run: coredumpctl info")),
}
_MAYBE_RUNNING = msg("the run may still be in progress in Dify")
# Statuses of a process that systemd cannot start (systemd.exec(5), "Process Exit Codes").
_NOT_STARTED = {
    200: ("CHDIR", msg("the working directory of the unit is missing")),
    203: ("EXEC", msg("the interpreter in ExecStart= is missing or not executable")),
    205: ("LIMITS", msg("a resource limit of the unit cannot be set")),
    208: ("STDIN", msg("the standard input of the unit cannot be opened")),
    209: ("STDOUT", msg("the standard output of the unit cannot be opened")),
    216: ("GROUP", msg("the group of the unit does not exist or cannot be used")),
    217: ("USER", msg("the user of the unit does not exist")),
    218: ("CAPABILITIES", msg("the capabilities of the unit cannot be set")),
    219: ("CGROUP", msg("the control group of the unit cannot be created")),
    222: ("STDERR", msg("the standard error of the unit cannot be opened")),
    224: ("PAM", msg("PAM does not allow a session for the user of the unit")),
    225: ("NETWORK", msg("the network namespace of the unit cannot be created")),
    226: ("NAMESPACE", msg("a file or directory that the unit needs is missing")),
    228: ("SECCOMP", msg("the system call filter of the unit cannot be set")),
    233: ("RUNTIME_DIRECTORY", msg("the runtime directory of the unit cannot be created")),
    238: ("STATE_DIRECTORY", msg("the state directory of the unit cannot be created")),
    239: ("CACHE_DIRECTORY", msg("the cache directory of the unit cannot be created")),
    240: ("LOGS_DIRECTORY", msg("the log directory of the unit cannot be created")),
    241: ("CONFIGURATION_DIRECTORY", msg("the configuration directory of the unit cannot be created")),
    243: (
        "CREDENTIALS",
        msg("a credential file in LoadCredential= is missing, or cannot be read or decrypted"),
    ),
}
_FIRST_OF_SYSTEMD, _LAST_OF_SYSTEMD = 200, 245
_ROUNDING = timedelta(seconds=2)  # systemd prints whole seconds
_HANDLER_DELAY = timedelta(minutes=1)  # the time in which the failure unit stores a record
_SKIPPED_OR_BUSY = frozenset({Outcome.SKIPPED.value, Outcome.BUSY.value})


def why_not_started(exit_code: int | None) -> str | None:
    """Return `203/EXEC, ...` for the status of a process that systemd could not start, otherwise None."""
    if exit_code is None or not _FIRST_OF_SYSTEMD <= exit_code <= _LAST_OF_SYSTEMD:
        return None
    name, why = _NOT_STARTED.get(exit_code, ("", msg("systemd could not prepare the process")))
    status = f"{exit_code}/{name}" if name else exit_code
    return msg("{status}, {why}", status=status, why=why)


def with_unit_result(
    runs: Sequence[RunRecord] | None, unit_result: UnitResult | None, abandoned: InFlight | None
) -> tuple[RunRecord, ...]:
    """Return the history of a job, with the last start of its unit if that has no record.

    A process that was killed or not started, or whose configuration was broken, stores no record.

    Args:
        runs: The history, oldest first; None if it cannot be read, so that only the unit's result is known.
        unit_result: The result of the unit's last process; None if there is none, or it is unknown.
        abandoned: The run whose process ended without recording a final outcome.
    """
    known = _with_ending(runs, unit_result, abandoned)
    if abandoned is None or abandoned.reported is not None or _is_recorded(abandoned, known, unit_result):
        return known
    message = msg("the process of the run ended without recording an outcome")
    record = RunRecord(
        abandoned.started,
        UnitOutcome.KILLED,
        None,
        message,
        hint=_MAYBE_RUNNING,
        attempts=1,
        run_id=abandoned.workflow_run_id,
    )
    return _inserted(known, record)


def _is_recorded(abandoned: InFlight, known: Sequence[RunRecord], unit_result: UnitResult | None) -> bool:
    """Return True if a record or the unit's result belongs to the abandoned run or a later one."""
    started = abandoned.began
    if started is None or (
        unit_result is not None and unit_result.ended is not None and started <= unit_result.ended
    ):
        return True
    ids = {run.run_id for run in known if run.run_id is not None}
    return abandoned.workflow_run_id in ids or any(run.call_time == abandoned.started for run in known)


def _inserted(
    runs: Sequence[RunRecord], record: RunRecord, truncated: timedelta = timedelta()
) -> tuple[RunRecord, ...]:
    """Insert a record after the last earlier run; runs of a clock that was ahead can precede it."""
    at = record.began + truncated if record.began is not None else None
    earlier = [place for place, run in enumerate(runs) if run.began is None or at is None or run.began <= at]
    after = earlier[-1] + 1 if earlier else 0
    return (*runs[:after], record, *runs[after:])


def _with_ending(
    runs: Sequence[RunRecord] | None, unit_result: UnitResult | None, abandoned: InFlight | None
) -> tuple[RunRecord, ...]:
    if unit_result is None or unit_result.ended is None:
        return tuple(runs or ())
    if runs is None:
        return (record_of(unit_result, abandoned, unit_result.ended),)
    if unit_result.result == "success" or any(_is_of(run, unit_result) for run in runs):
        return tuple(runs)
    record = record_of(unit_result, abandoned, unit_result.ended)
    return _inserted(runs, record, timedelta(seconds=1))  # the unit's own runs of that second came before


def latest_run(
    last: Mapping[str, Any] | None,
    runs: Sequence[RunRecord] | None,
    unit_result: UnitResult | None,
    abandoned: InFlight | None,
) -> RunRecord | None:
    """Return the record of the job's last start; None if there is none.

    A start that was skipped, or that found another run in progress, does not count.

    Args:
        last: The last result of a run with the job's lock, from its state directory.
        runs: See with_unit_result.
        unit_result: See with_unit_result.
        abandoned: See with_unit_result.
    """
    known = with_unit_result(runs, unit_result, abandoned)
    newest = next((run for run in reversed(known) if run.outcome not in _SKIPPED_OR_BUSY), None)
    try:
        stored = RunRecord.of(last)
    except ValueError:
        return newest
    return stored if newest is None or newest.call_time == stored.call_time else newest


def _is_of(run: RunRecord, unit_result: UnitResult) -> bool:
    """Return True for the record of this start, whether stored by it or created later."""
    if run.began is None or unit_result.ended is None:
        return False
    began = unit_result.began or unit_result.ended
    is_short = unit_result.ended - began <= _ROUNDING
    if is_short and unit_result.exit_code is not None and run.exit_code not in (None, unit_result.exit_code):
        return False  # systemd's times are whole seconds: this is another start in the same one
    first = began - _ROUNDING
    made_later = run.outcome in set(UnitOutcome) or run.exit_code == unit_result.exit_code
    return first <= run.began <= unit_result.ended + (_HANDLER_DELAY if made_later else _ROUNDING)


def record_of(unit_result: UnitResult, abandoned: InFlight | None, now: datetime) -> RunRecord:
    """Return the record of a start, from the result of its unit's process.

    Args:
        unit_result: The result.
        abandoned: The run in flight of a killed process.
        now: The current time, aware, for a start with an unknown time.
    """
    manager = ("--user",) if unit_result.user else ()
    if unit_result.exit_code is not None and unit_result.result in ("exit-code", "success"):
        outcome, message, hint = _of_status(unit_result.exit_code, unit_result.unit, manager)
    elif unit_result.code in ("killed", "dumped"):
        outcome, (message, hint) = UnitOutcome.KILLED, _of_kill(unit_result)
    else:
        lost = unit_result.unknown and abandoned is not None
        outcome = UnitOutcome.KILLED if lost else UnitOutcome.NOT_STARTED
        message = (
            msg("the unit {unit} failed before dify-job could store a result", unit=unit_result.unit)
            if unit_result.unknown
            else msg(
                "the unit {unit} failed before dify-job could store a result; systemd reports {result}",
                unit=unit_result.unit,
                result=unit_result.result,
            )
        )
        hint = command("systemctl", *manager, "status", unit_result.unit)
    took = (
        (unit_result.ended - unit_result.began).total_seconds()
        if unit_result.began and unit_result.ended
        else None
    )
    run = RunRecord(
        call_time=_text(unit_result.began or unit_result.ended or now),
        outcome=outcome,
        exit_code=unit_result.exit_code,
        message=message,
        duration=took,
        hint=hint,
    )
    if outcome != UnitOutcome.KILLED or abandoned is None or not _is_left_by(unit_result, abandoned):
        return run
    return run._replace(
        call_time=abandoned.started,
        hint=msg("the run may still be in progress in Dify; {hint}", hint=hint) if hint else _MAYBE_RUNNING,
        attempts=1,
        run_id=abandoned.workflow_run_id,
    )


def _is_left_by(unit_result: UnitResult, abandoned: InFlight) -> bool:
    """Return False for the run of another process."""
    started = abandoned.began
    if started is None:
        return False
    began, ended = unit_result.began or started, unit_result.ended or started
    return began - _ROUNDING <= started <= ended + _ROUNDING


def _of_status(code: int, unit: str, manager: tuple[str, ...]) -> tuple[str, str, str | None]:
    """Return outcome, message and hint of a process that exited or was never started."""
    journal = command("journalctl", *manager, "-u", unit, "-n", "20")
    known = next((row for row in TABLE if row.code == code), None)
    if known is not None:
        return known.outcome, known.when, journal if code else None
    if (why := why_not_started(code)) is not None:
        hint = msg(
            "to see the reason, run: {status}; if the interpreter or a directory was moved, "
            "write the units again: {install}",
            status=command("systemctl", *manager, "status", unit),
            install=command("dify-job", "install", "--installed"),
        )
        return (
            UnitOutcome.NOT_STARTED,
            msg("systemd did not start the run: status {reason}", reason=why),
            hint,
        )
    return (
        UnitOutcome.CRASHED,
        msg("the process of the run ended with status {code}, which dify-job does not use", code=code),
        journal,
    )


def _of_kill(unit_result: UnitResult) -> tuple[str, str | None]:
    why, hint = _KILLED.get(
        unit_result.result,
        (msg("the process of the run was killed by SIG{signal}", signal=unit_result.status), None),
    )
    return msg(
        "{reason} (systemd reports {result}; code={code}, status={status})",
        reason=why,
        result=unit_result.result,
        code=unit_result.code,
        status=unit_result.status,
    ), hint


def _text(at: datetime) -> str:
    return at.astimezone().isoformat(timespec="milliseconds")
