"""Make the record of a start that left none itself, for notify, status, history and doctor. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..exit_codes import TABLE, Outcome
from ..messages.message import msg
from ..messages.problem import command
from ..state.history import RunRecord
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
_MAY_GO_ON = msg("the run may still be in progress in Dify")
# Statuses that systemd gives where it cannot start the process (systemd.exec(5), "Process Exit Codes").
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
_ROUNDED = timedelta(seconds=2)  # systemd prints whole seconds
_RECORDED_LATER = timedelta(minutes=1)  # what a handler of the unit may take to store a record
_GAVE_WAY = frozenset({Outcome.SKIPPED.value, Outcome.BUSY.value})
_OF_A_HANDLER = frozenset({"killed", "crashed", "not-started"})


def why_not_started(exit_code: int | None) -> str | None:
    """Return `203/EXEC, ...` for a status with which systemd could not start the process, else None."""
    if exit_code is None or not _FIRST_OF_SYSTEMD <= exit_code <= _LAST_OF_SYSTEMD:
        return None
    name, why = _NOT_STARTED.get(exit_code, ("", msg("systemd could not prepare the process")))
    status = f"{exit_code}/{name}" if name else exit_code
    return msg("{status}, {why}", status=status, why=why)


def with_unit_result(
    runs: Sequence[RunRecord] | None, ending: UnitResult | None, left: InFlight | None
) -> tuple[RunRecord, ...]:
    """Return the history of a job with the last start of its unit, where that left no record of its own.

    A process that was killed, or not started, or that found its configuration broken leaves none.

    Args:
        runs: The history, oldest first; None where it cannot be read: then the unit's end is all there is.
        ending: How the unit's last process ended; None where none did, or it is not known.
        left: The run that a process has left without an end.
    """
    known = _with_ending(runs, ending, left)
    if left is None or left.reported is not None or _is_recorded(left, known, ending):
        return known
    message = msg("the process of the run ended without recording an outcome")
    record = RunRecord(
        left.started, "killed", None, message, hint=_MAY_GO_ON, attempts=1, run_id=left.workflow_run_id
    )
    return _inserted(known, record)


def _is_recorded(left: InFlight, known: Sequence[RunRecord], ending: UnitResult | None) -> bool:
    """True where a record, or the unit's end, is of the run that was left, or of a later one."""
    started = _began(left)
    if started is None or (ending is not None and ending.ended is not None and started <= ending.ended):
        return True
    ids = {run.run_id for run in known if run.run_id is not None}
    return left.workflow_run_id in ids or any(run.call_time == left.started for run in known)


def _inserted(runs: Sequence[RunRecord], record: RunRecord) -> tuple[RunRecord, ...]:
    at = record.began
    before = [run for run in runs if run.began is None or at is None or run.began <= at]
    return (*before, record, *(run for run in runs if run not in before))


def _with_ending(
    runs: Sequence[RunRecord] | None, ending: UnitResult | None, left: InFlight | None
) -> tuple[RunRecord, ...]:
    if ending is None or ending.ended is None:
        return tuple(runs or ())
    if runs is None:
        return (record_of(ending, left, ending.ended),)
    if ending.result == "success" or any(_is_of(run, ending) for run in runs):
        return tuple(runs)
    record = record_of(ending, left, ending.ended)
    return _inserted(runs, record)


def latest_run(
    last: Mapping[str, Any] | None,
    runs: Sequence[RunRecord] | None,
    ending: UnitResult | None,
    left: InFlight | None,
) -> RunRecord | None:
    """Return how the job's last start ended; None where nothing is known of any.

    A start that gave way to another run is no news of the job.

    Args:
        last: The last result of a run that had the job's lock, as its state directory has it.
        runs: As of with_unit_result.
        ending: As of with_unit_result.
        left: As of with_unit_result.
    """
    known = with_unit_result(runs, ending, left)
    newest = next((run for run in reversed(known) if run.outcome not in _GAVE_WAY), None)
    try:
        stored = RunRecord.of(last)
    except ValueError:
        return newest
    return stored if newest is None or newest.call_time == stored.call_time else newest


def _is_of(run: RunRecord, ending: UnitResult) -> bool:
    """True for the record that a start left, or that was made of its end later."""
    if run.began is None or ending.ended is None:
        return False
    first = (ending.began or ending.ended) - _ROUNDED
    made_later = run.outcome in _OF_A_HANDLER or run.exit_code == ending.exit_code
    return first <= run.began <= ending.ended + (_RECORDED_LATER if made_later else _ROUNDED)


def record_of(ending: UnitResult, left: InFlight | None, now: datetime) -> RunRecord:
    """Return the record of a start, from the end of its unit's process.

    Args:
        ending: How it ended.
        left: What a process that was killed had in flight.
        now: The current time, aware, for a start without a known time.
    """
    manager = ("--user",) if ending.user else ()
    if ending.exit_code is not None and ending.result in ("exit-code", "success"):
        outcome, message, hint = _of_status(ending.exit_code, ending.unit, manager)
    elif ending.code in ("killed", "dumped"):
        outcome, (message, hint) = "killed", _of_kill(ending)
    else:
        outcome = "killed" if ending.unknown and left is not None else "not-started"
        message = (
            msg("the unit {unit} failed before dify-job could store a result", unit=ending.unit)
            if ending.unknown
            else msg(
                "the unit {unit} failed before dify-job could store a result; systemd reports {result}",
                unit=ending.unit,
                result=ending.result,
            )
        )
        hint = command("systemctl", *manager, "status", ending.unit)
    took = (ending.ended - ending.began).total_seconds() if ending.began and ending.ended else None
    run = RunRecord(
        call_time=_text(ending.began or ending.ended or now),
        outcome=outcome,
        exit_code=ending.exit_code,
        message=message,
        duration=took,
        hint=hint,
    )
    if outcome != "killed" or left is None or not _is_left_by(ending, left):
        return run
    return run._replace(
        call_time=left.started,
        hint=msg("the run may still be in progress in Dify; {hint}", hint=hint) if hint else _MAY_GO_ON,
        attempts=1,
        run_id=left.workflow_run_id,
    )


def _began(left: InFlight) -> datetime | None:
    try:
        return datetime.fromisoformat(left.started).astimezone(UTC)
    except ValueError:
        return None


def _is_left_by(ending: UnitResult, left: InFlight) -> bool:
    """False for what another process than the one that ended has left."""
    started = _began(left)
    if started is None:
        return False
    began, ended = ending.began or started, ending.ended or started
    return began - _ROUNDED <= started <= ended + _ROUNDED


def _of_status(code: int, unit: str, manager: tuple[str, ...]) -> tuple[str, str, str | None]:
    """Return outcome, message and hint of a process that ended by itself, or was never started."""
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
        return "not-started", msg("systemd did not start the run: status {reason}", reason=why), hint
    return (
        "crashed",
        msg("the process of the run ended with status {code}, which dify-job does not use", code=code),
        journal,
    )


def _of_kill(ending: UnitResult) -> tuple[str, str | None]:
    why, hint = _KILLED.get(
        ending.result, (msg("the process of the run was killed by SIG{signal}", signal=ending.status), None)
    )
    return msg(
        "{reason} (systemd reports {result}; code={code}, status={status})",
        reason=why,
        result=ending.result,
        code=ending.code,
        status=ending.status,
    ), hint


def _text(at: datetime) -> str:
    return at.astimezone().isoformat(timespec="milliseconds")
