"""`dify-job init`: write a commented configuration and store a key; `install` then enables the schedule."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import click

from ..checks.probes import expected_failure
from ..config import managed, readers
from ..config.discovery import is_found, valid_name
from ..config.loader import DEFAULT_BASE_URL, load_config, pick
from ..config.model import Config, ScheduleConfig, Secret
from ..config.permissions import check_ca_file, check_secret_path
from ..config.scaffold import Draft, comment, draft_text
from ..config.secrets import read_key
from ..dify.app_info import AppProbe, probe_app
from ..dify.models import ApiError
from ..exit_codes import Outcome
from ..messages.command import Command, command
from ..messages.errors import JobError
from ..messages.message import Message, join, msg, with_setting
from ..schedulers.detect import chosen_scope
from ..schedulers.model import Scope
from ..system.paths import is_missing
from ..system.transaction import locked, transaction
from .arguments import pairs_of, schedule_of_flags, schedule_of_text
from .options import Globals, key_file_option, option, pass_globals, schedule_options
from .output import echo, echo_err
from .prompts import draft_inputs, echo_mistake, interactive, prompt, prompt_for_key, read_api_key

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class _Target:
    """The configuration to add the job to.

    existing: the configuration that exists, or None. It is never edited: the job gets a file in config.d.
    """

    config: Path
    existing: Config | None

    def file(self, job: str) -> Path:
        return self.config.parent / "config.d" / f"{job}.toml" if self.existing else self.config


@click.command()
@click.argument("job", required=False)
@option("--base-url", metavar="URL", help=msg("Set Dify's address, with or without /v1."))
@key_file_option
@option(
    "--ca-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=msg("Trust the certificates in this PEM file."),
)
@schedule_options
@option("-i", "--input", "pairs", multiple=True, metavar="KEY=VALUE", help=msg("Set one input (repeatable)."))
@option(
    "--file",
    "file_pairs",
    multiple=True,
    metavar="KEY=PATH",
    help=msg("Set one file input: a path or a URL."),
)
@option(
    "--offline",
    is_flag=True,
    help=msg(
        "Do not contact the server: skip the check of the API key, and do not read the app's input form."
    ),
)
@option(
    "--user", "scope", flag_value="user", help=msg("Create a job of your own (the default, except for root).")
)
@option("--system", "scope", flag_value="system", help=msg("Create a system job (default for root)."))
@pass_globals
def init(
    options: Globals,
    /,
    *,
    job: str | None,
    base_url: str | None,
    key_file: str | None,
    ca_file: Path | None,
    every: str | None,
    calendar: tuple[str, ...],
    cron: str | None,
    timezone: str | None,
    pairs: tuple[str, ...],
    file_pairs: tuple[str, ...],
    offline: bool,
    scope: str | None,
) -> None:
    """Write a commented configuration for a job, and store its API key in a private file.

    It reads the app's input form from the server. Example:
    printf %s "$KEY" | dify-job init daily --base-url URL
    """
    where = chosen_scope(scope)
    schedule = schedule_of_flags(every, calendar, cron, timezone)
    inputs, files = pairs_of(pairs, "-i", "init"), pairs_of(file_pairs, "--file", "init")
    target = _target(options, where)
    if job is not None:
        _check_not_taken(target, job)
    check_secret_path(managed.key_path(target.config, job or "default"))
    trusted = ca_file.absolute() if ca_file is not None else None
    check_ca_file(trusted)
    url = _base_url(base_url, target)
    key = read_api_key(key_file, command("dify-job", "init", job or "JOB"))
    if offline:
        probe = AppProbe()
    else:
        url, key, probe = _ask(url, key, trusted, may_ask_for_key=key_file is None)
    name = job or _name(probe.name, target)
    if schedule is None and interactive():
        schedule = _prompt_for_schedule()
    draft = Draft(
        job=name,
        base_url=url,
        key_file=managed.key_path(target.config, name),
        schedule=schedule,
        ca_file=trusted,
        app=_about_app(probe, offline=offline),
        inputs=draft_inputs(probe, inputs, files=False),
        files=draft_inputs(probe, files, files=True),
        whole=target.existing is None,
    )
    with locked(where.base):
        _check_not_taken(_target(options, where), name)  # the file can appear while a person answers prompts
        _write(target, draft, key)
    _report(target, draft, options, probe, root=where is Scope.SYSTEM)


def _target(options: Globals, scope: Scope) -> _Target:
    named = options.config_path or (
        Path(os.environ["DIFY_JOB_CONFIG"]) if os.environ.get("DIFY_JOB_CONFIG") else None
    )
    path = (named or managed.scope_config(system=scope is Scope.SYSTEM)).absolute()
    return _Target(path, None if is_missing(path) else load_config(path))


def _check_not_taken(target: _Target, job: str) -> None:
    if not valid_name(job):
        raise JobError(
            Outcome.USAGE,
            msg("the job name {job!r} is not allowed", job=job),
            msg("use at most 48 characters of a-z, 0-9, - and _, and begin with a letter or digit"),
        )
    if target.existing is not None and job in target.existing.names:
        taken = target.existing.jobs.get(job)
        origins = taken.origins.values() if taken is not None else ()
        where = next((origin.where for origin in origins if origin.where), target.config)
        raise JobError(
            Outcome.CONFIG,
            msg("the job {job} exists already in {place}", job=job, place=where),
            msg(
                "to change the job, edit {path}; to replace only its API key, run: {command}",
                path=where,
                command=command("dify-job", "secret", "set", job),
            ),
        )
    for path in (target.file(job), managed.key_path(target.config, job)):
        if not is_missing(path) or path.is_symlink():
            raise JobError(
                Outcome.CONFIG,
                msg("{path} exists already, and init does not overwrite it", path=path),
                msg(
                    "choose another name for the job, or rename the file: {command}",
                    command=command("mv", str(path), f"{path}.old"),
                ),
            )


def _base_url(given: str | None, target: _Target) -> str:
    default = given or os.environ.get("DIFY_BASE_URL") or _default_of(target) or DEFAULT_BASE_URL
    if given is None and interactive():
        return _prompt_for_base_url(default)
    try:
        return str(readers.base_url(default))
    except ValueError as error:
        raise JobError(
            Outcome.USAGE, with_setting(error, "--base-url"), command("dify-job", "init", "--help")
        ) from None


def _prompt_for_base_url(default: str) -> str:
    while True:
        try:
            return str(readers.base_url(prompt(msg("Dify's address"), default)))
        except ValueError as error:
            wrong = with_setting(error, msg("the address"))
            echo_err(msg("  {message}", message=wrong))


def _default_of(target: _Target) -> str | None:
    """Return the base URL that all existing jobs share."""
    urls = {job.base_url for job in target.existing.jobs.values()} if target.existing else set()
    return urls.pop() if len(urls) == 1 else None


def _ask(
    base_url: str, key: Secret, ca_file: Path | None, *, may_ask_for_key: bool
) -> tuple[str, Secret, AppProbe]:
    """Ask the server for the key's app, and prompt again if the address or the key is wrong."""
    while True:
        probe = probe_app(base_url, key.reveal(), ca_file=ca_file)
        problem = expected_failure(probe)
        if problem is None:
            return base_url, key, probe
        is_key = _is_about_key(probe)
        hint = problem.hint
        if isinstance(probe.failure, ApiError) and probe.failure.status == HTTPStatus.UNAUTHORIZED:
            hint = msg("create an API key for the app in Dify: API Access")
        elif hint is None or _reads_config(hint):  # there is none yet
            hint = msg("check the address, and that Dify is running")
        if not interactive() or (is_key and not may_ask_for_key):
            raise JobError(
                problem.outcome,
                msg("{message}; the configuration was not written", message=problem.message),
                msg("use --offline to write the configuration without contacting Dify; {hint}", hint=hint),
            )
        echo_mistake(JobError(problem.outcome, problem.message, hint))
        if is_key:
            key = prompt_for_key()
        else:
            base_url = _prompt_for_base_url(base_url)


