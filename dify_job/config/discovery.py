"""The places that configuration comes from: TOML files, the environment and .env."""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system.paths import config_home
from ..system.values import dataclass
from .model import KeySource, Origin, Secret, Source
from .permissions import fault_of_directories, fault_of_file, fault_of_link, permission_fix

_OURS = "# Managed by dify-job for job "
MEND = msg("mend it there, then: dify-job config validate")
_QUOTES = msg('texts stand in quotes, as in every = "1h"; mend it there, then: dify-job config validate')
_SYSTEM_CONFIG = Path("/etc/dify-job/config.toml")
VARIABLES = {
    "base_url": "DIFY_BASE_URL",
    "inputs": "DIFY_INPUTS",
    "end_user": "DIFY_END_USER",
    "every": "SCHEDULER_INTERVAL_HOURS",
}
_BOM = "\ufeff"  # Windows' editors put it there
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass(frozen=True)
class Document:
    """One TOML file, parsed, with its text for line numbers."""

    path: Path
    text: str
    data: Mapping[str, Any]

    def line_of(self, path: tuple[str, ...]) -> int | None:
        """The line of a key."""
        from .lines import line_of  # noqa: PLC0415 - for messages and config show only

        return line_of(self.text, path)

    @property
    def is_companion(self) -> bool:
        """True for what install or `secret set` kept of a job that stands in a person's file."""
        return self.path.name.endswith((".schedule.toml", ".key.toml")) and self.text.startswith(_OURS)

    def place(self, path: tuple[str, ...]) -> str:
        """`file:line` of a key."""
        line = self.line_of(path)
        return f"{self.path}:{line}" if line else str(self.path)


