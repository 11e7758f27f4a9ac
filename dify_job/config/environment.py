r"""The job `default` from environment variables and .env files.

The grammar is that of python-dotenv without expansion; lines of other programs are ignored. Two cases differ:
unknown escapes in double quotes, and the `\n` of a Windows path, stay as they are written.
"""

import codecs
import errno
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.opened_file import OpenedFile
from ..system.paths import absolute
from .model import KeySource, Origin, Secret, Source
from .permissions import file_error, link_error, unreadable
from .schema import VARIABLES

_KEY_VARIABLE = "DIFY_API_KEY"
_AUTO_START = "AUTO_START_SCHEDULER"
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_MAX_SIZE = 1024 * 1024  # bytes
_HOURS = r"(?a)\d+(?:\.\d*)?|\.\d+"

# Patterns are compiled on first use, because most jobs have a configuration file. This one matches one
# variable, or one line without a variable. A quote that is not closed, or has text after it, ends at the
# line end.
_ENTRY = r"""(?x)
    [^\S\r\n]* (?:export[^\S\r\n]+)? (?:'(?P<quoted_name>[^'\r\n]*)' | (?P<name>[^=\#'\s]+)) [^\S\r\n]* =
    (?: [^\S\r\n]* (?: "(?P<double>(?:[^"\\]|\\[\s\S])*)" | '(?P<single>[^']*)' ) [^\S\r\n]* (?:\#[^\r\n]*)?
      | [^\S\r\n]* (?P<unclosed>["']) [^\r\n]*
      | (?P<bare>[^\r\n]*)
    )
    (?:\r\n|\r|\n|\Z)
  | [^\r\n]* (?:\r\n|\r|\n|\Z)
"""
_IN_QUOTES = r"(?s)([\"']).*\1"
_COMMENT = r"\s+#.*"
_ESCAPE = r"(?s)(?<![A-Za-z])[A-Za-z]:\\(?:[^\"\\]|\\.)*|\\."
_DRIVE_ESCAPE = r"\\([\"\\])"
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "'": "'", "$": "$", "`": "`"}


# Name to value, or to the error of the line in an env file.
Variables = Mapping[str, str | ValueError]


class Environment(NamedTuple):
    """The job `default` as the environment and an env file set it.

    Attributes:
        values: Settings by name, as text; `every` has its unit.
        origins: The origin of each value.
        key: The source of the API key.
        auto_start: Whether install enables the schedule; None if no variable sets it.
        files: The env file, if one was read.
        warnings: Warnings about ignored variables and files.
    """

    values: Mapping[str, str]
    origins: Mapping[str, Origin]
    key: KeySource
    auto_start: bool | None
    files: tuple[Path, ...]
    warnings: tuple[str, ...]


class _VariableSource(NamedTuple):
    """The variables of one source. where: the path of the file; empty for the environment."""

    source: Source
    variables: Variables
    where: str = ""

    def has(self, name: str) -> bool:
        return bool(self.variables.get(name))

    def get(self, name: str) -> str:
        """Return the value, or an empty text. Raises JobError (config) if its line cannot be read."""
        value = self.variables.get(name, "")
        if isinstance(value, ValueError):
            raise JobError(
                Outcome.CONFIG,
                msg("the env file {path} cannot be used: {reason}", path=self.where, reason=value),
                msg("write {name}=VALUE on one line of {path}, in UTF-8", name=name, path=self.where),
            )
        if name not in ("DIFY_END_USER", _KEY_VARIABLE) and re.fullmatch(_IN_QUOTES, value.strip()):
            raise JobError(
                Outcome.CONFIG,
                msg(
                    "the value of {origin} must not be in quotes: Docker makes them part of the value",
                    origin=self.origin(name).where,
                ),
                msg("remove the quotes: {name}=VALUE", name=name),
            )
        return value

    def origin(self, name: str) -> Origin:
        return Origin(
            self.source, msg("{name} in {where}", name=name, where=self.where) if self.where else name
        )


def read_environment(env_file: Path | None, environ: Mapping[str, str]) -> Environment:
    """Read the job `default`: a named env file over the environment over ./.env.

    The key and the base URL always come from the same source, so no key goes to an address of another source.

    Args:
        env_file: From --env-file. None for ./.env, which is read only if others cannot write it.
        environ: The variables of the process.

    Raises:
        JobError: The named file cannot be read, or a variable has a value that cannot be used.
    """
    warnings: list[str] = []
    file, stored = (env_file, _named_dotenv(env_file)) if env_file is not None else _default_dotenv(warnings)
    in_file, in_environment = (
        _VariableSource(Source.DOTENV, stored, str(file)),
        _VariableSource(Source.ENVIRONMENT, environ),
    )
    places = (in_file, in_environment) if env_file is not None else (in_environment, in_file)
    owner = _first(places, _KEY_VARIABLE)
    values: dict[str, str] = {}
    origins: dict[str, Origin] = {}
    for key, name in VARIABLES.items():
        allowed = (owner,) if owner is not None and key == "base_url" else places
        if (place := _first(allowed, name)) is not None:
            values[key], origins[key] = place.get(name), place.origin(name)
    if "every" in values:
        values["every"] = _hours(values["every"].strip(), origins["every"])
    return Environment(
        values,
        origins,
        _key_of(owner),
        _auto_start(_first((in_file, in_environment), _AUTO_START)),
        (file,) if file else (),
        (*warnings, *_unused_warnings(places, owner, values.get("base_url"))),
    )


