"""Find the configuration, merge its layers, and give frozen jobs with the origin of each value."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.values import dataclass, replace
from .discovery import MEND, Document, Environment, find_config, read_documents, read_environment
from .model import Config, Job, KeySource, Origin, ScheduleConfig, Source
from .schema import FIELDS, SCHEDULE_KINDS

DEFAULT_BASE_URL = "http://localhost/v1"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
_KEY_KINDS = ("api_key_file", "api_key_credential", "api_key_env")
_EXAMPLES = {
    "base_url": "DIFY_BASE_URL=https://dify.example.com/v1",
    "inputs": 'DIFY_INPUTS=\'{"name": "value"}\'',
    "end_user": "DIFY_END_USER=reports",
    "every": "SCHEDULER_INTERVAL_HOURS=2",
}
_SCHEDULE = ScheduleConfig.__annotations__.keys()
_BUILT_IN = Origin(Source.BUILT_IN)


@dataclass(frozen=True)
class _Layer:
    """One table of a document, raw; below: its path."""

    values: Mapping[str, Any]
    document: Document
    below: tuple[str, ...]

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
    """All jobs: flags over the job's table over [defaults] over built in.

    path: --config; env_file: --env-file, which asks for the job `default` of that file even where there is a
    config file. flags: keys of a job as their options gave them. with_lines: origins with line numbers, which
    `config show` wants and a run does not need. Raises JobError (config) that names every mistake.
    """
    found = None if env_file is not None and path is None else find_config(path, environ)
    if found is None:
        return _from_environment(read_environment(env_file, environ), flags or {})
    documents = read_documents(found)
    mistakes: list[str] = []
    names = _job_names(documents, mistakes)
    jobs = {name: _job(name, documents, flags or {}, mistakes, with_lines=with_lines) for name in names}
    if mistakes:
        raise JobError(Outcome.CONFIG, "\n".join(dict.fromkeys(mistakes)), MEND)
    return Config(
        path=found,
        files=tuple(document.path for document in documents),
        jobs={name: job for name, job in jobs.items() if job is not None},
    )


def valid_name(job: str) -> bool:
    """True for a name that can stand in a unit's, a crontab's, the journal's and Kubernetes' names."""
    return _NAME.fullmatch(job) is not None


def pick(config: Config, name: str | None) -> Job:
    """The named job, or the only one.

    Raises JobError: usage where one of several must be named, config for a name that is not there.
    """
    names = ", ".join(config.jobs)
    if not config.jobs:
        raise JobError(
            Outcome.CONFIG, msg("{path} has no job", path=config.path), msg("dify-job init NAME adds one")
        )
    if name is None and len(config.jobs) > 1:
        raise JobError(
            Outcome.USAGE,
            msg("the configuration has several jobs, so one must be named: {names}", names=names),
            msg("dify-job run JOB"),
        )
    if name is not None and name not in config.jobs:
        place = config.path or msg("the environment")
        raise JobError(
            Outcome.CONFIG,
            msg(
                "there is no job {name!r} in {place}{meant}",
                name=name,
                place=place,
                meant=_meant(name, list(config.jobs)),
            ),
            msg("the jobs are: {names}; dify-job init {name} adds it", names=names, name=name)
            if config.path
            else msg("dify-job init {name}", name=name),
        )
    return config.jobs[name or next(iter(config.jobs))]


def pick_all(config: Config, names: Sequence[str | None]) -> list[Job]:
    """The named jobs, each once, or all where none is named. Raises JobError where there are none such."""
    named = [pick(config, name) for name in dict.fromkeys(names) if name is not None]
    return named or list(config.jobs.values()) or [pick(config, None)]


def _job_names(documents: Sequence[Document], mistakes: list[str]) -> list[str]:
    names: dict[str, None] = {}
    for document in documents:
        for key, value in document.data.items():
            if key not in ("defaults", "jobs"):
                hint = _meant(key, ["defaults", "jobs"])
                mistakes.append(
                    msg(
                        "{place}: unknown key {key!r}{hint}", place=document.place((key,)), key=key, hint=hint
                    )
                )
            elif not isinstance(value, dict):
                mistakes.append(msg("{place}: {key} must be a table", place=document.place((key,)), key=key))
        for name, table in _tables(document.data.get("jobs")).items():
            if document.is_companion:
                continue  # of a job that another file has, or had
            if not valid_name(name):
                mistakes.append(
                    msg(
                        "{place}: the job name {name!r} is not allowed; use a-z, 0-9, - and _, at most 48, "
                        "the first a letter or digit",
                        place=document.place(("jobs", name)),
                        name=name,
                    )
                )
            elif not isinstance(table, dict):
                mistakes.append(
                    msg(
                        "{place}: jobs.{name} must be a table",
                        place=document.place(("jobs", name)),
                        name=name,
                    )
                )
            else:
                names[name] = None
    return list(names)


def _job(
    name: str,
    documents: Sequence[Document],
    flags: Mapping[str, Any],
    mistakes: list[str],
    *,
    with_lines: bool,
) -> Job | None:
    layers = [_Layer(_tables(d.data.get("defaults")), d, ("defaults",)) for d in documents]
    layers += [_Layer(_tables(_tables(d.data.get("jobs")).get(name)), d, ("jobs", name)) for d in documents]
    merged: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    before = len(mistakes)
    for layer in layers:
        _check_layer(layer, mistakes)
        merged = _over(merged, layer.values)
        origins |= {key: layer.origin(key, with_line=with_lines) for key in layer.values}
    if len(mistakes) > before:
        return None
    job = _build(name, merged, origins, flags)
    return replace(job, files=_from_there(job.files, documents[0].path.parent)) if job.files else job


def _from_there(files: Mapping[str, str | tuple[str, ...]], base: Path) -> dict[str, str | tuple[str, ...]]:
    """The input files with relative paths taken from the config's directory; timers run in no other."""

    def whole(name: str) -> str:
        if not name or "://" in name or name.startswith("{"):
            return name
        return str(base.absolute() / Path(name).expanduser())

    return {
        key: whole(item) if isinstance(item, str) else tuple(map(whole, item)) for key, item in files.items()
    }


