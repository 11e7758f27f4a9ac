"""The frozen values that the configuration gives to the other packages."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from ..messages.errors import JobError
from ..messages.message import msg


class Secret:
    """A value that repr, str, format and tracebacks never show."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value, for code that sends or stores it."""
        return self._value

    def masked(self) -> str:
        """Return `app-…abcd`, which distinguishes keys without revealing them."""
        return f"{self._value[:4]}…{self._value[-4:]}" if len(self._value) >= 16 else "…"

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Source(StrEnum):
    """The kind of source of a value."""

    BUILT_IN = msg("built in")
    FILE = "file"
    ENVIRONMENT = "environment"
    DOTENV = msg("env file")
    FLAG = "flag"


class Origin(NamedTuple):
    """The source of one value. where: a path, a variable's name or a flag; line: counts from 1."""

    source: Source
    where: str = ""
    line: int | None = None

    def __str__(self) -> str:
        if self.source is Source.BUILT_IN:
            return msg("built in")
        place = f"{self.where}:{self.line}" if self.line else self.where
        return place if self.source is Source.FILE else f"{self.source} {place}"


class KeySource(NamedTuple):
    """The source of the API key, without the key: `status` and `next` never read it.

    At most one of file, encrypted, env and inline is set; without any, only a systemd credential has the
    key. encrypted: a file of systemd-creds(1). inline: a key from the environment or an env file.
    """

    file: Path | None = None
    encrypted: Path | None = None
    env: str | None = None
    inline: Secret | None = None
    origin: Origin = Origin(Source.BUILT_IN)


class RetryPolicy(NamedTuple):
    """attempts counts POSTs, the first included; max_wait is the sum of the pauses in seconds."""

    attempts: int = 3
    max_wait: float = 120.0


class Downloads(NamedTuple):
    """Limits of a workflow's files, which are saved next to the output file. max_size: bytes of one file."""

    max_files: int = 20
    max_size: int = 100_000_000


class Output(NamedTuple):
    """The output file of a successful run.

    file: a path or template as written. select: a path in the run; without it the complete result is written.
    format: "text" writes a string without quotes, "json" quotes it. mode: permissions; None uses the umask.
    """

    file: str | None = None
    select: str | None = None
    format: str = "text"
    mode: int | None = None
    downloads: Downloads | None = None
    download_hosts: tuple[str, ...] = ()


JSON_TYPES = ("object", "array", "string", "number", "boolean", "null")


class Expectation(NamedTuple):
    """The assertions on the value at a path of the run, which must exist. All that are set must hold.

    equals: empty, or the expected value. regex: a pattern to find in the text. type: allowed JSON types.
    """

    nonempty: bool = False
    equals: tuple[Any, ...] = ()
    regex: str | None = None
    type: tuple[str, ...] = ()


URL_FILE = "apprise-url-from-file:"


class Notify(NamedTuple):
    """Notifications. healthchecks: a URL to ping; the lists hold `apprise-url-from-file:PATH`."""

    healthchecks: str | None = None
    on_failure: tuple[str, ...] = ()
    on_success: tuple[str, ...] = ()
    on_recovery: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files with URLs, each once."""
        named = (*self.on_failure, *self.on_success, *self.on_recovery)
        return tuple(file_of(name) for name in dict.fromkeys(named))


def file_of(name: str) -> Path:
    """Return the path in `apprise-url-from-file:PATH`."""
    return Path(name.removeprefix(URL_FILE)).expanduser()


class Metrics(NamedTuple):
    """Metrics of the last run. textfile: the file for Prometheus's node_exporter."""

    textfile: Path | None = None


class ScheduleConfig(NamedTuple):
    """The schedule as written; at most one of every, calendar and cron is set. Durations in seconds."""

    every: float | None = None
    calendar: tuple[str, ...] = ()
    cron: str | None = None
    timezone: str | None = None
    jitter: float = 0.0
    catch_up: bool = False
    max_late: float | None = None

    @property
    def has_time(self) -> bool:
        """True if every, calendar or cron is set."""
        return self.every is not None or bool(self.calendar) or self.cron is not None


