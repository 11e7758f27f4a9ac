"""The programs of systemd: systemctl, with verbs that are the same from 239 on, and systemd-analyze."""

import errno
import os
import re
import shlex
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..system import subprocesses, unit_result
from ..system.transaction import temporary_directory
from ..system.user import data_home
from . import job_spec
from .model import RenderedFile, Scope, Unit

_BOOTED = Path("/run/systemd/system")
_PROPERTIES = (
    "Id,LoadState,ActiveState,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload,ActiveEnterTimestamp,"
    f"NextElapseUSecRealtime,{unit_result.PROPERTIES}"
)
_ANSWER_TIMEOUT = 8.0  # seconds for an optional answer
_OFFLINE_CHECKS = 250  # verify --recursive-errors=
_MAX_UNITS = 5000  # names in one command line of 2 MB, at most 65 bytes each


@cache
def version() -> int | None:
    """Return the version of systemd on this machine, which need not be running.

    Returns:
        None without systemd, or if systemctl cannot be started.
    """
    done = subprocesses.run(["systemctl", "--version"])
    first = re.match(r"systemd (\d+)", done.text)
    return int(first[1]) if done.code == 0 and first else None


def version_for_units() -> int:
    """Return the version to render units for: this machine's, otherwise Debian 12's."""
    return version() or 252


def is_booted() -> bool:
    """Return whether systemd is this machine's service manager (sd_booted(3))."""
    return _BOOTED.is_dir()


@dataclass(frozen=True, slots=True)
class SystemdPaths:
    """Directories of one scope.

    Attributes:
        units: The directory of unit files (systemd.unit(5)).
        stamps: The directory of the stamp files of Persistent= timers (systemd.timer(5)).
    """

    units: Path
    stamps: Path

    @classmethod
    def of(cls, scope: Scope) -> "SystemdPaths":
        """Return the directories of a scope; for a user, from the user manager."""
        usual = cls.usual(scope)
        searched = Manager(scope).unit_path() if scope is Scope.USER else ()
        own = [path for path in searched if path.name == "user" and not _is_shared(path)]
        units = usual.units if usual.units in searched else next(iter(own), usual.units)
        others = (path for path in own if path != units and path.parent.name == "systemd")
        data = usual.stamps.with_name("user")
        data = data if data in searched else next(others, data)
        return cls(units, data.with_name("timers"))

    @classmethod
    def usual(cls, scope: Scope) -> "SystemdPaths":
        """Return the directories of a scope from the variables of this process, without the manager."""
        if scope is Scope.SYSTEM:
            return cls(job_spec.SYSTEM_UNITS, Path("/var/lib/systemd/timers"))
        return cls(job_spec.user_units(), data_home() / "systemd/timers")


def _is_shared(path: Path) -> bool:
    """Return whether a directory of the search path is shared or volatile."""
    return any(path.is_relative_to(top) for top in ("/etc", "/run", "/usr", "/lib"))


# Cached answers of the managers: they do not change, and each command needs them several times.
_unit_paths: dict[tuple[object, ...], tuple[Path, ...]] = {}


