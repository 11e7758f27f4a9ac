"""A job as TOML again, for a place that is not this machine: what differs from built in."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.timespan import timespan_text
from .model import Expectation, Job, ScheduleConfig

_TIMES = frozenset(
    {
        "timeout",
        "connect_timeout",
        "idle_timeout",
        "wait_network",
        "queue_time",
        "every",
        "jitter",
        "max_late",
    }
)
# What the other place says in its own words: its scheduler, its user, its key, and where state and log are.
_LEFT_OUT = frozenset({"name", "base_url", "key", "schedule", "run_as", "state", "log_file", "origins"})


def job_document(job: Job, **others: Any) -> str:
    """A whole config with this one job; others: keys of the job that say something else there."""
    values: dict[str, Any] = {"base_url": job.base_url}
    plain = Job(name=job.name, base_url=job.base_url, key=job.key)
    for field in fields(Job):
        value = getattr(job, field.name)
        if field.name not in _LEFT_OUT and value != getattr(plain, field.name):
            values[field.name] = as_written(field.name, value)
    values |= others
    return f"[jobs.{job.name}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in values.items())


def schedule_keys(schedule: ScheduleConfig) -> dict[str, Any]:
    """The keys that say when a job runs, as a config file has them; jitter and such are others."""
    given = {
        "every": None if schedule.every is None else timespan_text(schedule.every),
        "cron": schedule.cron,
        "calendar": list(schedule.calendar) or None,
        "timezone": schedule.timezone,
    }
    return {key: value for key, value in given.items() if value is not None}


def toml(value: Any) -> str:
    """A value in TOML, in printable characters alone; a basic string is nearly a JSON string."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{bare_or_quoted(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Path):
        return toml(str(value))
    if value is None:
        raise JobError(
            Outcome.CONFIG,
            msg("an input is null, which a config file cannot say"),
            msg("leave it out of DIFY_INPUTS"),
        )
    if isinstance(value, float):
        return {"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan"}.get(json.dumps(value), repr(value))
    text = json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()  # TOML has no surrogates
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def bare_or_quoted(key: str) -> str:
    """A key in TOML."""
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else toml(key)


def as_written(key: str, value: Any) -> Any:
    """The value of a key as a config file has it."""
    if key in _TIMES and value is not None:
        return timespan_text(value)
    if key == "headers":
        return {name: {"file": str(item)} if isinstance(item, Path) else item for name, item in value.items()}
    if key == "expect":
        return {path: _expected(wanted) for path, wanted in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        told = {name: item for name, item in asdict(value).items() if item not in (None, ())}
        if told.get("mode") is not None:
            told["mode"] = f"{told['mode']:04o}"
        return told | {"max_wait": timespan_text(value.max_wait)} if key == "retry" else told
    return value


def _expected(wanted: Expectation) -> Any:
    told: dict[str, Any] = {"nonempty": True} if wanted.nonempty else {}
    told |= {"equals": wanted.equals[0]} if wanted.equals else {}
    told |= {"regex": wanted.regex} if wanted.regex is not None else {}
    return told | ({"type": "|".join(wanted.types)} if wanted.types else {}) or "present"
