"""The API key as a person or a script gives it: a prompt that does not echo, standard input, or a file."""

import sys

import click

from ..config.model import Secret
from ..config.secrets import check_key, read_key_file
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.i18n import translate
from ..messages.message import msg
from .output import echo_err

_LARGEST = 64 * 1024


def interactive() -> bool:
    """True where a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def asked(question: str, default: str | None = None, *, hidden: bool = False) -> str:
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
        answer = click.prompt(translate(question), default=default, err=True, hide_input=hidden)
    except click.Abort:
        echo_err("")
        raise
    return str(answer).strip()


def asked_key() -> Secret:
    """Ask a person for the key until it can be one. Raises click.Abort as asked does."""
    echo_err(msg("The app's key is in Dify: API Access, API Key. It is not shown while you type."))
    while True:
        try:
            return check_key(asked(msg("API key"), hidden=True), msg("the prompt"))
        except JobError as error:
            explain(error)


def explain(error: JobError) -> None:
    """Say what was wrong with an answer, before the question comes again."""
    echo_err(msg("  {message}", message=error.message))
    if error.hint is not None:
        echo_err(msg("  {hint}", hint=error.hint))


def given_key(source: str | None, command: str) -> Secret:
    """The key. source: - for standard input, a path, or None: ask the person, or read what is piped in.

    command: how this is called, for messages. Raises JobError.
    """
    if source is not None and source.lower().startswith(("app-", "bearer ")):
        raise JobError(
            Outcome.USAGE,
            msg("that looks like the key itself, which every user of this machine can see in a command line"),
            msg(
                'revoke it in Dify if others use this machine; give it as: printf %s "$KEY" | {command}',
                command=command,
            ),
        )
    if source not in (None, "-"):
        return read_key_file(str(source))
    if interactive():
        return asked_key()
    data = sys.stdin.buffer.read(_LARGEST) if sys.stdin is not None else b""
    if not data.strip():
        raise JobError(
            Outcome.CONFIG,
            msg("no key came on standard input"),
            msg('printf %s "$KEY" | {command}', command=command),
        )
    return check_key(data.decode(errors="replace"), msg("standard input"))