class Manager:
    """One systemd manager: the system's or this user's. Changes raise JobError if systemctl fails."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._argv = ["systemctl", *scope.manager_options]
        self.no_answer = ""  # why it did not answer; optional requests are then skipped
        own, given = Path(f"/run/user/{os.geteuid()}"), os.environ.get("XDG_RUNTIME_DIR")
        # The variable is missing, or root's, under ssh without PAM, su and cron.
        self._runtime = Path(given) if given and (_is_own(Path(given)) or not _is_own(own)) else own
        self._environ = {"XDG_RUNTIME_DIR": str(self._runtime)} if scope is Scope.USER else {}

    def unavailable_reason(self) -> str | None:
        """Return why the manager cannot be asked, without asking it; None if it seems to run."""
        if not subprocesses.is_on_path("systemctl"):
            return msg("systemd is not installed")
        if not is_booted():
            return msg("this machine was not booted with systemd")
        if self.scope is Scope.USER:
            here = self._runtime / "systemd"
            if not _is_own(self._runtime) or not here.is_dir() or _has_no_listener(here / "private"):
                return msg(
                    "you have no user manager of systemd: {runtime} does not belong to you, or "
                    "contains no manager",
                    runtime=self._runtime,
                )
        return None

    def show(self, units: Sequence[str]) -> dict[str, Unit]:
        """Return the properties of units with one call; empty if the manager does not answer.

        Args:
            units: Their names.
        """
        try:
            return {} if self.no_answer else self.properties_of(units, limit=_ANSWER_TIMEOUT)
        except JobError:
            return {}

    def properties_of(self, units: Sequence[str], limit: float = 60.0) -> dict[str, Unit]:
        """Return the properties of units, or raise an error.

        Args:
            units: Their names.
            limit: Seconds to wait for the answer.

        Raises:
            JobError: (cannot-write) The manager does not answer.
        """
        found: dict[str, Unit] = {}
        for start in range(0, len(units), _MAX_UNITS):
            part = units[start : start + _MAX_UNITS]
            done = self._run("show", f"--property={_PROPERTIES}", "--", *part, limit=limit)
            if done.code != 0:
                raise self._failed("show", part, done)
            blocks = [
                dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
                for block in done.text.split("\n\n")
            ]
            answers = [Unit(properties) for properties in blocks if "Id" in properties]
            if len(answers) != len(part):  # one answer per unit, in order; an alias has another Id
                raise self._failed("show", part, done, msg("systemd's answer is incomplete"))
            found |= zip(part, answers, strict=True)
        return found

    def unit_path(self) -> tuple[Path, ...]:
        """Return the unit search path of the manager; empty if it does not answer."""
        manager = (
            self.scope,
            *(os.environ.get(name) for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "HOME")),
        )
        if manager in _unit_paths:
            return _unit_paths[manager]
        if self.no_answer or self.unavailable_reason() is not None:
            return ()
        shown = self._run("show", "--property=UnitPath", limit=_ANSWER_TIMEOUT)
        if shown.code != 0:
            return ()
        _, _, value = shown.text.strip().partition("UnitPath=")
        _unit_paths[manager] = tuple(map(Path, value.split()))
        return _unit_paths[manager]

    def variables(self, unit: str) -> set[str] | None:
        """Return the names of a service's variables, of its manager's too.

        Returns:
            None if they come from files, or without an answer.
        """
        if self.no_answer:
            return None
        shown = self._run(
            "show", "--property=Environment,EnvironmentFiles", "--", unit, limit=_ANSWER_TIMEOUT
        )
        shown_values = dict(line.split("=", 1) for line in shown.text.splitlines() if "=" in line)
        if shown.code != 0 or shown_values.get("EnvironmentFiles"):
            return None
        inherited = self._run("show-environment", limit=_ANSWER_TIMEOUT).text.splitlines()
        try:
            own = shlex.split(shown_values.get("Environment", ""))
        except ValueError:  # values with control characters have bash quoting
            return None
        return {pair.partition("=")[0] for pair in (*own, *inherited)}

    def reload(self) -> None:
        """Reload all units."""
        self._do("daemon-reload")

    def call(self, verb: str, units: Iterable[str], *flags: str) -> None:
        """Change the activation of units, in one call.

        Args:
            verb: enable, disable, start, stop or reset-failed.
            units: Their names.
            flags: Options of the verb.

        Raises:
            JobError: systemctl failed (cannot-write).
        """
        named = sorted(set(units))
        for start in range(0, len(named), _MAX_UNITS):
            self._do(verb, *flags, *named[start : start + _MAX_UNITS])

    def run(self, unit: str, limit: float) -> str:
        """Start a oneshot service and wait for its end.

        Args:
            unit: Its name.
            limit: Seconds to wait.

        Returns:
            systemctl's complaint; empty where the service succeeded.
        """
        done = self._run("--no-ask-password", "start", unit, limit=limit)
        return done.reason if done.code else ""

    def _run(self, *words: str, limit: float) -> subprocesses.Completed:
        environ = {**self._environ, "TZ": "UTC"}
        done = subprocesses.run([*self._argv, *words], environ=environ, limit=limit)
        self.no_answer = "" if done.answered else done.complaint
        return done

    def _do(self, verb: str, *words: str) -> None:
        # stopping a service waits for the stop of the run, which takes at most 20 s
        done = self._run("--no-ask-password", verb, *words, limit=120.0)
        if done.code != 0:
            raise self._failed(verb, [word for word in words if not word.startswith("-")], done)

    def _failed(
        self, verb: str, units: Sequence[str], done: subprocesses.Completed, reason: str = ""
    ) -> JobError:
        shown = [*self._argv, verb, *units[:3], *(["..."] if len(units) > 3 else [])]
        return JobError(
            Outcome.CANNOT_WRITE,
            msg("{command} failed: {reason}", command=" ".join(shown), reason=reason or done.reason),
            command(*self._argv, "status", *units[:1]),
        )


def _has_no_listener(address: Path) -> bool:
    """Return True if no process listens: from 257 on, the directory of a manager can outlive it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        try:
            connection.connect(os.fspath(address))
        except OSError as error:
            return error.errno == errno.ECONNREFUSED
    return False


