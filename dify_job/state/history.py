"""Past runs of a job, from its state directory. Nothing is locked or written."""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from ..exit_codes import Outcome
from ..messages.message import msg
from ..messages.stored import as_data, from_data
from ..system.json_text import loads_answer
from ..system.timestamps import read_time
from .reader import read_state_file

_SCHEMA = 1  # of the output and the records of runs
_MEAN_OF = 100  # succeeded runs
_MAX_NUMBER = 1e11  # of seconds, tokens and steps; the job's user can write any number
_BLOCKS, _PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", "_.-:=+*#"


class UnitOutcome(StrEnum):
    """The outcome of a start that stored no record, from what systemd reports of its process."""

    KILLED = "killed"
    CRASHED = "crashed"
    NOT_STARTED = "not-started"


class RunRecord(NamedTuple):
    """One line of the history.

    Attributes:
        call_time: The start, RFC 3339.
        outcome: An Outcome or a UnitOutcome; any text in a record of another version.
        exit_code: The exit code; None for a killed process.
        message: The description in English.
        duration: The duration in seconds.
        hint: The fix in English.
        failed_node: Title, type and error of the node at which the run failed or was stopped, if known.
        message_data: Template and values of the message; None in a record of an older version.
        hint_data: Template and values of the hint; None in a record of an older version.
        job: The name of the job; empty in a record that the run itself did not store.
        status: The status in Dify.
        elapsed_time: The duration in Dify, in seconds.
    """

    call_time: str
    outcome: str
    exit_code: int | None
    message: str
    duration: float | None = None
    attempts: int = 0
    run_id: str | None = None
    tokens: int | None = None
    steps: int | None = None
    hint: str | None = None
    failed_node: Mapping[str, str | None] | None = None
    message_data: object = None
    hint_data: object = None
    job: str = ""
    task_id: str | None = None
    status: str | None = None
    elapsed_time: float | None = None

    @classmethod
    def of(cls, record: Any) -> "RunRecord":
        """Parse a record.

        Raises:
            ValueError: The data are no record.
        """
        if not isinstance(record, Mapping) or not isinstance(record.get("outcome"), str):
            raise ValueError(msg("this is not the record of a run"))
        return cls(
            call_time=_text(record, "call_time") or "",
            outcome=record["outcome"],
            exit_code=_whole(record, "exit_code"),
            message=_text(record, "message") or "",
            duration=_seconds(record, "duration_s"),
            attempts=_whole(record, "attempts") or 0,
            run_id=_text(record, "workflow_run_id"),
            tokens=_whole(record, "total_tokens"),
            steps=_whole(record, "total_steps"),
            hint=_text(record, "hint"),
            failed_node=_node(record.get("failed_node")),
            message_data=record.get("message_data"),
            hint_data=record.get("hint_data"),
            job=_text(record, "job") or "",
            task_id=_text(record, "task_id"),
            status=_text(record, "status"),
            elapsed_time=_seconds(record, "elapsed_time"),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the line of the history.

        The line also has message and hint as data, so that each reader can see them in their own language.
        """
        return {
            "success": self.exit_code == 0,
            "message": self.message,
            "call_time": self.call_time,
            "schema": _SCHEMA,
            "job": self.job,
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "attempts": self.attempts,
            "duration_s": self.duration,
            "hint": self.hint,
            "failed_node": dict(self.failed_node) if self.failed_node is not None else None,
            "workflow_run_id": self.run_id,
            "task_id": self.task_id,
            "status": self.status,
            "elapsed_time": self.elapsed_time,
            "total_tokens": self.tokens,
            "total_steps": self.steps,
            "message_data": self.message_data or as_data(self.message),
            "hint_data": self.hint_data or as_data(self.hint),
        }

    @property
    def message_text(self) -> str:
        """The message, which can be translated unless an older version wrote the record."""
        return from_data(self.message, self.message_data)

    @property
    def hint_text(self) -> str | None:
        """The hint, or None."""
        return self.hint and from_data(self.hint, self.hint_data)

    @property
    def skipped(self) -> bool:
        """True if the run was skipped as configured."""
        return self.outcome == Outcome.SKIPPED

    @property
    def succeeded(self) -> bool:
        """True for exit status 0 of a run that was not skipped."""
        return self.exit_code == 0 and not self.skipped

    @property
    def began(self) -> datetime | None:
        """The start, aware; None if the record has none."""
        return read_time(self.call_time)


class Summary(NamedTuple):
    """Figures of a history.

    Attributes:
        last_success: The start of the last successful run.
        failures_in_a_row: The number of consecutive failures up to now.
        mean_duration: The mean duration of successful runs in seconds.
    """

    last_success: str | None = None
    failures_in_a_row: int = 0
    mean_duration: float | None = None


def read_history(directory: Path) -> tuple[RunRecord, ...]:
    """Return all recorded runs in the order of their starts; damaged lines are ignored.

    In the file, the record of a run that a later process settled follows those of later runs.

    Raises:
        OSError: The file exists and cannot be read.
    """
    try:
        content = read_state_file(directory / "history.jsonl")
    except FileNotFoundError:
        return ()
    found = []
    for line in content.decode(errors="replace").split("\n"):
        with contextlib.suppress(ValueError):
            found.append(RunRecord.of(loads_answer(line)))
    return _in_order(found)


def _in_order(runs: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
    """Sort runs by their times; a run without a time, or of a clock that was ahead, does not move."""
    times, last, now = [], datetime.min.replace(tzinfo=UTC), datetime.now(UTC)
    for run in runs:
        last = run.began if run.began is not None and run.began <= now else last
        times.append(last)
    return tuple(run for _, run in sorted(zip(times, runs, strict=True), key=itemgetter(0)))


def summary(runs: Sequence[RunRecord]) -> Summary:
    """Return the summary of a history. Two records of one run are one failure if either failed.

    Args:
        runs: The runs, oldest first; skipped runs do not count.
    """
    real = [run for run in runs if not run.skipped]
    succeeded = [run for run in real if run.succeeded]
    durations = [run.duration for run in succeeded[-_MEAN_OF:] if run.duration is not None]
    return Summary(
        last_success=succeeded[-1].call_time if succeeded else None,
        failures_in_a_row=_failures_at_the_end(real),
        mean_duration=sum(durations) / len(durations) if durations else None,
    )


def _failures_at_the_end(real: Sequence[RunRecord]) -> int:
    """Count the consecutive failures; the records of a lost run and of its settlement count once."""
    failed = {name for run in real if not run.succeeded for name in _names(run)}
    counted: set[str] = set()
    count = 0
    for run in reversed(real):
        names = _names(run)
        if run.succeeded and not names & failed:
            break
        count += not names & counted
        counted |= names
    return count


def _names(run: RunRecord) -> set[str]:
    """Return the identity of a run that its records share: its id, or its start if the id was unknown."""
    return {name for name in (run.run_id, run.call_time) if name}


def sparkline(values: Sequence[float], *, plain: bool = False) -> str:
    """Return a sparkline with one character per value.

    Args:
        values: The values.
        plain: Use ASCII only.
    """
    blocks = _PLAIN_BLOCKS if plain else _BLOCKS
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((value - low) * scale)] for value in values)


def _node(node: Any) -> Mapping[str, str | None] | None:
    if not isinstance(node, Mapping):
        return None
    title, node_type = _text(node, "title") or "", _text(node, "type") or ""
    return {"title": title, "type": node_type, "error": _text(node, "error")}


def _text(record: Mapping[str, Any], key: str) -> str | None:
    return record[key] if isinstance(record.get(key), str) else None


def _whole(record: Mapping[str, Any], key: str) -> int | None:
    value = record.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= _MAX_NUMBER:
        return None
    return value


def _seconds(record: Mapping[str, Any], key: str) -> float | None:
    value = record.get(key)
    return float(value) if isinstance(value, (int, float)) and 0 <= value < _MAX_NUMBER else None
