"""Commands in messages, as data, and their form for the person who reads them."""

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from .message import Message

# Commands of dify-job that ignore --config and --env-file.
_WITHOUT_CONFIG = frozenset({"demo", "exit-codes", "http", "pause", "resume", "uninstall"})


class Command(Message):
    """A command that a person can paste into a shell.

    It is a complete hint or a value of one: `msg("{command} shows it", command=Command(...))`. `for_reader`
    adds the prefix and options that a reader needs.
    """

    __slots__ = ("argv", "needs_root")
    argv: tuple[str, ...]
    needs_root: bool

    def __new__(cls, argv: Sequence[str], values: object = None, *, needs_root: bool = False) -> Self:  # noqa: ARG004
        """Make a command.

        Args:
            argv: Program and arguments, not quoted.
            values: Ignored; a command has no values.
            needs_root: True for a command that only root can run.
        """
        text = shlex.join(argv)
        command = super().__new__(cls, text.replace("{", "{{").replace("}", "}}"), {})
        command.argv = tuple(argv)
        command.needs_root = needs_root
        return command

    def __getnewargs_ex__(self) -> Any:
        """Support copy and pickle."""
        return (self.argv,), {"needs_root": self.needs_root}

    @property
    def reads_config(self) -> bool:
        """True for a command of dify-job that reads the configuration."""
        program, *words = self.argv
        named = bool(words) and words[0] not in _WITHOUT_CONFIG and not words[0].startswith("-")
        return program == "dify-job" and named and "--help" not in words


def command(*argv: str, needs_root: bool = False) -> Command:
    """Make a command for a message.

    Args:
        *argv: Program and arguments, not quoted.
        needs_root: True for a command that only root can run.
    """
    return Command(argv, needs_root=needs_root)


def commands_in(text: str) -> tuple[str, ...]:
    """Return the texts of the commands in a message.

    Args:
        text: A message, a command, or a text without commands.
    """
    if isinstance(text, Command):
        return (str(text),)
    values = text.values.values() if isinstance(text, Message) else ()
    return tuple(found for value in values if isinstance(value, str) for found in commands_in(value))


def with_job(text: str, job: str) -> str:
    """Return a message with the name of a job in its commands.

    Args:
        text: A message, or a command, in which the argument `JOB` stands for the job.
        job: The job's name.
    """
    if isinstance(text, Command):
        return Command([job if word == "JOB" else word for word in text.argv], needs_root=text.needs_root)
    if isinstance(text, Message):
        return text.map(lambda value: with_job(value, job))
    return text


class Reader(NamedTuple):
    """The properties of a reader that commands in messages depend on."""

    lacks_root: bool = False
    """Not root now: commands that need root begin with sudo."""
    by_sudo: bool = False
    """Root for this command only: in the next one, every command of dify-job needs sudo again."""
    config_options: tuple[str, ...] = ()
    """The --config and --env-file of this call, which commands about the same configuration repeat."""
    program: str = "dify-job"
    """The path of this program if the shell would not start it by its name."""


def for_reader(text: str, reader: Reader) -> str:
    """Return a message with its commands adapted to a reader.

    Args:
        text: A message, a command, or a text without commands.
        reader: The person who reads it.
    """
    if isinstance(text, Command):
        argv = text.argv
        ours = argv[0] == "dify-job"
        if ours:
            options = reader.config_options if text.reads_config else ()
            argv = (reader.program, *options, *argv[1:])
        if (text.needs_root and reader.lacks_root) or (reader.by_sudo and (text.needs_root or ours)):
            return Command(("sudo", *argv))
        return Command(argv, needs_root=text.needs_root)
    if isinstance(text, Message):
        return text.map(lambda value: for_reader(value, reader))
    return text