def _reads_config(hint: str) -> bool:
    """Return True for a hint that names a job or contains a command that reads its configuration."""
    if not isinstance(hint, Message):
        return False
    commands = (value for value in (hint, *hint.values.values()) if isinstance(value, Command))
    return "job" in hint.values or any(command.reads_config for command in commands)


def _is_about_key(probe: AppProbe) -> bool:
    """Return True if Dify itself answered, so that the address is correct."""
    if isinstance(probe.failure, ApiError):
        return probe.failure.from_dify and probe.failure.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return probe.mode not in (None, "workflow")


def _name(app: str, target: _Target) -> str:
    """Return a job name made from the app's name, confirmed by a person; scripts get `default`."""
    if not interactive():
        _check_not_taken(target, "default")
        return "default"
    name = _NOT_IN_A_NAME.sub("-", app.lower()).strip("-")[:48].strip("-") or "default"
    while True:
        name = prompt(msg("Name of the job"), name)
        try:
            _check_not_taken(target, name)
        except JobError as error:
            echo_mistake(error)
        else:
            return name


def _prompt_for_schedule() -> ScheduleConfig:
    echo_err(msg("Enter a time span (2h), calendar times (Mon..Fri 07:00) or a cron line (30 7 * * 1-5)."))
    while True:
        text = prompt(msg("Schedule"), "1h")
        try:
            return schedule_of_text(text)
        except JobError as error:
            echo_mistake(error)


