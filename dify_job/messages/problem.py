"""Problems and the commands in messages, as data."""

import shlex
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple, Self

from ..exit_codes import Outcome
from .message import Message

# Commands of dify-job that ignore --config and --env-file.
_WITHOUT_CONFIG = frozenset({"demo", "exit-codes", "http", "pause", "resume", "uninstall"})


class Severity(IntEnum):
    """How bad a problem is; its number is the exit status of `dify-job doctor`."""

    OK = 0
    WARN = 1
    FAIL = 2


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


def for_reader(text: str, reader: Reader) -> str:
    """Return a message with its commands adapted to a reader.

    Args:
        text: A message, a command, or a text without commands.
        reader: The person who reads it.
    """
    if isinstance(text, Command):
        argv = text.argv
        if text.reads_config:
            argv = (argv[0], *reader.config_options, *argv[1:])
        if (text.needs_root and reader.lacks_root) or (
            reader.by_sudo and (text.needs_root or argv[0] == "dify-job")
        ):
            argv = ("sudo", *argv)
        return Command(argv)
    if isinstance(text, Message):
        return text.map(lambda value: for_reader(value, reader))
    return text


class Problem(NamedTuple):
    """The result of a check, with its fix.

    Args:
        name: The name of the check, such as `key`; stable, for programs.
        severity: The severity.
        message: The event and its reason: one sentence without a full stop.
        fix: A command, an edit, or advice; None if nothing needs to be done.
        outcome: The outcome of a command that rejects a job for it, or None.
        settings: The settings that it concerns.
    """

    name: str
    severity: Severity
    message: str
    fix: str | None = None
    outcome: Outcome | None = None
    settings: tuple[str, ...] = ()

    def for_reader(self, reader: Reader) -> "Problem":
        """Return the problem with its commands adapted to a reader.

        Args:
            reader: The person who reads it.
        """
        fix = for_reader(self.fix, reader) if self.fix else self.fix
        return self._replace(message=for_reader(self.message, reader), fix=fix)

    def as_json(self) -> dict[str, str | None]:
        """Return the problem for programs: English in every locale."""
        return {
            "check": self.name,
            "level": self.severity.name.lower(),
            "message": str(self.message),
            "fix": str(self.fix) if self.fix else None,
        }