_ORIGINAL_EVERY = 3600.0  # the default of SCHEDULER_INTERVAL_HOURS in the original system


class Job(NamedTuple):
    """One job with all settings merged. Durations in seconds.

    Attributes:
        files: Paths and addresses by the name of their input.
        headers: Header name to value, or to the file with the value.
    """

    name: str
    base_url: str
    key: KeySource
    mode: str = "streaming"
    workflow_id: str | None = None
    end_user: str | None = None
    timeout: float = 1800.0
    connect_timeout: float = 10.0
    idle_timeout: float = 330.0
    wait_network: float | None = None
    queue_time: float = 1200.0
    ca_file: Path | None = None
    inputs: Mapping[str, Any] = {}
    files: Mapping[str, tuple[str, ...]] = {}
    headers: Mapping[str, str | Path] = {}
    env: tuple[str, ...] = ()
    overlap: str = "fail"
    partial: str = "failure"
    retry: RetryPolicy = RetryPolicy()
    output: Output = Output()
    expect: Mapping[str, Expectation] = {}
    notify: Notify = Notify()
    metrics: Metrics = Metrics()
    console_url: str | None = None
    state: str = "disk"
    log_outputs: int = 0
    log_file: Path | None = None
    run_as: str | None = None
    description: str | None = None
    schedule: ScheduleConfig = ScheduleConfig()
    origins: Mapping[str, Origin] = {}

    @property
    def times(self) -> ScheduleConfig:
        """The configured schedule, otherwise the interval of the original system."""
        return self.schedule if self.schedule.has_time else self.schedule._replace(every=_ORIGINAL_EVERY)


def header_files(headers: Mapping[str, str | Path]) -> tuple[Path, ...]:
    """Return the files with header values, each once.

    Args:
        headers: Header name to value, or to the file with the value.
    """
    return tuple(dict.fromkeys(value for value in headers.values() if isinstance(value, Path)))


def local_files(files: Mapping[str, tuple[str, ...]]) -> tuple[Path, ...]:
    """Return the local files of `files`; for a template, its constant directory.

    Args:
        files: Paths and addresses by the name of their input.
    """
    local = (name for names in files.values() for name in names if name and "://" not in name)
    return tuple(filter(None, (constant_parent(name) if "{" in name else Path(name) for name in local)))


def constant_parent(output: str) -> Path | None:
    """Return the constant part of the directory of a file; None for a file in the state directory.

    Args:
        output: The path of the file, as written.
    """
    constant = re.split(r"\{[{%]", output, maxsplit=1)[0]
    path = Path(constant).expanduser()
    if not path.is_absolute():
        return None
    return path if constant.endswith("/") else path.parent


class BrokenFile(NamedTuple):
    """A file of config.d that cannot be used.

    Attributes:
        path: The file.
        error: What is wrong with it.
        declares: The jobs with a table in the file.
        for_all: The file may concern every job, for example because it has [defaults].
    """

    path: Path
    error: JobError
    declares: frozenset[str] = frozenset()
    for_all: bool = False

    def is_for(self, job: str) -> bool:
        """Return whether a job needs the file, by its name or its tables."""
        return self.for_all or job in self.declares or job == self.path.name.partition(".")[0]


class Config(NamedTuple):
    """All jobs and the files they came from.

    Attributes:
        path: The configuration file; None for a job from environment variables or an env file.
        files: Every file that was read.
        jobs: The jobs that can be used, by name.
        broken: The error of each job that cannot be used, by its name.
        broken_files: The files of config.d that cannot be used; they may declare more jobs.
        errors: All errors, each once.
        auto_start: The value of AUTO_START_SCHEDULER, or None.
        warnings: For the log.
    """

    path: Path | None
    files: tuple[Path, ...]
    jobs: Mapping[str, Job]
    broken: Mapping[str, JobError] = {}
    broken_files: tuple[BrokenFile, ...] = ()
    errors: tuple[JobError, ...] = ()
    auto_start: bool | None = None
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all jobs, those that cannot be used included."""
        return tuple(dict.fromkeys((*self.jobs, *self.broken)))