def _about_app(probe: AppProbe, *, offline: bool) -> str:
    if offline:
        return msg(
            "dify-job did not contact Dify. Compare the inputs with the input fields of the app's "
            "Start node in Dify."
        )
    version = msg(" (Dify {version})", version=probe.version) if probe.version else ""
    return msg("App in Dify: {name}{version}", name=probe.name, version=version)


# Writing and reporting


def _write(target: _Target, draft: Draft, key: Secret) -> None:
    secret = managed.key_file(target.config, draft.job, key)
    path = target.file(draft.job)
    hint = msg(
        "use --user to create a job of your own; to create a system job, run: {command}",
        command=command("dify-job", "init", needs_root=True),
    )
    with transaction(path, hint) as writer:
        writer.directory(path.parent)
        writer.apply([secret])
        writer.put(path, draft_text(draft).encode())
        _check_effect(target, draft)


def _check_effect(target: _Target, draft: Draft) -> None:
    """Check that `run` will read the written values: a file in config.d can override them."""
    job = pick(load_config(target.config), draft.job)
    read_key(job)
    if job.key.file != draft.key_file or job.base_url != draft.base_url:
        raise JobError(
            Outcome.CONFIG,
            msg(
                "nothing was written, because another file in {directory} already has the job {job}",
                directory=target.config.parent / "config.d",
                job=draft.job,
            ),
            msg(
                "move the file that contains [jobs.{job}] out of {directory}, or choose another "
                "name for the job",
                job=draft.job,
                directory=target.config.parent / "config.d",
            ),
        )


def _report(target: _Target, draft: Draft, options: Globals, probe: AppProbe, *, root: bool) -> None:
    echo(
        msg(
            "{job}: configuration written to {file}, API key stored in {key_file} (mode 0600)",
            job=draft.job,
            file=target.file(draft.job),
            key_file=draft.key_file,
        )
    )
    if probe.name:
        version = probe.version or msg("(unknown version)")
        echo(
            msg(
                "  app        {app!r} on Dify {version}, at {base_url}",
                app=comment(probe.name),
                version=version,
                base_url=draft.base_url,
            )
        )
    else:
        echo(msg("  server     {base_url} (not contacted)", base_url=draft.base_url))
    missing = [one.name for one in (*draft.inputs, *draft.files) if one.required and one.value is None]
    if missing:
        echo(
            msg(
                "  fill in    {inputs} in {file}",
                inputs=join(", ", map(repr, missing)),
                file=target.file(draft.job),
            )
        )
    # `output` adds the caller's --config.
    is_named = options.config_path is not None or is_found(target.config)
    words = ("dify-job", *(() if is_named else ("--config", str(target.config))))
    check = command(*words, "run", draft.job, "--dry-run", needs_root=root)
    enable = command(*words, "install", draft.job, needs_root=root)
    echo(msg("  check      {command}", command=check))
    echo(msg("  enable     {command}", command=enable))
