"""The API key as a person or a script gives it: a prompt that does not echo, standard input, or a file."""

import sys

import click

from ..config.model import Secret
from ..config.secrets import check_key, read_key_file
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from .output import echo_err

_LARGEST = 64 * 1024


def interactive() -> bool:
    """True where a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def asked(question: str, default: str) -> str:
    """What a person answers. Raises click.Abort at Ctrl-C, whose echo then has a line of its own."""
    try:
        return str(click.prompt(question, default=default, err=True))
    except click.Abort:
        echo_err("")
        raise


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
        echo_err(msg("The app's key is in Dify: API Access, API Key. It is not shown while you type."))
        return check_key(str(click.prompt("API key", hide_input=True, err=True)).strip(), msg("the prompt"))
    data = sys.stdin.buffer.read(_LARGEST) if sys.stdin is not None else b""
    if not data.strip():
        raise JobError(
            Outcome.CONFIG,
            msg("no key came on standard input"),
            msg('printf %s "$KEY" | {command}', command=command),
        )
    return check_key(data.decode(errors="replace"), msg("standard input"))