def _is_own(directory: Path) -> bool:
    try:
        return directory.is_dir() and directory.stat().st_uid == os.geteuid()
    except OSError:
        return False


def verify(
    changed: Sequence[RenderedFile], together: Sequence[RenderedFile], scope: Scope, rendered_for: int
) -> bool:
    """Check units with systemd-analyze.

    `verify` exits with 0 for a bad OnCalendar unless --recursive-errors=no (250). `calendar` shows whether a
    schedule ever elapses. Without systemd-analyze, only dify-job's own checks apply.

    Args:
        changed: The changed files.
        together: All files of the units.
        scope: The scope of the units.
        rendered_for: The version of systemd that the units are rendered for.

    Returns:
        Whether systemd-analyze checked them; containers and some distributions lack it.

    Raises:
        JobError: (rejected) systemd reports an error; (cannot-write) there is no space for the files.
    """
    if not subprocesses.is_on_path("systemd-analyze"):
        return False
    lines = sorted(set(_calendars(changed)))
    if lines:
        done = subprocesses.run(["systemd-analyze", "calendar", "--", *lines])
        if not done.answered:
            return False
        if done.code != 0:
            raise JobError(
                Outcome.REJECTED,
                msg("systemd does not accept the schedule: {reason}", reason=done.reason),
                msg("correct the calendar expression; to see how to write one, run: man systemd.time"),
            )
    with temporary_directory() as scratch:
        files = []
        for artifact in together:
            file = scratch / artifact.path.name
            file.write_text(artifact.text, encoding="utf-8")
            files.append(str(file))
        user = scope.manager_options
        environ = (
            {"XDG_RUNTIME_DIR": str(scratch)} if user else {}
        )  # the variable must be set even without a manager
        strict = ["--recursive-errors=no"] if (version() or 0) >= _OFFLINE_CHECKS else []
        command = ["systemd-analyze", *user, "verify", "--man=no", *strict, *files]
        done = subprocesses.run(command, limit=300.0, environ=environ)
        complaints = [
            line for line in done.stderr.decode(errors="replace").splitlines() if "dify-job-" in line
        ]
        if complaints and (done.code != 0 or not strict):
            raise JobError(
                Outcome.REJECTED,
                msg(
                    "systemd does not accept the units: {reason}",
                    reason=complaints[0].replace(f"{scratch}/", ""),
                ),
                msg("to see the units for systemd {version}, use --dry-run", version=rendered_for),
            )
    return done.answered


def _calendars(artifacts: Iterable[RenderedFile]) -> Iterator[str]:
    for artifact in artifacts:
        for line in artifact.text.splitlines():
            if line.startswith("OnCalendar="):
                yield line.removeprefix("OnCalendar=")
