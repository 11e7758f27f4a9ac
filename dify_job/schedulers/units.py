"""The systemd units of a job, rendered for a version of systemd. Pure."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..exit_codes import TABLE, Outcome, RetrySafety
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedule import schedule_lines
from ..system.managed_files import fingerprint, with_header
from ..system.paths import resolved
from ..system.templates import render_file
from ..system.timespan import format_timespan
from .access import in_home
from .job_spec import JobSpec, check_user_name, failure_unit_name, unit_names
from .model import RenderedFile, Scope

OLDEST = 239
_CREDENTIALS_SINCE = 247  # LoadCredential=
ENCRYPTED_SINCE = 250  # LoadCredentialEncrypted=, systemd-creds(1)
_TRIGGER_VARIABLES_SINCE = 252  # TRIGGER_UNIT in the environment (systemd.exec(5))
_MAX_USER = 31  # systemd's USER_NAMES
_GRACE = 60.0  # seconds between the job's own deadline and systemd's


def key_by_manager(scope: Scope, version: int) -> bool:
    """Return whether systemd reads the key for the unit, which a dynamic user needs.

    Args:
        scope: The scope of the unit.
        version: The version of systemd.
    """
    return scope is Scope.SYSTEM and version >= _CREDENTIALS_SINCE


def render_units(spec: JobSpec, scope: Scope, version: int, directory: Path) -> tuple[RenderedFile, ...]:
    """Return service and timer, and the failure unit of a job with notifications.

    Args:
        spec: The job.
        scope: The scope of the units.
        version: The version of systemd.
        directory: The directory of the units.

    Raises:
        JobError: (config, rejected) This version of systemd cannot run the job.
    """
    _check_version(spec, scope, version)
    check_user_name(spec)
    service, timer = unit_names(spec.job)
    values = {
        "job": spec.job,
        "description": free_text(spec.description),
        "service": service,
        "timer": timer,
        "system": scope is Scope.SYSTEM,
        "since": lambda needed: version >= needed,
        **_start(spec, version),
        **_keys(spec, scope, version),
        **_confinement(spec, dynamic=spec.run_as is None and key_by_manager(scope, version)),
        "schedule": free_text(schedule_lines.schedule_text(spec.schedule)),
        "calendars": schedule_lines.systemd_lines(spec.schedule).lines,
        "jitter": format_timespan(spec.schedule.jitter) if spec.schedule.jitter else "",
        "catch_up": spec.schedule.catch_up,
        "notifies": bool(spec.notify),
        "failure_command": _command(spec.failure_command(service, user=scope is Scope.USER)),
        "notify": quoted("DIFY_JOB_NOTIFY=" + spec.notify.replace("$", "\\u0024")),  # in JSON
    }
    templates = {service: "job.service.j2", timer: "job.timer.j2"}
    if spec.notify:
        templates[failure_unit_name(spec.job)] = "notify.service.j2"
    source = str(spec.config_path)
    return tuple(
        RenderedFile(
            directory / name,
            with_header(spec.job, spec.fingerprint, source, render_file(f"systemd/{template}", values)),
        )
        for name, template in templates.items()
    )


def _check_version(spec: JobSpec, scope: Scope, version: int) -> None:
    if version < OLDEST:
        raise JobError(
            Outcome.CONFIG,
            msg(
                "systemd {version} is too old: dify-job needs {minimum} or newer",
                version=version,
                minimum=OLDEST,
            ),
            msg("use --backend cron"),
        )
    if spec.key_credential is not None and (scope is Scope.USER or version < ENCRYPTED_SINCE):
        raise JobError(
            Outcome.CONFIG,
            msg(
                "the API key of job {job} is encrypted, but only system units of systemd {minimum} or "
                "newer can decrypt it",
                job=spec.job,
                minimum=ENCRYPTED_SINCE,
            ),
            msg(
                "store the API key in a file with mode 0600 instead: {command}",
                command=command("dify-job", "secret", "set", spec.job, "--no-encrypt"),
            ),
        )


def _start(spec: JobSpec, version: int) -> dict[str, object]:
    """Return the template values of the command and its exit codes."""
    final = (
        row.code for row in TABLE if row.code and row.retry not in (RetrySafety.SAFE, RetrySafety.NOT_NEEDED)
    )
    return {
        "command": _command(spec.command()),
        "knows_timer_starts": knows_timer_starts(spec, version),
        "start_limit": format_timespan(spec.timeout + _GRACE),
        "success_codes": " ".join(str(row.code) for row in TABLE if row.outcome is Outcome.CANCELLED),
        "final_codes": " ".join(map(str, final)),
    }


def _keys(spec: JobSpec, scope: Scope, version: int) -> dict[str, object]:
    """Return the template values of credentials: the key, plain or encrypted, and the files of notify."""
    plain = spec.key_file is not None and version >= _CREDENTIALS_SINCE
    secrets = spec.secrets if key_by_manager(scope, version) else ()
    return {
        "credential": f"api_key:{path_value(spec.key_file)}" if plain else "",
        "encrypted": f"api_key:{path_value(spec.key_credential)}" if spec.key_credential else "",
        "secrets": [f"{name}:{path_value(path)}" for name, path in secrets],
    }


def _confinement(spec: JobSpec, *, dynamic: bool) -> dict[str, object]:
    """Return the template values of user and accessible paths."""
    touched = (spec.python, resolved(spec.python), spec.config_path, *spec.reads, *spec.writes)
    closed = "read-only" if any(map(in_home, touched)) else "yes"
    return {
        "dynamic": dynamic,
        "user": spec.run_as or (_dynamic_user(spec.job) if spec.notify and dynamic else ""),
        "protect_home": "no" if any(map(in_home, spec.writes)) else closed,
        "writes": [path_value(path) for path in spec.writes],
        "reads": [path_value(path) for path in spec.reads],
        "metrics_directories": [path_value(spec.metrics_directory)] if spec.metrics_directory else [],
    }


def _dynamic_user(job: str) -> str:
    """Return the dynamic user that a job and its failure unit share, and with it the state."""
    name = f"dify-job-{job}"
    return name if len(name) <= _MAX_USER else f"dify-job-{fingerprint(job)}"


def knows_timer_starts(spec: JobSpec, version: int) -> bool:
    """Return whether a start can be skipped, and the unit can distinguish timer starts from manual starts.

    Args:
        spec: The job.
        version: The version of systemd.
    """
    return may_skip_start(spec) and version >= _TRIGGER_VARIABLES_SINCE


def may_skip_start(spec: JobSpec) -> bool:
    """Return whether a start can be skipped, by max_late or as not due."""
    return spec.schedule.max_late is not None or schedule_lines.systemd_lines(spec.schedule).if_due


def limitations(spec: JobSpec, scope: Scope, version: int) -> tuple[str, ...]:
    """Return the limitations of systemd for a job with the alternatives, a sentence each.

    Args:
        spec: The job.
        scope: The scope of the unit.
        version: The version of systemd.
    """
    found = []
    if scope is Scope.SYSTEM and version < _CREDENTIALS_SINCE:
        who = spec.run_as or msg("root without capabilities")
        found.append(
            msg(
                "{who} must be able to read the API key file, because systemd {version} does not "
                "support LoadCredential=",
                version=version,
                who=who,
            )
        )
    if spec.schedule.jitter and version < _CREDENTIALS_SINCE:
        found.append(
            msg(
                "systemd {version} has no FixedRandomDelay=, so the jitter changes with each daemon-reload",
                version=version,
            )
        )
    if may_skip_start(spec) and version < _TRIGGER_VARIABLES_SINCE:
        found.append(
            msg(
                "systemd {version} does not report to dify-job who started the unit, so even "
                "{command} starts a run only if the job is due",
                version=version,
                command=command("systemctl", "start"),
            )
        )
    return tuple(found)


def _command(words: Sequence[str]) -> str:
    """Return the value of ExecStart=; a dollar in the first word is literal (systemd.service(5))."""
    program, *arguments = words
    if re.search(r"[\x00-\x1f\x7f\"'\\]", program):  # "Executable name contains special characters"
        raise _not_in_unit(
            program,
            msg("systemd cannot start a program whose path has a quote, a backslash or a control character"),
        )
    return " ".join([quoted(program).replace("$$", "$"), *map(quoted, arguments)])


def quoted(word: str) -> str:
    """Return an argument for ExecStart= with special characters escaped.

    Raises:
        JobError: (config) The argument is not UTF-8, or contains NUL.
    """
    try:
        word.encode()
    except UnicodeEncodeError:
        raise _not_in_unit(word, msg("a unit must be UTF-8")) from None
    if "\0" in word:
        raise _not_in_unit(word, msg("a unit must not contain a NUL character"))
    escaped = "".join(
        _ESCAPES.get(c, f"\\x{ord(c):02x}" if ord(c) < 32 or ord(c) == 127 else c) for c in word
    )
    plain = escaped == word and word and not set(word) & set(" ';") and word.isascii()
    return word if plain else f'"{escaped}"'


_ESCAPES = {"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$", "\n": "\\n", "\t": "\\t"}


def path_value(path: Path | None) -> str:
    """Return a path as the value of a setting, with specifiers escaped; empty for None.

    Raises:
        JobError: (config) The path has a character that ends or splits the setting.
    """
    text = os.fspath(path or "")
    if any(ord(c) < 33 or c in "\"'\\:" for c in text):
        raise _not_in_unit(
            text, msg("a path in a unit must not contain a space, a quote, a colon or a control character")
        )
    return text.replace("%", "%%")


def free_text(text: str) -> str:
    """Return text for a setting whose value is the rest of the line."""
    return " ".join(text.split()).replace("%", "%%").rstrip("\\")


def _not_in_unit(text: str, why: str) -> JobError:
    return JobError(
        Outcome.CONFIG,
        msg("{text!r} cannot be used in a unit: {reason}", text=text, reason=why),
        msg("move or rename the file; its path must be valid in a unit"),
    )