@dataclass(frozen=True)
class Environment:
    """The job `default` as the environment and an env file tell it, raw."""

    values: Mapping[str, str]
    origins: Mapping[str, Origin]
    key: KeySource
    auto_start: bool | None
    files: tuple[Path, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """The variables of one place; where: a file, empty for the environment."""

    source: Source
    variables: Mapping[str, str]
    where: str = ""

    def origin(self, name: str) -> Origin:
        return Origin(
            self.source, msg("{name} in {where}", name=name, where=self.where) if self.where else name
        )


def find_config(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """--config, $DIFY_JOB_CONFIG, the user's file, the system's; the first that is named or exists."""
    named = path or (Path(environ["DIFY_JOB_CONFIG"]) if environ.get("DIFY_JOB_CONFIG") else None)
    if named is not None:
        if not _is_there(named, unseen=True):
            raise JobError(
                Outcome.CONFIG,
                msg("the configuration file {named} does not exist", named=named),
                msg("check --config and DIFY_JOB_CONFIG"),
            )
        return named
    own = config_home(environ) / "dify-job/config.toml"
    if _is_there(own, unseen=False):  # HOME can be another user's, as under `su`
        return own
    return _SYSTEM_CONFIG if _is_there(_SYSTEM_CONFIG, unseen=True) else None


def _is_there(path: Path, *, unseen: bool) -> bool:
    """Whether there is such a file. unseen: what to say of one that may not be seen."""
    try:
        return path.exists()
    except OSError:
        return unseen


def read_documents(path: Path) -> list[Document]:
    """The file and config.d/*.toml beside it, in the order in which they are merged."""
    # By the name without .toml: what install keeps in JOB.schedule.toml comes after a person's JOB.toml.
    directory = path.parent / "config.d"
    try:
        names = [name for name in os.listdir(directory) if name.endswith(".toml")]  # noqa: PTH208 - glob hides errors
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise JobError(
            Outcome.CONFIG,
            msg("{directory} cannot be read: {strerror}", directory=directory, strerror=error.strerror),
            msg("ls -ld {directory}", directory=directory),
        ) from None
    parts = sorted((directory / name for name in names), key=lambda part: part.stem)
    return [_read_toml(file) for file in (path, *parts)]


def _read_toml(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            if os.geteuid() == 0 and (
                fault := fault_of_file(os.fstat(file.fileno()), private=False) or fault_of_directories(path)
            ):
                raise JobError(
                    Outcome.CONFIG,
                    msg(
                        "the configuration file {path} {fault}; root does not run what others can change",
                        path=path,
                        fault=fault,
                    ),
                    permission_fix(path, private=False),
                )
            text = file.read().decode().removeprefix(_BOM)
        return Document(path, text, tomllib.loads(text))
    except OSError as error:
        raise JobError(
            Outcome.CONFIG,
            msg(
                "the configuration file {path} cannot be read: {strerror}", path=path, strerror=error.strerror
            ),
            msg("ls -l {path}", path=path),
        ) from None
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from None
    except tomllib.TOMLDecodeError as error:
        bare = str(error).startswith(("Invalid value", "Expected newline"))
        raise JobError(
            Outcome.CONFIG,
            msg("{path} is not TOML: {error}", path=path, error=error),
            _QUOTES if bare else MEND,
        ) from None


def _not_utf8(path: Path, error: UnicodeDecodeError) -> JobError:
    line = error.object[: error.start].count(b"\n") + 1
    return JobError(
        Outcome.CONFIG,
        msg("{path}:{line} is not UTF-8", path=path, line=line),
        msg("convert it: iconv -f ISO-8859-1 -t UTF-8 {path} (GB18030 or what it is in)", path=path),
    )


def read_environment(env_file: Path | None, environ: Mapping[str, str]) -> Environment:
    """The job `default`: a named env file over the environment over ./.env, which is read only if it is ours.

    The key and the base URL always come from one origin: a stored key never goes to an address from another.
    """
    warnings: list[str] = []
    file, stored = (env_file, _read_dotenv(env_file)) if env_file is not None else _own_dotenv(warnings)
    in_file, in_environment = _Place(Source.DOTENV, stored, str(file)), _Place(Source.ENVIRONMENT, environ)
    places = (in_file, in_environment) if env_file is not None else (in_environment, in_file)
    owner = _first(places, "DIFY_API_KEY")
    found: dict[str, tuple[_Place, str]] = {}
    for key, name in VARIABLES.items():
        allowed = (owner,) if owner is not None and key == "base_url" else places
        if (place := _first(allowed, name)) is not None:
            found[key] = place, name
    values = {key: place.variables[name] for key, (place, name) in found.items()}
    if "every" in values:
        values["every"] += "h"
    return Environment(
        values,
        {key: place.origin(name) for key, (place, name) in found.items()},
        _key_of(owner),
        _auto_start(stored, environ),
        (file,) if file else (),
        (*warnings, *_unused(places, owner, values.get("base_url"))),
    )


def _first(places: Sequence[_Place], name: str) -> _Place | None:
    return next((place for place in places if place.variables.get(name)), None)


def _key_of(owner: _Place | None) -> KeySource:
    if owner is None:
        return KeySource(origin=Origin(Source.ENVIRONMENT, "DIFY_API_KEY"))
    return KeySource(inline=Secret(owner.variables["DIFY_API_KEY"]), origin=owner.origin("DIFY_API_KEY"))


def _unused(places: Sequence[_Place], owner: _Place | None, base_url: str | None) -> Iterator[str]:
    """Warnings of addresses that stand where the key does not."""
    for place in places:
        if owner is not None and place.variables.get("DIFY_BASE_URL") not in (None, "", base_url):
            yield (
                msg(
                    "DIFY_BASE_URL from {value} is not used: the key comes from {value2}, and a key goes "
                    "only to the address set beside it",
                    value=place.where or msg("the environment"),
                    value2=owner.where or msg("the environment"),
                )
            )


def _own_dotenv(warnings: list[str]) -> tuple[Path | None, dict[str, str]]:
    """./.env and what it sets, judged and read through one descriptor, since others may exchange the file."""
    path = Path(".env").absolute()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would block
    except OSError:
        return None, {}
    with os.fdopen(descriptor, "rb") as file:
        fault = fault_of_file(os.fstat(descriptor), private=False) or fault_of_link(path)
        if fault is not None:
            warnings.append(
                msg(
                    "{path} is not read: it {fault}; name it with --env-file if you trust it",
                    path=path,
                    fault=fault,
                )
            )
            return None, {}
        return path, _parsed(path, file.read)


def _read_dotenv(path: Path) -> dict[str, str]:
    return _parsed(path, path.read_bytes)


def _parsed(path: Path, read: Callable[[], bytes]) -> dict[str, str]:
    from .dotenv import parse_dotenv  # noqa: PLC0415 - start-up time: most jobs have a config file

    try:
        return parse_dotenv(read().decode().removeprefix(_BOM))
    except OSError as error:
        raise JobError(
            Outcome.CONFIG,
            msg("the env file {path} cannot be read: {strerror}", path=path, strerror=error.strerror),
            "check --env-file",
        ) from None
    except ValueError as error:
        raise JobError(
            Outcome.CONFIG,
            msg("the env file {path}: {error}", path=path, error=error),
            msg("write each line as NAME=VALUE"),
        ) from None


def _auto_start(stored: Mapping[str, str], environ: Mapping[str, str]) -> bool | None:
    word = (stored.get("AUTO_START_SCHEDULER") or environ.get("AUTO_START_SCHEDULER") or "").strip().lower()
    if not word:
        return None
    if word not in (*_TRUE, *_FALSE):
        raise JobError(
            Outcome.CONFIG,
            msg("AUTO_START_SCHEDULER is {word!r}, neither true nor false", word=word),
            msg("set it to true or false"),
        )
    return word in _TRUE
