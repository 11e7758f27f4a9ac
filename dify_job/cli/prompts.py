"""Prompts for a person, or standard input of a script: the API key, and the inputs of a new job."""

import contextlib
import sys
from typing import Any

import click

from ..config.model import Secret
from ..config.scaffold import DraftInput, comment
from ..config.secrets import check_key, read_key_file
from ..dify.app_info import AppProbe
from ..dify.form import FormField
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.i18n import translate
from ..messages.message import join, msg, text_of
from ..run.app_form import coerce
from ..run.inputs import is_template
from .output import echo_err

_MAX_KEY = 64 * 1024  # bytes
_UNKNOWN_VERSION = None  # unknown: a table stays a table, and `run` converts it for the server


def interactive() -> bool:
    """Return True if a person can answer prompts."""
    return sys.stdin is not None and sys.stdin.isatty()


def prompt(question: str, default: str | None = None, *, hidden: bool = False) -> str:
    """Ask a person on the terminal.

    Args:
        question: A message.
        default: The answer to an empty line; None asks again.
        hidden: The answer is not shown.

    Returns:
        The answer, without spaces around it.

    Raises:
        click.Abort: At Ctrl-C and at the end of the input; the terminal is on a new line.
    """
    try:
        answer = click.prompt(
            translate(question), default=default, err=True, hide_input=hidden, show_default=bool(default)
        )
    except click.Abort:
        echo_err("")
        raise
    return str(answer).strip()


def prompt_for_key() -> Secret:
    """Ask a person for the key until it can be one. Raises click.Abort as prompt does."""
    echo_err(msg("Enter the app's API key (in Dify: API Access). The key stays hidden while you type."))
    while True:
        try:
            return check_key(prompt(msg("API key"), hidden=True), msg("the prompt"))
        except JobError as error:
            echo_mistake(error)


def echo_mistake(error: JobError) -> None:
    """Print the error of an answer before the next prompt.

    Args:
        error: The error.
    """
    echo_err(msg("  {message}", message=error.message))
    if error.hint is not None:
        echo_err(msg("  {hint}", hint=error.hint))


def read_api_key(source: str | None, command: str) -> Secret:
    """Return the API key that a file, standard input or a person gives.

    Args:
        source: A path, - for standard input, or None to ask the person, or read what is piped in.
        command: The command as a person types it, for messages.

    Raises:
        JobError: (usage, config) There is no key, or it is malformed.
        click.Abort: The person left the prompt.
    """
    if source is not None and source.lower().startswith(("app-", "bearer ")):
        raise JobError(
            Outcome.USAGE,
            msg(
                "the command line contains the API key itself, and every user of this "
                "machine can see command lines"
            ),
            msg(
                "if other people use this machine, revoke the API key in Dify. To pass an API key, "
                'run: printf %s "$KEY" | {command}',
                command=command,
            ),
        )
    if source not in (None, "-"):
        return read_key_file(str(source))
    if interactive():
        return prompt_for_key()
    data = sys.stdin.buffer.read(_MAX_KEY) if sys.stdin is not None else b""
    if not data.strip():
        raise JobError(
            Outcome.CONFIG,
            msg("standard input contains no API key"),
            msg('printf %s "$KEY" | {command}', command=command),
        )
    return check_key(data.decode(errors="replace"), msg("standard input"))


def draft_inputs(probe: AppProbe, given: dict[str, str], *, files: bool) -> list[DraftInput]:
    """Return the inputs or files of a new job, and prompt for missing required inputs.

    Args:
        probe: The app, with its form where the server was asked.
        given: The values of options, by name.
        files: True for the files, False for the other inputs.

    Raises:
        JobError: (usage) The app has no such input, or a value does not fit.
    """
    form = [] if probe.parameters is None else [f for f in probe.parameters.form if f.takes_files == files]
    known_ones = [_draft_of_field(field, given.get(field.variable)) for field in form]
    known = {field.variable for field in form}
    for name in given.keys() - known:
        if probe.parameters is not None:
            flag = "--file" if files else "-i"
            raise JobError(
                Outcome.USAGE,
                msg("{flag} {name}: the app {app!r} has no such input", flag=flag, name=name, app=probe.name),
                msg(
                    "the app has these inputs: {names}",
                    names=join(", ", sorted(f.variable for f in probe.parameters.form)) or msg("none"),
                ),
            )
    return known_ones + [
        DraftInput(name=name, note=msg("given on the command line"), value=value)
        for name, value in given.items()
        if name not in known
    ]


def _draft_of_field(field: FormField, given: str | None) -> DraftInput:
    value: Any = given
    if given is not None and not field.takes_files and not is_template(given):
        try:
            value = coerce(field, given, _UNKNOWN_VERSION)
        except ValueError as error:
            raise JobError(Outcome.USAGE, text_of(error), command("dify-job", "init", "--help")) from None
    elif given is None and field.required and not field.takes_files:
        value = _default(field)
        if interactive():
            value = _prompt_for_field(field, value)
    return DraftInput(name=field.variable, note=_note(field), value=value, required=field.required)


def _default(field: FormField) -> Any:
    """Return the form's default; a default with template syntax is left to the person."""
    default = field.default
    if default in (None, "") or (isinstance(default, str) and is_template(default)):
        return None
    with contextlib.suppress(ValueError):
        return (
            coerce(field, default, _UNKNOWN_VERSION) if isinstance(default, (str, int, float, bool)) else None
        )
    return None


def _prompt_for_field(field: FormField, default: Any) -> Any:
    echo_err(comment(_note(field)))
    while True:
        text = prompt(comment(field.variable), "" if default is None else str(default))
        if not text:
            return None
        try:
            return text if is_template(text) else coerce(field, text, _UNKNOWN_VERSION)
        except ValueError as error:
            echo_err(msg("  {message}", message=text_of(error)))


def _note(field: FormField) -> str:
    words: list[str] = [field.kind, msg("required") if field.required else msg("optional")]
    if field.max_length is not None and field.kind != "file":  # for a file this limit is meaningless
        words.append(
            msg("at most {number} files", number=field.max_length)
            if field.takes_files
            else msg("at most {number} characters", number=field.max_length)
        )
    if field.options:
        words.append(msg("one of {options}", options=join(", ", field.options)))
    if field.allowed_types:
        words.append(msg("of type {types}", types=join(", ", field.allowed_types)))
    whole = join(", ", words)
    if not field.label or field.label == field.variable:
        return whole
    return msg("{label}: {words}", label=field.label, words=whole)
