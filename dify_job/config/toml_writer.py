"""Write values as TOML."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.timespan import timespan_text
from .model import Expectation


def toml(value: Any) -> str:
    """Return a value in TOML, with printable characters only; a basic string is nearly a JSON string.

    Raises:
        JobError: The value is null, which TOML lacks (config).
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{bare_or_quoted(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, Path):
        return toml(str(value))
    if value is None:
        raise JobError(
            Outcome.CONFIG,
            msg("an input has the value null, which a configuration file cannot contain"),
            msg("remove the input from DIFY_INPUTS"),
        )
    if isinstance(value, float):
        return {"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan"}.get(json.dumps(value), repr(value))
    text = json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()  # TOML has no surrogates
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def document(job: str, values: Mapping[str, Any]) -> str:
    """Return a config file with one job.

    Args:
        job: The job's name.
        values: Its settings, as a config file has them.
    """
    return f"[jobs.{job}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in values.items())


def bare_or_quoted(key: str) -> str:
    """Return a key in TOML."""
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else toml(key)


def toml_table(value: Any) -> dict[str, Any]:
    """Return a structured value as a table without unset keys."""
    table = {name: item for name, item in value._asdict().items() if item not in (None, ())}
    if table.get("downloads") is not None:
        table["downloads"] = table["downloads"]._asdict()
    if table.get("mode") is not None:
        table["mode"] = f"{table['mode']:04o}"
    if "max_wait" in table:
        table["max_wait"] = timespan_text(value.max_wait)
    return table


def toml_expectation(wanted: Expectation) -> Any:
    """Return an expectation in the form of a configuration file."""
    words: dict[str, Any] = {"nonempty": True} if wanted.nonempty else {}
    words |= {"equals": wanted.equals[0]} if wanted.equals else {}
    words |= {"regex": wanted.regex} if wanted.regex is not None else {}
    return words | ({"type": "|".join(wanted.type)} if wanted.type else {}) or "present"
