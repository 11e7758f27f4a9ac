"""`dify-job config show` and `config validate`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from ..checks.context import HostContext
from ..checks.registry import Needs, rejections
from ..config.loader import load_config, pick_usable
from ..config.model import Config, Job, Origin, Source
from ..config.schema import KEY_KINDS, SETTINGS
from ..config.secrets import read_key
from ..config.toml_writer import toml
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.i18n import translate
from ..messages.message import join, msg
from ..report.text import columns_of, padded
from .options import Globals, json_option, pass_globals
from .output import echo, echo_data, echo_json

_BUILT_IN = Origin(Source.BUILT_IN)
_HIDDEN = "…"
_MAX_VALUE_WIDTH = 48  # columns of a value before its origin


@click.group(name="config")
def config_group() -> None:
    """Show the configuration with the origin of each value, or validate it."""


@config_group.command()
@click.argument("job", required=False)
@json_option
@pass_globals
def show(options: Globals, /, *, job: str | None, as_json: bool) -> None:
    """Print every value of every job and where it came from; the key is masked.

    If the API key cannot be read, it shows the reason instead. To find errors, use config validate.
    """
    rows = [row for each in pick_usable(_load(options), [job]) for row in _rows(each)]
    if as_json:
        echo_json(
            [{"job": j, "key": key, "value": value, "origin": origin} for j, key, value, origin in rows]
        )
        return
    shown = [
        (name, key, value if isinstance(value, str) else toml(value), translate(origin))
        for name, key, value, origin in rows
    ]
    widths = [max(map(columns_of, column)) for column in zip(*shown, strict=True)]
    for name, key, value, origin in shown:
        cells = (
            padded(name, widths[0]),
            padded(key, widths[1]),
            padded(value, min(widths[2], _MAX_VALUE_WIDTH)),
        )
        echo_data("  ".join((*cells, origin)))


@config_group.command()
@pass_globals
def validate(options: Globals) -> None:
    """Check every file, key, schedule and template of every job; exit 0 when there is no error."""
    config = _load(options)
    now = datetime.now(UTC)
    contexts = [HostContext.of(job, config, [], now) for job in config.jobs.values()]
    found = (error for context in contexts for error in rejections(context, Needs.CONFIG))
    mistakes = [*config.errors, *found]
    if len(mistakes) == 1:
        raise JobError(Outcome.CONFIG, mistakes[0].message, mistakes[0].hint)
    if mistakes:
        by_hint: dict[str, list[str]] = {}
        for each in mistakes:
            by_hint.setdefault(each.hint or "", []).append(each.message)
        lines = (line for hint, texts in by_hint.items() for line in (*texts, msg("  {hint}", hint=hint)))
        raise JobError(Outcome.CONFIG, join("\n", lines))
    where = str(config.path) if config.path else msg("the environment variables")
    if len(config.jobs) == 1:
        echo(msg("{where}: 1 job, no errors", where=where))
    else:
        echo(msg("{where}: {count} jobs, no errors", where=where, count=len(config.jobs)))


def _load(options: Globals) -> Config:
    return load_config(options.config_path, options.env_file, with_lines=True)


def _rows(job: Job) -> list[tuple[str, str, Any, str]]:
    rows: list[tuple[str, str, Any, str]] = []
    for setting in SETTINGS:
        value = setting.value(job)
        if setting.name not in KEY_KINDS and value is not None:
            written = _plain(setting.write(value))
            if setting.name == "headers":
                written = {name: one if isinstance(one, dict) else _HIDDEN for name, one in written.items()}
            if written not in ([], {}):
                origin = job.origins.get(setting.name, _BUILT_IN)
                rows.append((job.name, setting.name, written, str(origin)))
    place = job.key.file or job.key.encrypted or job.key.env or job.key.origin
    return [*rows, (job.name, "api_key", _masked(job), str(place))]


def _masked(job: Job) -> str:
    try:
        return read_key(job).masked()
    except JobError as error:
        return translate(msg("({reason})", reason=error.message))


def _plain(value: Any) -> Any:
    """Return a value as JSON types."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float, bool, list)) or value is None else str(value)
