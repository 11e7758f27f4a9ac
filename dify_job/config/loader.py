"""Find the configuration, merge its layers, and return frozen jobs with the origin of each value."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import join, msg, value_error, with_setting
from ..system import json_text
from ..system.paths import absolute
from .discovery import VALIDATE, Document, find_config, read_documents, suggestion, table_in, valid_name
from .environment import Environment, read_environment
from .model import BrokenFile, Config, Job, KeySource, Origin, ScheduleConfig, Source
from .schema import FIELDS, KEY_KINDS, SCHEDULE_KINDS, SETTINGS, merge_layers

DEFAULT_BASE_URL = "http://localhost/v1"
_BUILT_IN = Origin(Source.BUILT_IN)


class _Layer(NamedTuple):
    """One table of a document. below: the path of the table."""

    values: Mapping[str, Any]
    document: Document
    below: tuple[str, ...]

    def place(self, key: str) -> str:
        return self.document.place((*self.below, key))

    def origin(self, key: str, *, with_line: bool) -> Origin:
        line = self.document.line_of((*self.below, key)) if with_line else None
        return Origin(Source.FILE, str(self.document.path), line)


def load_config(
    path: Path | None = None,
    env_file: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, Any] | None = None,
    with_lines: bool = False,
) -> Config:
    """Read all jobs. Flags override the job's table, which overrides [defaults] and built-in values.

    Args:
        path: From --config.
        env_file: From --env-file. Without a path, the job `default` is read from it, and no configuration.
        environ: The variables of the process.
        flags: Settings from options.
        with_lines: Add line numbers to origins, for the messages of checks and for `config show`.

    Returns:
        The jobs; `broken` has the jobs with an error, and those that a broken file of config.d concerns.

    Raises:
        JobError: There are errors, and no job can be used; the error lists every mistake.
    """
    found = None if env_file is not None and path is None else find_config(path, environ)
    if found is None:
        return _from_environment(read_environment(env_file, environ), flags or {})
    documents, broken_files = read_documents(found)
    jobs: dict[str, Job] = {}
    broken: dict[str, JobError] = {}
    errors = {each.error: None for each in broken_files}
    for name in _job_names(documents, broken_files):
        layers = _layers(name, documents)
        faults = [each.error for each in broken_files if each.is_for(name)]
        if mistakes := dict.fromkeys(mistake for layer in layers for mistake in _layer_errors(layer)):
            faults.append(JobError(Outcome.CONFIG, join("\n", mistakes), VALIDATE))
        if faults:
            errors |= dict.fromkeys(faults)
            broken[name] = _join_errors(faults)
            continue
        values: dict[str, Any] = {}
        origins: dict[str, Origin] = {}
        for layer in layers:
            values = merge_layers(values, layer.values)
            origins |= {key: layer.origin(key, with_line=with_lines) for key in layer.values}
        jobs[name] = _build(name, values, origins, flags or {}, found.parent)
    config = Config(
        path=found,
        files=tuple(document.path for document in documents),
        jobs=jobs,
        broken=broken,
        broken_files=tuple(broken_files),
        errors=tuple(errors),
    )
    if errors and not jobs:
        raise _join_errors(config.errors)
    return config


def _join_errors(errors: Sequence[JobError]) -> JobError:
    lines = dict.fromkeys(error.message for error in errors)
    return JobError(errors[0].outcome, join("\n", lines), errors[0].hint)


def pick(config: Config, name: str | None) -> Job:
    """Return the named job, or the only one.

    Args:
        config: All jobs.
        name: The job; None for the only one.

    Raises:
        JobError: (usage) There are several jobs and no name; (config) the job does not exist or cannot be
            used.
    """
    if not config.names:
        raise JobError(
            Outcome.CONFIG,
            msg("the configuration {path} contains no job", path=config.path),
            msg("create a job: {command}", command=command("dify-job", "init", "NAME")),
        )
    if name is None and len(config.names) > 1:
        raise JobError(
            Outcome.USAGE,
            msg(
                "the configuration contains several jobs ({names}), so the command needs a job name",
                names=join(", ", config.names),
            ),
            msg("name one of these jobs in the command"),
        )
    chosen = name or config.names[0]
    if chosen in config.jobs:
        return config.jobs[chosen]
    about_it = (file.error for file in config.broken_files if file.is_for(chosen))
    raise config.broken.get(chosen) or next(about_it, None) or _no_such_job(config, chosen)


def _no_such_job(config: Config, name: str) -> JobError:
    if config.broken_files:
        return JobError(
            Outcome.CONFIG,
            msg(
                "the files that can be read contain no job {name!r}; other files have errors: {errors}",
                name=name,
                errors=_join_errors([file.error for file in config.broken_files]).message,
            ),
            config.broken_files[0].error.hint,
        )
    names = join(", ", config.names)
    add = command("dify-job", "init", name if valid_name(name) else "NAME")
    return JobError(
        Outcome.CONFIG,
        msg(
            "there is no job {chosen!r} in {place}{meant}",
            chosen=name,
            place=config.path,
            meant=suggestion(name, list(config.names)),
        )
        if config.path
        else msg("there is no job {chosen!r}, because no configuration file exists", chosen=name),
        msg(
            "the configuration contains these jobs: {names}. To create another one, run: {add}",
            names=names,
            add=add,
        )
        if config.path
        else add,
    )


def pick_all(config: Config, names: Sequence[str | None]) -> list[Job]:
    """Return the named jobs, each once; without names, all jobs.

    Args:
        config: All jobs.
        names: The jobs.

    Raises:
        JobError: A named job cannot be used; or, without names, the configuration has an error.
    """
    if config.errors and not any(names):
        raise _join_errors(config.errors)
    return pick_usable(config, names)


def pick_usable(config: Config, names: Sequence[str | None]) -> list[Job]:
    """Return the named jobs, each once; without names, all usable jobs.

    Args:
        config: All jobs.
        names: The jobs.

    Raises:
        JobError: A named job cannot be used, or there is no usable job.
    """
    named = [pick(config, name) for name in dict.fromkeys(names) if name is not None]
    return named or list(config.jobs.values()) or [pick(config, None)]


def _job_names(documents: Sequence[Document], broken_files: Sequence[BrokenFile]) -> list[str]:
    names = [
        name
        for document in documents
        if not document.is_companion
        for name in table_in(document.data.get("jobs"))
    ]
    names += [name for file in broken_files for name in sorted(file.declares)]
    return list(dict.fromkeys(names))


def _layers(name: str, documents: Sequence[Document]) -> list[_Layer]:
    """Return the tables with settings of a job; each overrides those before it."""
    tables = [(document, table_in(document.data.get("jobs"))) for document in documents]
    return [
        *(_Layer(table_in(each.data.get("defaults")), each, ("defaults",)) for each in documents),
        *(_Layer(table_in(jobs.get(name)), each, ("jobs", name)) for each, jobs in tables),
    ]


def _resolve_paths(files: Mapping[str, tuple[str, ...]], base: Path) -> dict[str, tuple[str, ...]]:
    def whole(name: str) -> str:
        if not name or "://" in name or name.startswith("{"):
            return name
        return str(base / Path(name).expanduser())

    return {key: tuple(map(whole, names)) for key, names in files.items()}


def _layer_errors(layer: _Layer) -> Iterator[str]:
    for key, value in layer.values.items():
        fault = _value_error(key, value)
        if fault is not None:
            yield msg("{place}: {mistake}", place=layer.place(key), mistake=fault)
    for kinds in (SCHEDULE_KINDS, KEY_KINDS):
        given = [key for key in kinds if key in layer.values]
        if len(given) > 1:
            yield msg(
                "{place}: the settings {keys} cannot be used together, so remove all but one",
                place=layer.place(given[1]),
                keys=join(", ", given),
            )


def _value_error(key: str, value: Any) -> str | None:
    if key == "api_key":
        return msg(
            "the API key must not be in the configuration: store it in a file, and name "
            "the file in api_key_file"
        )
    if key not in FIELDS:
        return msg("unknown setting {key!r}{meant}", key=key, meant=suggestion(key, list(FIELDS)))
    try:
        FIELDS[key](value)
    except ValueError as error:
        return with_setting(error, key)
    return None


def _build(
    name: str,
    given: Mapping[str, Any],
    origins: Mapping[str, Origin],
    flags: Mapping[str, Any],
    base: Path,
    key: KeySource | None = None,
) -> Job:
    """Return the job. base: the start of relative paths; key: the key source if no layer names one."""
    _check_flags(flags, given)
    given = merge_layers(given, flags)
    values = {setting: FIELDS[setting](value) for setting, value in given.items()}
    origins = {**origins, **{flag: Origin(Source.FLAG, f"--{flag.replace('_', '-')}") for flag in flags}}
    kind = next((kind for kind in KEY_KINDS if kind in given), None)
    file, encrypted, env = (values.pop(kind, None) for kind in KEY_KINDS)
    if kind is not None or key is None:
        key = KeySource(file, encrypted, env, origin=origins.get(kind or "", _BUILT_IN))
    schedule = ScheduleConfig(
        **{field: values.pop(field) for field in {*ScheduleConfig._fields} & values.keys()}
    )
    there = absolute(base)  # a scheduled run has another working directory
    file, encrypted = (place and there / place for place in (key.file, key.encrypted))
    job = Job(
        name=name,
        key=key._replace(file=file, encrypted=encrypted),
        schedule=schedule,
        origins={setting: origins[setting] for setting in given},
        **{"base_url": DEFAULT_BASE_URL} | values,
    )
    return job._replace(ca_file=job.ca_file and there / job.ca_file, files=_resolve_paths(job.files, there))


def _check_flags(flags: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for flag, value in flags.items():
        if flag not in FIELDS:
            raise JobError(
                Outcome.USAGE,
                msg(
                    "no setting has the name {name!r}{meant}", name=flag, meant=suggestion(flag, list(FIELDS))
                ),
                msg("the manual lists all settings: man dify-job.toml"),
            )
        try:
            FIELDS[flag](merge_layers(given, {flag: value})[flag])
        except ValueError as error:
            raise JobError(
                Outcome.USAGE,
                with_setting(error, f"--{flag.replace('_', '-')}"),
                command("dify-job", "run", "--help"),
            ) from None


def _from_environment(environment: Environment, flags: Mapping[str, Any]) -> Config:
    examples = {setting.name: setting.variable for setting in SETTINGS}
    values: dict[str, Any] = {}
    origins = dict(environment.origins)
    for key, text in environment.values.items():
        try:
            values[key] = _json(text) if key == "inputs" else text
            FIELDS[key](values[key])
        except ValueError as error:
            raise JobError(
                Outcome.CONFIG,
                with_setting(error, origins[key].where),
                msg("write the variable like this: {example}", example=examples[key]),
            ) from None
    job = _build("default", values, origins, flags, Path(), environment.key)
    return Config(
        path=None,
        files=environment.files,
        jobs={"default": job},
        auto_start=environment.auto_start,
        warnings=environment.warnings,
    )


def _json(text: str) -> Any:
    try:
        return json_text.loads(text, strict=False)  # env files can have a line end within a string
    except ValueError as error:
        raise value_error("{setting} is not JSON: {error}", error=error) from None
