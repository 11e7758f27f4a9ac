"""`dify-job config show` and `config validate`."""

import os
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..config.loader import load_config, pick_usable
from ..config.model import Config, Job, Origin, Source, constant_parent
from ..config.permissions import check_ca_file
from ..config.schema import KEY_KINDS, SCHEDULE_KINDS, SETTINGS
from ..config.secrets import read_headers, read_key, read_urls
from ..config.toml_writer import toml
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..run.files import look_at
from ..run.inputs import Templates
from ..schedule import upcoming
from ..system.managed_files import is_missing
from .options import Globals
from .output import echo, echo_json

_BUILT_IN = Origin(Source.BUILT_IN)
_HIDDEN = "…"


@click.group(name="config")
def config_group() -> None:
    """Show the configuration with the origin of each value, or validate it."""


@config_group.command()
@click.argument("job", required=False)
@click.option("--json", "as_json", is_flag=True, help=msg("As JSON."))
@click.pass_context
def show(ctx: click.Context, /, *, job: str | None, as_json: bool) -> None:
    """Print every value of every job and where it came from; the key is masked.

    It shows a key that cannot be read as what is wrong with it, and judges nothing: config validate does.
    """
    rows = [row for each in pick_usable(_load(ctx), [job]) for row in _rows(each)]
    if as_json:
        echo_json(
            [{"job": j, "key": key, "value": value, "origin": origin} for j, key, value, origin in rows]
        )
        return
    data = [
        (name, key, value if isinstance(value, str) else toml(value), origin)
        for name, key, value, origin in rows
    ]
    widths = [max(len(row[column]) for row in data) for column in range(3)]
    for name, key, value, origin in data:
        echo(
            msg(
                "{name:<{width}}  {key:<{width2}}  {value:<{width3}}  {origin}",
                name=name,
                width=widths[0],
                key=key,
                width2=widths[1],
                value=value,
                width3=min(widths[2], 48),
                origin=origin,
            )
        )


@config_group.command()
@click.pass_context
def validate(ctx: click.Context) -> None:
    """Check every file, key, schedule and template of every job; exit 0 when all of it can be used."""
    config = _load(ctx)
    mistakes = [*config.errors, *(mistake for job in config.jobs.values() for mistake in _mistakes(job))]
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        lines = (line for each in mistakes for line in (each.message, msg("  {hint}", hint=each.hint or "")))
        raise JobError(Outcome.CONFIG, join("\n", lines))
    where = str(config.path) if config.path else msg("the environment")
    if len(config.jobs) == 1:
        echo(msg("{where}: 1 job, no mistakes", where=where))
    else:
        echo(msg("{where}: {count} jobs, no mistakes", where=where, count=len(config.jobs)))


def _load(ctx: click.Context) -> Config:
    options = ctx.ensure_object(Globals)
    return load_config(options.config_path, options.env_file, with_lines=True)


def _mistakes(job: Job) -> Iterator[JobError]:
    """What no single value shows: the key's file, times that never come, names that no template has."""
    now = datetime.now(UTC)
    # A unit can have other variables than this shell, and a job that never ran will have succeeded once.
    templates = Templates(job, lambda: now, dict.fromkeys(job.env, "") | os.environ)
    times = next((key for key in SCHEDULE_KINDS if key in job.origins), "timezone")
    checks: list[tuple[str, Callable[[], object]]] = [
        ("api_key", lambda: read_key(job)),
        ("ca_file", lambda: check_ca_file(job.ca_file)),
        (times, lambda: upcoming.check(job.times, now)),
        ("inputs", templates.inputs),
        ("files", templates.files),
        ("output", templates.output_file),
    ]
    # A name that is a template is of a file that need not be there yet.
    for key, names in job.files.items():
        constant = [
            name for name in ([names] if isinstance(names, str) else names) if name and "{" not in name
        ]
        checks.append(("files", partial(look_at, {key: constant})))
    checks.append(("headers", lambda: read_headers(job)))
    checks += [("notify", partial(read_urls, file)) for file in job.notify.files]
    if job.output.file is not None:
        checks.append(("output", partial(_check_directory, constant_parent(job.output.file))))
    if job.metrics.textfile is not None:
        checks.append(("metrics", partial(_check_directory, job.metrics.textfile.parent)))
    if job.log_file is not None:
        checks.append(("log_file", partial(_check_directory, job.log_file.parent)))
    places = {"api_key": job.key.origin, **job.origins}
    for key, check in checks:
        try:
            check()
        except JobError as error:
            place = places.get(key)
            if place is not None and place.line:
                message: str = msg("{place}: {mistake}", place=place, mistake=error.message)
            else:
                message = error.message
            yield JobError(Outcome.CONFIG, message, error.hint)


def _check_directory(directory: Path | None) -> None:
    """Raise JobError (config) for a directory that is not there; None is one in the state directory."""
    if directory is not None and is_missing(directory, stat.S_ISDIR):
        raise JobError(
            Outcome.CONFIG,
            msg("the directory {directory} does not exist", directory=directory),
            f"mkdir -p {shlex.quote(str(directory))}",
        )


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
        return f"({error.message})"


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float, bool, list)) or value is None else str(value)
