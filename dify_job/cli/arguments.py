"""Values of the command line: inputs (`-i` overrides `--inputs`), files, schedules and job names."""

import errno
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..config.model import ScheduleConfig
from ..config.schema import FIELDS, SCHEDULE_KINDS
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg, with_setting
from ..run.inputs import parse_object
from ..schedule import upcoming

_BOM = "\ufeff"  # Windows editors and shells write it
_MAX_INPUTS = 64 * 1024 * 1024  # bytes
_SPAN = r"[\d.][\d.\sA-Za-zµμ]*"
_CRON = r"(?:[\d*/,-]|[A-Za-z]{3})+"
_FORMS = msg(
    "write the schedule as a time span (2h), calendar times (Mon..Fri 07:00) or a cron line (30 7 * * 1-5)"
)
_EXAMPLES = {
    "every": "2h",
    "calendar": "'Mon..Fri 07:00'",
    "cron": "'30 7 * * 1-5'",
    "timezone": "Asia/Shanghai",
}


def inputs_of(pairs: Sequence[str], text: str | None) -> dict[str, Any]:
    """Return the inputs of -i and --inputs; -i overrides --inputs.

    Args:
        pairs: Each KEY=VALUE.
        text: JSON, @FILE, or - for standard input; None without --inputs.

    Raises:
        JobError: (usage, no-input, rejected) One is malformed, or cannot be read.
    """
    data = pairs_of(pairs, "-i", "run")
    return ({} if text is None else _object(utf8(text))) | data


def pairs_of(pairs: Sequence[str], flag: str, name: str) -> dict[str, str]:
    """Return the values of KEY=VALUE arguments.

    Args:
        pairs: The arguments.
        flag: The option, for the message.
        name: The command with that option, for the hint.

    Raises:
        JobError: (usage) One has no key or no equals sign.
    """
    for pair in pairs:
        if "=" not in pair.lstrip("="):
            raise JobError(
                Outcome.USAGE,
                msg("{flag} {pair} must be KEY=VALUE", flag=flag, pair=pair),
                command("dify-job", name, "--help"),
            )
    return dict(utf8(pair).split("=", 1) for pair in pairs)


def files_of(pairs: Sequence[str]) -> dict[str, str | list[str]]:
    """Return the files of --file KEY=PATH|URL; relative paths are relative to the working directory.

    Args:
        pairs: The arguments; a repeated key makes a list.

    Raises:
        JobError: (usage) One has no key or no equals sign.
    """
    listed: dict[str, list[str]] = {}
    for pair in pairs:
        key, found, name = utf8(pair).partition("=")
        if not found or not key:
            raise JobError(
                Outcome.USAGE,
                msg("--file {pair} must be KEY=PATH or KEY=URL", pair=pair),
                command("dify-job", "run", "--help"),
            )
        whole = name if "://" in name or not name else str(Path(name).expanduser().absolute())
        listed.setdefault(key, []).append(whole)
    return {key: names[0] if len(names) == 1 else names for key, names in listed.items()}


def check_job(name: str, more: Sequence[str]) -> None:
    """Reject arguments of `run` that are not the name of one job.

    Args:
        name: The first argument.
        more: The other arguments, which are not allowed.

    Raises:
        JobError: (usage) One is an input, or is too many.
    """
    inputs = [word for word in (name, *more) if "=" in word] if all("=" in word for word in more) else []
    if "=" in name:
        message = msg("{name} looks like an input and not like the name of a job", name=name)
    elif more:
        message = msg("unexpected arguments: {words}", words=" ".join(more))
    else:
        return
    job = [name] if "=" not in name else []
    flags = (word for one in inputs for word in ("-i", one))
    fix = ("dify-job", "run", *job, *flags) if inputs else ("dify-job", "run", "--help")
    raise JobError(Outcome.USAGE, message, command(*fix))


