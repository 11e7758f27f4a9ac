"""The commented configuration of a new job. Text of a server is inserted as data, never as TOML."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import log
from ..messages.sanitize import one_line
from ..system.templates import render_file
from .model import ScheduleConfig
from .schema import schedule_keys
from .toml_writer import bare_or_quoted, toml

_MAX_NOTE = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftInput:
    """One input of the app. value: None if a person must fill it in; note: the comment above it."""

    name: str
    note: str
    value: Any = None
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A new job. app: the server's description in one line; whole: write a complete configuration file."""

    job: str
    base_url: str
    key_file: Path
    schedule: ScheduleConfig | None = None
    ca_file: Path | None = None
    app: str = ""
    inputs: Sequence[DraftInput] = ()
    files: Sequence[DraftInput] = ()
    whole: bool = False


def draft_text(draft: Draft) -> str:
    """Return the text of the config file of a new job."""
    fields = {name: getattr(draft, name) for name in Draft.__slots__}
    schedule = schedule_keys(draft.schedule) if draft.schedule is not None else {}
    functions = {"toml": toml, "key": bare_or_quoted, "comment": comment}
    return render_file("config/job.toml.j2", fields | functions | {"schedule": schedule})


def comment(text: str) -> str:
    """Return a text that is safe in a TOML comment and on a terminal."""
    return one_line(log.redact(text), _MAX_NOTE)
