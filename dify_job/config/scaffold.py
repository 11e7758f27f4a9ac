"""The commented config of a new job. Pure; what a server gave is put in as data, never as TOML."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..messages.message import msg
from ..messages.sanitize import one_line
from .model import ScheduleConfig
from .schema import schedule_keys
from .toml_writer import bare_or_quoted, toml

_LONGEST_NOTE = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftInput:
    """One input of the app: its value, or None where it is to be filled in. note: for the line above it."""

    name: str
    note: str
    value: Any = None
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A new job. app: one line about it, as the server describes it. whole: for a config file of its own."""

    job: str
    base_url: str
    key_file: Path
    schedule: ScheduleConfig | None = None
    ca_file: Path | None = None
    app: str = ""
    inputs: Sequence[DraftInput] = ()
    files: Sequence[DraftInput] = ()
    whole: bool = False


def written(draft: Draft) -> str:
    """Return the text of the config file of a new job."""
    lines: list[str] = [
        msg(
            "# Job {job} of dify-job. You can edit this file. All keys: man 5 dify-job.toml.",
            job=draft.job,
        ),
        msg(
            "# Values with their sources: dify-job config show {job}. Problems: dify-job doctor {job}.",
            job=draft.job,
        ),
    ]
    if draft.app:
        lines.append(f"# {comment(draft.app)}")
    if draft.whole:
        lines += ["", "[defaults]", msg("base_url = {toml}", toml=toml(draft.base_url))]
    lines += ["", f"[jobs.{draft.job}]"]
    if not draft.whole:
        lines.append(msg("base_url = {toml}", toml=toml(draft.base_url)))
    lines += [msg("api_key_file = {toml}", toml=toml(str(draft.key_file))), *_schedule(draft.schedule)]
    if draft.ca_file is not None:
        lines.append(msg("ca_file = {toml}", toml=toml(str(draft.ca_file))))
    lines += [
        msg('# timeout = "30min"       # the run is stopped on the server then'),
        msg('# overlap = "skip"        # while another run is under way: fail, skip or wait'),
        msg('# output = {{ file = "reports/{{{{ today }}}}.json" }}'),
    ]
    lines += _table(
        draft.job,
        "inputs",
        draft.inputs,
        msg(
            "What the app asks for; strings can use {{{{ today }}}}, {{{{ now }}}} and {{{{ "
            "last_success }}}}."
        ),
    )
    lines += _table(draft.job, "files", draft.files, msg("Files that the app asks for: paths or URLs."))
    return "\n".join(lines) + "\n"


def comment(text: str) -> str:
    """Return a text that cannot leave its comment, nor do anything to a terminal."""
    return one_line(text, _LONGEST_NOTE)


def _schedule(schedule: ScheduleConfig | None) -> list[str]:
    if schedule is None:
        return [msg('# every = "1h"            # the default; or calendar = "...", or cron = "..."')]
    return [f"{key} = {toml(value)}" for key, value in schedule_keys(schedule).items()]


def _table(job: str, name: str, inputs: Sequence[DraftInput], note: str) -> list[str]:
    if not inputs:
        return []
    lines = ["", f"# {note}", f"[jobs.{job}.{name}]"]
    for one in inputs:
        key = bare_or_quoted(one.name)
        lines.append(f"# {comment(one.note)}")
        if one.value is not None:
            lines.append(f"{key} = {toml(one.value)}")
        elif one.required:
            lines.append(msg('# {comment} = ""    # FILL IN: the app requires it', comment=comment(key)))
        else:
            lines.append(f'# {comment(key)} = ""')
    return lines