def _first(places: Sequence[_VariableSource], name: str) -> _VariableSource | None:
    return next((place for place in places if place.has(name)), None)


def _key_of(owner: _VariableSource | None) -> KeySource:
    if owner is None:
        return KeySource(origin=Origin(Source.ENVIRONMENT, _KEY_VARIABLE))
    return KeySource(inline=Secret(owner.get(_KEY_VARIABLE)), origin=owner.origin(_KEY_VARIABLE))


def _hours(text: str, origin: Origin) -> str:
    if not re.fullmatch(_HOURS, text):
        raise JobError(
            Outcome.CONFIG,
            msg(
                "{origin} is {text!r}, but must be a number of hours without a unit",
                origin=origin.where,
                text=text,
            ),
            msg("write only the number of hours, for example: SCHEDULER_INTERVAL_HOURS=2"),
        )
    return f"{text}h"


def _unused_warnings(
    places: Sequence[_VariableSource], owner: _VariableSource | None, base_url: str | None
) -> Iterator[str]:
    """Yield warnings about base URLs from other sources than the key's."""
    for place in places:
        if owner is not None and place.variables.get("DIFY_BASE_URL") not in (None, "", base_url):
            yield (
                msg(
                    "DIFY_BASE_URL from {ignored} is ignored: the API key comes from {owner}, "
                    "and dify-job sends a key only to the base URL from the same source",
                    ignored=place.where or msg("the environment variables"),
                    owner=owner.where or msg("the environment variables"),
                )
            )


def _default_dotenv(warnings: list[str]) -> tuple[Path | None, Variables]:
    """Read ./.env; permissions and content come from one descriptor, because others may replace the file."""
    path = absolute(Path(".env"))
    try:
        with OpenedFile(path) as file:
            if stat.S_ISDIR(file.status.st_mode):  # a virtual environment can have this name
                return None, {}
            fault = file_error(path, file.status, file.descriptor, private=False) or link_error(path)
            if fault is None:
                return path, parse_dotenv(file.read(_MAX_SIZE))
    except FileNotFoundError:
        return None, {}
    except OSError as error:
        if error.errno in (errno.EACCES, errno.ENOTDIR, errno.ELOOP):
            return None, {}
        fault = str(error.strerror)
    warnings.append(
        msg(
            "{path} is ignored: {reason}. If you trust the file, name it with --env-file",
            path=path,
            reason=fault,
        )
    )
    return None, {}


def _named_dotenv(path: Path) -> Variables:
    try:
        with OpenedFile(path) as file:
            return parse_dotenv(file.read(_MAX_SIZE))
    except OSError as error:
        hint = msg(
            "give another file with --env-file, or check the path and its permissions: {command}",
            command=command("ls", "-ld", str(path)),
        )
        raise unreadable(msg("env file"), path, error, hint) from None


def _auto_start(place: _VariableSource | None) -> bool | None:
    if place is None:
        return None
    word = place.get(_AUTO_START).strip().lower()
    if not word:
        return None
    if word not in (*_TRUE, *_FALSE):
        raise JobError(
            Outcome.CONFIG,
            msg("{name} is {word!r}, but must be true or false", name=_AUTO_START, word=word),
            msg("set AUTO_START_SCHEDULER to true or false"),
        )
    return word in _TRUE


def parse_dotenv(content: bytes | str) -> Variables:
    """Parse an env file; lines that are not NAME=VALUE are ignored.

    Args:
        content: UTF-8, or UTF-16 as Windows editors write it. Other bytes affect only their own values.

    Returns:
        Name to value; the last of two lines for one name counts. A value that is truncated or not UTF-8 is
        replaced by its error.
    """
    text = _decoded(content) if isinstance(content, bytes) else content
    text = text.removeprefix("\ufeff")
    variables: dict[str, str | ValueError] = {}
    number = 1
    for entry in re.finditer(_ENTRY, text):
        name, value = entry["quoted_name"] or entry["name"], _value_of(entry)
        if name and entry["unclosed"]:
            fault = msg(
                "the value of {name} (line {number}) has a quote that is not closed, or text "
                "after its closing quote",
                number=number,
                name=name,
            )
            variables[name] = ValueError(fault)
        elif name and any("\udc80" <= character <= "\udcff" for character in value):
            fault = msg("the value of {name} (line {number}) is not UTF-8", number=number, name=name)
            variables[name] = ValueError(fault)
        elif name:
            variables[name] = value
        number += len(re.findall(r"\r\n|\r|\n", entry[0]))
    return variables


def _value_of(entry: re.Match[str]) -> str:
    if entry["double"] is not None:
        return re.sub(_ESCAPE, _unescaped, entry["double"])
    return entry["single"] or re.sub(_COMMENT, "", entry["bare"] or "").strip()


def _unescaped(found: re.Match[str]) -> str:
    if not found[0].startswith("\\"):  # C:\new
        return re.sub(_DRIVE_ESCAPE, r"\1", found[0])
    return _ESCAPES.get(found[0][1], found[0])


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    if content[1:2] == b"\0":
        return content.decode("utf-16-le", errors="replace")
    if content[:1] == b"\0":
        return content.decode("utf-16-be", errors="replace")
    return content.decode(errors="surrogateescape")