def schedule_of_flags(
    every: str | None, calendar: tuple[str, ...], cron: str | None, timezone: str | None
) -> ScheduleConfig | None:
    """Return the schedule of the options; None without options.

    Args:
        every: A time span.
        calendar: Calendar times of systemd.
        cron: Five cron fields.
        timezone: The time zone of calendar and cron.

    Raises:
        JobError: (usage) The options contradict each other, or a value is invalid.
    """
    given = {"every": every, "calendar": list(calendar) or None, "cron": cron, "timezone": timezone}
    set_flags = {key: value for key, value in given.items() if value is not None}
    if sum(key in set_flags for key in SCHEDULE_KINDS) > 1:
        raise JobError(
            Outcome.USAGE,
            msg("--every, --calendar and --cron cannot be used together"),
            msg("give only one of --every, --calendar and --cron"),
        )
    if not set_flags:
        return None
    if set_flags.keys() == {"timezone"}:
        raise JobError(
            Outcome.USAGE,
            msg("--timezone needs --calendar or --cron"),
            msg("add --calendar or --cron, or leave out --timezone"),
        )
    values = {}
    for key, value in set_flags.items():
        try:
            values[key] = FIELDS[key](value)
        except ValueError as error:
            example = f"--{key} {_EXAMPLES[key]}"
            hint = msg("write it like this: {example}", example=example)
            raise JobError(Outcome.USAGE, with_setting(error, f"--{key}"), hint) from None
    return ScheduleConfig(**values)


def schedule_of_text(text: str) -> ScheduleConfig:
    """Read a schedule that a person typed at a prompt.

    Args:
        text: A time span (`2h`), calendar times (`Mon..Fri 07:00`) or a cron line (`30 7 * * 1-5`).

    Raises:
        JobError: (rejected) The text is none of these, or has no time in the future.
    """
    words = text.split()
    try:
        if text.startswith("@") or (len(words) == 5 and all(re.fullmatch(_CRON, word) for word in words)):
            schedule = ScheduleConfig(cron=FIELDS["cron"](text))
        elif re.fullmatch(_SPAN, text):
            schedule = ScheduleConfig(every=FIELDS["every"](text))
        else:
            schedule = ScheduleConfig(calendar=FIELDS["calendar"](text))
        upcoming.check(schedule, datetime.now(UTC))
    except ValueError as error:
        raise JobError(Outcome.REJECTED, with_setting(error, msg("the schedule")), _FORMS) from None
    except JobError as error:
        message = error.message
        if not re.search(r"\d", text):
            message = msg("{text!r} is neither a time span nor calendar times nor a cron line", text=text)
        raise JobError(Outcome.REJECTED, message, _FORMS) from None
    return schedule


def utf8(argument: str) -> str:
    """Return an argument as UTF-8 in every locale: in the C locale Python cannot decode it.

    Args:
        argument: As Python decoded it.

    Raises:
        JobError: (usage) It is not UTF-8.
    """
    try:
        return os.fsencode(argument).decode()
    except UnicodeDecodeError:
        raise JobError(
            Outcome.USAGE,
            msg("an argument of the command is not UTF-8"),
            msg("write the value into a UTF-8 file, and use --inputs @FILE"),
        ) from None


def _object(text: str) -> dict[str, Any]:
    if text != "-" and not text.startswith("@"):
        return parse_object(text, "--inputs", Outcome.USAGE)
    source: str = msg("standard input") if text == "-" else msg("the input file {path}", path=text[1:])
    try:
        content = _read(text).decode().removeprefix(_BOM)
    except OSError as error:
        raise JobError(
            Outcome.NO_INPUT,
            msg("{source} cannot be read: {reason}", source=source, reason=error.strerror),
            msg("check the path after --inputs @"),
        ) from None
    except UnicodeDecodeError:
        raise JobError(
            Outcome.REJECTED,
            msg("{source} is not UTF-8", source=source),
            msg("convert the input to UTF-8: iconv -f ISO-8859-1 -t UTF-8"),
        ) from None
    return parse_object(content, source, Outcome.REJECTED)


def _read(text: str) -> bytes:
    """Return the content of @FILE, or for - of standard input. Raises OSError."""
    with open(0 if text == "-" else text[1:], "rb", closefd=text != "-") as file:
        content = file.read(_MAX_INPUTS + 1)
    if len(content) > _MAX_INPUTS:
        raise OSError(errno.EFBIG, msg("it is larger than {limit} bytes", limit=_MAX_INPUTS))
    return content
