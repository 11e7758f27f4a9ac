"""The socket that systemd holds for the original system's HTTP interface, and the service for one request."""

import contextlib
import errno
import ipaddress
import re
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..state.store import private_of
from ..system.managed_files import FileState, fingerprint, look, marked
from ..system.templates import render_file
from ..system.transaction import locked, removing, transaction
from . import systemctl, units
from .access import in_home
from .backend import RenderedFile, Scope
from .systemctl import Manager
from .systemd_paths import SystemdPaths
from .verify import verify

SOCKET, SERVICE = "dify-job-http.socket", "dify-job-http@.service"
_OWNER = "http"  # in the first lines, where files of jobs name theirs
_LISTEN = re.compile(r"(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<port>[0-9]{1,5})")
_JOBS = re.compile(r"^# jobs: (.*)$", re.MULTILINE)
_LISTENS = re.compile(r"^ListenStream=(.+)$", re.MULTILINE)
_START = re.compile(r"^ExecStart=(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSocketConfig:
    """What is to be served to whom.

    listen: ADDRESS:PORT. jobs: that may be started, stopped and read. uid: who may ask beside root, where no
    token is asked for.
    """

    listen: str
    jobs: Sequence[str]
    config_path: Path
    python: Path
    uid: int | None = None
    token_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSocketStatus:
    """How the interface stands on this host.

    door: as its units say, None where they no longer do. kept: they are as this dify-job writes them.
    edited: those that install would refuse to change. listening: None where the manager cannot be asked.
    """

    scope: Scope
    door: HttpSocketConfig | None
    jobs: tuple[str, ...]
    kept: bool
    edited: tuple[Path, ...]
    listening: bool | None
    enabled: bool


def address_of(listen: str) -> tuple[str, int]:
    """Address and port; 127.0.0.1 where only a port is given. Raises JobError (usage)."""
    found = _LISTEN.fullmatch(listen)
    try:
        address = ipaddress.ip_address(((found and found["address"]) or "127.0.0.1").strip("[]"))
    except ValueError:
        found = None
    if found is None or not 0 < int(found["port"]) < 65536:
        raise JobError(
            Outcome.USAGE,
            msg("{listen!r} is no address and port", listen=listen),
            msg("write it as 127.0.0.1:8000"),
        )
    return str(address), int(found["port"])


def render_door(
    door: HttpSocketConfig, scope: Scope, version: int, places: SystemdPaths
) -> tuple[RenderedFile, RenderedFile]:
    """Socket and service. Raises JobError where everybody could come in."""
    address, port = address_of(door.listen)
    family = ipaddress.ip_address(address)
    if not family.is_loopback and door.token_file is None:
        raise JobError(
            Outcome.CONFIG,
            msg("{address} can be reached from other machines, and there is no token", address=address),
            msg("name a file with one in --http-token-file, or listen on 127.0.0.1"),
        )
    listen = f"[{address}]:{port}" if family.version == 6 else f"{address}:{port}"
    values = {
        "jobs": " ".join(door.jobs),
        "listen": listen,
        "by_token": door.token_file is not None,
        "command": " ".join(units.quoted(word) for word in _command(door)),
        "system": scope is Scope.SYSTEM,
        "since": lambda needed: version >= needed,
        "writes": [
            units.path_value(path)
            for path in (
                places.units,
                door.config_path.parent,
                private_of(places.base),
                places.stamps,
            )
        ],
        "protect_home": "read-only" if in_home(door.python) or in_home(door.config_path) else "yes",
    }
    print_of = fingerprint(repr(replace(door, listen=listen, jobs=[*door.jobs])))
    socket, service = (
        RenderedFile(
            places.units / name,
            marked(_OWNER, print_of, str(door.config_path), render_file(template, values)),
        )
        for name, template in ((SOCKET, "systemd/http.socket.j2"), (SERVICE, "systemd/http.service.j2"))
    )
    return socket, service


class HttpSocket:
    """The two units on this host, of one scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._version = systemctl.version_for_units()
        self._places = SystemdPaths.of(scope)
        self._manager = Manager(scope)
        self._wanted = self._places.units / "sockets.target.wants" / SOCKET

    def render(self, door: HttpSocketConfig) -> tuple[RenderedFile, RenderedFile]:
        """As render_door, for this host."""
        return render_door(door, self._scope, self._version, self._places)

    def open(self, door: HttpSocketConfig) -> bool:
        """Bring the units to the host and let systemd listen; True where that changed it. Raises JobError."""
        artifacts = self.render(door)
        if (why := self._manager.why_not()) is not None:
            raise JobError(
                Outcome.CONFIG, msg("--http needs systemd: {why}", why=why), msg("leave --http out")
            )
        with locked(self._places.base):
            changed = [each for each in artifacts if look(each.path).content != each.text.encode()]
            for each in changed:
                _refuse_foreign(each.path)
            if not changed and self._manager.show([SOCKET])[SOCKET].active:
                return False
            verify(changed, artifacts, self._scope, self._version)
            self._bring(changed, door.listen)
        return True

    def close(self) -> list[Path]:
        """Stop listening and take the units away; a request under way is ended. Gives what was removed."""
        with locked(self._places.base):
            paths = [self._places.units / name for name in (SOCKET, SERVICE)]
            ours = [path for path in paths if look(path, _OWNER).is_ours]
            if not ours:
                return []
            running = self._manager.why_not() is None
            if running:
                self._manager.tell("disable", [SOCKET])
                self._manager.tell("stop", [SOCKET, SERVICE.replace("@", "@*")])
            with removing(self._places.units, msg("nothing listens any more; try again as who installed it")):
                for path in (*ours, self._wanted):
                    path.unlink(missing_ok=True)
            if running:
                self._manager.reload()
            return ours

    def jobs(self) -> tuple[str, ...]:
        """The jobs that the units name; none where there are none of ours."""
        seen = look(self._places.units / SERVICE, _OWNER)
        found = _JOBS.search(seen.text) if seen.mark is not None else None
        return tuple(found[1].split()) if found else ()

    def state(self) -> HttpSocketStatus | None:
        """How the interface stands; None where there is nothing of ours."""
        seen = [look(self._places.units / name, _OWNER) for name in (SOCKET, SERVICE)]
        if not any(one.mark for one in seen):
            return None
        door = _read_door(*(one.text for one in seen))
        shown = self._manager.show([SOCKET]) if self._manager.why_not() is None else {}
        return HttpSocketStatus(
            scope=self._scope,
            door=door,
            jobs=self.jobs(),
            kept=door is not None and self._would_write(door) == [one.content for one in seen],
            edited=tuple(
                self._places.units / name
                for name, one in zip((SOCKET, SERVICE), seen, strict=True)
                if one.found not in (FileState.ABSENT, FileState.OURS)
            ),
            listening=shown[SOCKET].active if SOCKET in shown else None,
            enabled=self._wanted.is_symlink(),
        )

    def _would_write(self, door: HttpSocketConfig) -> list[bytes]:
        try:
            return [artifact.text.encode() for artifact in self.render(door)]
        except JobError:  # an edit that install would refuse
            return []

    def names(self, python: Path) -> bool:
        """True where there are no units of ours, or they start this interpreter."""
        seen = look(self._places.units / SERVICE, _OWNER)
        return seen.mark is None or f"ExecStart={units.quoted(str(python))} ".encode() in seen.content

    def _bring(self, changed: Sequence[RenderedFile], listen: str) -> None:
        before = self._manager.show([SOCKET])[SOCKET]
        try:
            with transaction(self._places.units, msg("install as root, or with --user")) as writer:
                if before.loaded:
                    self._manager.tell("stop", [SOCKET])
                _check_free(listen)
                writer.put_all({each.path: each.text.encode() for each in changed})
                self._manager.reload()
                self._manager.tell("enable", [SOCKET])
                self._manager.tell("start", [SOCKET])
        except BaseException:
            self._manager.reload()
            if look(self._places.units / SOCKET).found is FileState.ABSENT:
                self._wanted.unlink(missing_ok=True)
            if before.active:
                with contextlib.suppress(JobError):
                    self._manager.tell("start", [SOCKET])
            raise


def _check_free(listen: str) -> None:
    """Raises JobError (config) where systemd could not listen there: it tells the reason to its log alone."""
    address, port = address_of(listen)
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise JobError(
                Outcome.CONFIG,
                msg(
                    "nothing can listen on {address} port {port}: {strerror}; the jobs are installed",
                    address=address,
                    port=port,
                    strerror=error.strerror,
                ),
                msg("ss -ltnp 'sport = :{port}' shows who does; --http-listen names another place", port=port)
                if error.errno == errno.EADDRINUSE
                else msg("ip address shows this machine's addresses; --http-listen names another place"),
            ) from None


def _command(door: HttpSocketConfig) -> tuple[str, ...]:
    who = ("--allow-uid", str(door.uid)) if door.uid else ()
    token = ("--token-file", str(door.token_file)) if door.token_file is not None else ()
    config = ("--config", str(door.config_path))
    return (str(door.python), "-P", "-m", "dify_job", "http", *config, *who, *token, "--", *door.jobs)


def _read_door(socket: str, service: str) -> HttpSocketConfig | None:
    """A door from its units; None where they lack what tells it."""
    listen, start = _LISTENS.search(socket), _START.search(service)
    if listen is None or start is None:
        return None
    try:
        words = shlex.split(start[1].replace("%%", "%").replace("$$", "$"))
        flags, jobs = words[5 : words.index("--")], words[words.index("--") + 1 :]
        told = dict(zip(flags[::2], flags[1::2], strict=True))
        return HttpSocketConfig(
            listen=listen[1],
            jobs=jobs,
            config_path=Path(told["--config"]),
            python=Path(words[0]),
            uid=int(told["--allow-uid"]) if "--allow-uid" in told else None,
            token_file=Path(told["--token-file"]) if "--token-file" in told else None,
        )
    except (ValueError, KeyError):
        return None


def _refuse_foreign(path: Path) -> None:
    if look(path, _OWNER).found not in (FileState.ABSENT, FileState.OURS):
        raise JobError(
            Outcome.CONFIG,
            msg("{path} is not as dify-job wrote it", path=path),
            msg(
                "move it away: mv {path} {path}.bak; edits belong into systemctl edit {name}",
                path=path,
                name=path.name,
            ),
        )
