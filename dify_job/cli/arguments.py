"""The inputs that the command line gives: `-i` over `--inputs`, and `--file`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import command
from ..run.inputs import parse_object

_BOM = "\ufeff"  # Windows' editors and shells put it there


def inputs_of(pairs: Sequence[str], text: str | None) -> dict[str, Any]:
    """The inputs in -i KEY=VALUE and --inputs JSON|@FILE|-. Raises JobError (usage, no-input, rejected)."""
    data = pairs_of(pairs, "-i", "run")
    return ({} if text is None else _object(utf8(text))) | data


def pairs_of(pairs: Sequence[str], flag: str, command: str) -> dict[str, str]:
    """What stands in KEY=VALUE after a flag of a command. Raises JobError (usage)."""
    for pair in pairs:
        if "=" not in pair.lstrip("="):
            raise JobError(
                Outcome.USAGE,
                msg("{flag} {pair}: KEY=VALUE is needed", flag=flag, pair=pair),
                msg("dify-job {command} --help", command=command),
            )
    return dict(utf8(pair).split("=", 1) for pair in pairs)


def files_of(pairs: Sequence[str]) -> dict[str, str | list[str]]:
    """The files in --file KEY=PATH|URL; a path counts from here. Raises JobError (usage)."""
    listed: dict[str, list[str]] = {}
    for pair in pairs:
        key, found, name = utf8(pair).partition("=")
        if not found or not key:
            raise JobError(
                Outcome.USAGE,
                msg("--file {pair}: KEY=PATH or KEY=URL is needed", pair=pair),
                command("dify-job", "run", "--help"),
            )
        whole = name if "://" in name or not name else str(Path(name).expanduser().absolute())
        listed.setdefault(key, []).append(whole)
    return {key: names[0] if len(names) == 1 else names for key, names in listed.items()}


def check_job(name: str, more: Sequence[str]) -> None:
    """Refuse arguments of `run` that are no job.

    Args:
        name: The argument in the place of the job.
        more: The arguments after it; there can be none.

    Raises:
        JobError: (usage) One is an input, or is too many.
    """
    inputs = [word for word in (name, *more) if "=" in word] if all("=" in word for word in more) else []
    if "=" in name:
        message = msg("{name} is an input, not a job", name=name)
    elif more:
        message = msg("unexpected arguments: {words}", words=" ".join(more))
    else:
        return
    job = [name] if "=" not in name else []
    flags = (word for one in inputs for word in ("-i", one))
    fix = ("dify-job", "run", *job, *flags) if inputs else ("dify-job", "run", "--help")
    raise JobError(Outcome.USAGE, message, command(*fix))


def utf8(argument: str) -> str:
    """An argument as UTF-8 whatever the locale: in the C locale Python cannot decode it."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeDecodeError:
        raise JobError(
            Outcome.USAGE, msg("an argument is not UTF-8"), msg("use --inputs @FILE with a UTF-8 file")
        ) from None


def _object(text: str) -> dict[str, Any]:
    if text == "-":
        return parse_object(_standard_input(), msg("standard input"), Outcome.REJECTED)
    if not text.startswith("@"):
        return parse_object(text, "--inputs", Outcome.USAGE)
    try:
        content = Path(text[1:]).read_text(encoding="utf-8").removeprefix(_BOM)
    except OSError as error:
        raise JobError(
            Outcome.NO_INPUT,
            msg("the input file {text} cannot be read: {strerror}", text=text[1:], strerror=error.strerror),
            msg("check --inputs"),
        ) from None
    except UnicodeDecodeError:
        raise JobError(
            Outcome.REJECTED,
            msg("the input file {text} is not UTF-8", text=text[1:]),
            msg("iconv -f ISO-8859-1 -t UTF-8 {text}", text=text[1:]),
        ) from None
    return parse_object(content, msg("the input file {text}", text=text[1:]), Outcome.REJECTED)


def _standard_input() -> str:
    try:
        return os.fdopen(0, "rb", closefd=False).read().decode().removeprefix(_BOM)
    except OSError as error:
        raise JobError(
            Outcome.NO_INPUT,
            msg("standard input cannot be read: {strerror}", strerror=error.strerror),
            msg("check --inputs -"),
        ) from None
    except UnicodeDecodeError:
        raise JobError(
            Outcome.REJECTED,
            msg("standard input is not UTF-8"),
            msg("send it through iconv -f ISO-8859-1 -t UTF-8"),
        ) from None