def _check_layer(layer: _Layer, mistakes: list[str]) -> None:
    for key, value in layer.values.items():
        fault = _fault_of(key, value)
        if fault is not None:
            mistakes.append(f"{layer.document.place((*layer.below, key))}: {fault}")
    for kinds in (SCHEDULE_KINDS, _KEY_KINDS):
        given = [key for key in kinds if key in layer.values]
        if len(given) > 1:
            place = layer.document.place((*layer.below, given[1]))
            mistakes.append(
                msg("{place}: {given} exclude one another; keep one", place=place, given=" and ".join(given))
            )


def _fault_of(key: str, value: Any) -> str | None:
    if key == "api_key":
        return msg("a key does not belong in the configuration; use api_key_file")
    if key not in FIELDS:
        return msg("unknown key {key!r}{meant}", key=key, meant=_meant(key, list(FIELDS)))
    try:
        FIELDS[key](value)
    except ValueError as error:
        return f"{key}{'' if str(error).startswith('.') else ' '}{error}"
    return None


def _over(below: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Key by key, tables into tables; the later one wins, its schedule or key source replaces others."""
    replaced = {key for kinds in (SCHEDULE_KINDS, _KEY_KINDS) if values.keys() & kinds for key in kinds}
    merged = {key: value for key, value in below.items() if key not in replaced}
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merged[key] | value if both else value
    return merged


def _build(
    name: str,
    merged: Mapping[str, Any],
    origins: Mapping[str, Origin],
    flags: Mapping[str, Any],
    key: KeySource | None = None,
) -> Job:
    """The job; key: where nothing below names one."""
    _check_flags(flags, merged)
    merged = _over(merged, flags)
    values = {field: FIELDS[field](value) for field, value in merged.items()}
    told = {**origins, **{flag: Origin(Source.FLAG, f"--{flag.replace('_', '-')}") for flag in flags}}
    origins = {field: told[field] for field in merged}
    kind = next((kind for kind in _KEY_KINDS if kind in merged), None)
    file, encrypted, env = (values.pop(kind, None) for kind in _KEY_KINDS)
    if kind is not None or key is None:
        key = KeySource(file, encrypted, env, origin=origins.get(kind or "", _BUILT_IN))
    schedule = ScheduleConfig(**{field: values.pop(field) for field in _SCHEDULE & values.keys()})
    return Job(
        name=name,
        base_url=values.pop("base_url", DEFAULT_BASE_URL),
        key=key,
        schedule=schedule,
        origins=origins,
        **values,
    )


def _check_flags(flags: Mapping[str, Any], merged: Mapping[str, Any]) -> None:
    for flag, value in flags.items():
        if flag not in FIELDS:
            raise JobError(
                Outcome.USAGE,
                msg("a job has no setting {flag!r}{meant}", flag=flag, meant=_meant(flag, list(FIELDS))),
                msg("man dify-job.toml"),
            )
        try:
            FIELDS[flag](_over(merged, {flag: value})[flag])
        except ValueError as error:
            raise JobError(
                Outcome.USAGE,
                msg("--{replace} {error}", replace=flag.replace("_", "-"), error=error),
                msg("dify-job run --help"),
            ) from None


def _from_environment(environment: Environment, flags: Mapping[str, Any]) -> Config:
    values, origins = {}, dict(environment.origins)
    try:
        for key, value in environment.values.items():
            values[key] = json.loads(value) if key == "inputs" else value
            FIELDS[key](values[key])
    except ValueError as error:
        raise JobError(
            Outcome.CONFIG,
            msg(
                "{origins} {value}{error}",
                origins=origins[key],
                value=msg("is not JSON: ") if key == "inputs" else "",
                error=error,
            ),
            msg("set it anew, for example {examples}", examples=_EXAMPLES[key]),
        ) from None
    job = _build("default", values, origins, flags, environment.key)
    job = replace(job, files=_from_there(job.files, Path()))
    return Config(
        path=None,
        files=environment.files,
        jobs={"default": job},
        auto_start=environment.auto_start,
        warnings=environment.warnings,
    )


def _tables(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _meant(word: str, known: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - after a mistake only

    close = get_close_matches(word, known, 1)
    return msg("; did you mean {close}?", close=close[0]) if close else ""
