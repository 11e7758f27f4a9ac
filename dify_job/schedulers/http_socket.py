"""The systemd socket of the original system's HTTP interface, and its service."""

import errno
import ipaddress
import re
import shlex
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..state.directories import private_of
from ..system.managed_files import FileState, file_status, fingerprint, with_header
from ..system.templates import render_file
from . import units
from .access import PRIVATE_TMP, in_home
from .model import RenderedFile, Scope
from .reconcile import Step
from .systemctl import SystemdPaths
from .systemd import Systemd
from .unit_plan import Activation, DesiredUnits, enabling_link

_LISTENER_TIMEOUT = 6.0  # seconds
# dify-job-http.service would be the service of a job "http"; job names have no dot.
SOCKET, SERVICE = "dify-job-http.socket", "dify-job.http.service"
OWNER = "http"  # in the headers, where files of jobs have the job's name
_LISTEN = re.compile(r"(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<port>[0-9]{1,5})")
_JOBS = re.compile(r"^# jobs: (.*)$", re.MULTILINE)
_LISTENS = re.compile(r"^ListenStream=(.+)$", re.MULTILINE)
_START = re.compile(r"^ExecStart=(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSocketConfig:
    """The desired HTTP interface.

    Attributes:
        listen: ADDRESS:PORT.
        jobs: Jobs that can be started, stopped and read.
        config_path: The configuration of the jobs.
        python: The interpreter of the service.
        uid: The user with access in addition to root, if no token is required.
        token_file: The file with the token; None if no token is required.
    """

    listen: str
    jobs: Sequence[str]
    config_path: Path
    python: Path
    uid: int | None = None
    token_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSocketStatus:
    """The installed HTTP interface of this host.

    Attributes:
        scope: The scope of the units.
        config: The configuration in the units; None if it cannot be parsed.
        jobs: The jobs that it serves.
        current: The units are identical to those of this dify-job.
        edited: Units that install would not change.
        listening: Whether the socket listens; None if the manager does not answer.
        enabled: The socket listens after boot.
    """

    scope: Scope
    config: HttpSocketConfig | None
    jobs: tuple[str, ...]
    current: bool
    edited: tuple[Path, ...]
    listening: bool | None
    enabled: bool


def address_of(listen: str) -> tuple[str, int]:
    """Return address and port; the default address is 127.0.0.1.

    Raises:
        JobError: (usage) The text is no address and port.
    """
    found = _LISTEN.fullmatch(listen)
    try:
        address = ipaddress.ip_address(((found and found["address"]) or "127.0.0.1").strip("[]"))
    except ValueError:
        found = None
    if found is None or not 0 < int(found["port"]) < 65536:
        raise JobError(
            Outcome.USAGE,
            msg("--http-listen {listen!r} is not an address with a port", listen=listen),
            msg("write an IP address and a port, for example: 127.0.0.1:8000"),
        )
    return str(address), int(found["port"])


def render_http_socket(
    config: HttpSocketConfig, scope: Scope, version: int, paths: SystemdPaths
) -> tuple[RenderedFile, RenderedFile]:
    """Return socket and service.

    Args:
        config: The HTTP interface.
        scope: The scope of the units.
        version: The version of systemd.
        paths: The directories of the scope.

    Raises:
        JobError: (config) Everybody would have access, or the service could not read its token.
    """
    address, port = address_of(config.listen)
    family = ipaddress.ip_address(address)
    if not family.is_loopback and config.token_file is None:
        raise JobError(
            Outcome.CONFIG,
            msg(
                "{address} can be reached from other machines, so the HTTP interface needs a token",
                address=address,
            ),
            msg("give a file with a token in --http-token-file, or listen on 127.0.0.1"),
        )
    hidden = config.token_file
    if scope is Scope.SYSTEM and hidden is not None and any(map(hidden.is_relative_to, PRIVATE_TMP)):
        raise JobError(
            Outcome.CONFIG,
            msg(
                "the service cannot read the token file {path}, because the service has "
                "a private /tmp (PrivateTmp=)",
                path=hidden,
            ),
            msg("store the token in another directory, such as /etc/dify-job/http.token"),
        )
    listen = f"[{address}]:{port}" if family.version == 6 else f"{address}:{port}"
    read = [config.python, config.config_path, *([config.token_file] if config.token_file else [])]
    values = {
        "jobs": " ".join(config.jobs),
        "listen": listen,
        "command": " ".join(units.quoted(word) for word in _command(config)),
        "system": scope is Scope.SYSTEM,
        "since": lambda needed: version >= needed,
        "writes": [
            units.path_value(path)
            for path in (paths.units, config.config_path.parent, private_of(scope.base), paths.stamps)
        ],
        "protect_home": "read-only" if any(map(in_home, read)) else "yes",
    }
    print_of = fingerprint(repr(replace(config, listen=listen, jobs=[*config.jobs])))
    socket, service = (
        RenderedFile(
            paths.units / name,
            with_header(OWNER, print_of, str(config.config_path), render_file(template, values)),
        )
        for name, template in ((SOCKET, "systemd/http.socket.j2"), (SERVICE, "systemd/http.service.j2"))
    )
    return socket, service


class HttpSocket:
    """The two units on this host, of one scope."""

    def __init__(self, scope: Scope) -> None:
        self._systemd = Systemd(scope)
        self._manager = self._systemd.manager
        self._unit_files = tuple(self._systemd.directory / name for name in (SOCKET, SERVICE))

    def render(self, config: HttpSocketConfig) -> tuple[RenderedFile, RenderedFile]:
        """Return socket and service for this host. Raises JobError as render_http_socket does."""
        systemd = self._systemd
        return render_http_socket(config, systemd.scope, systemd.version, systemd.paths)

    def desired(self, config: HttpSocketConfig | None) -> DesiredUnits:
        """Return the desired units; with None they are removed, which ends a request in progress."""
        return DesiredUnits(
            name=OWNER,
            all_paths=self._unit_files,
            files=self.render(config) if config is not None else (),
            trigger=SOCKET,
            activation=Activation.ENABLED,
            before_change=Step("wait for the address", lambda: self._wait_until_free(config.listen))
            if config is not None
            else None,
        )

    def errors(self, config: HttpSocketConfig) -> Iterator[JobError]:
        """Yield why the interface cannot be installed now, such as an address that another program uses."""
        if (why := self._manager.unavailable_reason()) is not None:
            yield JobError(
                Outcome.CONFIG, msg("--http needs systemd: {why}", why=why), msg("leave out --http")
            )
        elif not self._manager.properties_of([SOCKET])[SOCKET].active:
            try:
                check_free(config.listen)
            except JobError as error:
                yield error

    def _wait_until_free(self, listen: str) -> None:
        """Wait for the end of the old listener. Raises JobError if another program uses the address."""
        until = time.monotonic() + _LISTENER_TIMEOUT
        while not self._manager.properties_of([SOCKET])[SOCKET].active:
            try:
                check_free(listen)
                break
            except JobError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def jobs(self) -> tuple[str, ...]:
        """Return the jobs that the units name; empty if the units are not managed."""
        seen = file_status(self._unit_files[1], OWNER)
        found = _JOBS.search(seen.text) if seen.header is not None else None
        return tuple(found[1].split()) if found else ()

    def serves_none_of(self, jobs: Collection[str]) -> bool:
        """Return whether the interface is installed, but serves none of these jobs."""
        served = self.jobs()
        return bool(served) and not {*served} & {*jobs}

    def state(self) -> HttpSocketStatus | None:
        """Return the state of the interface; None if it is not installed."""
        seen = [file_status(path, OWNER) for path in self._unit_files]
        if not any(one.header for one in seen):
            return None
        config = _read_config(*(one.text for one in seen))
        shown = self._manager.show([SOCKET]) if self._manager.unavailable_reason() is None else {}
        return HttpSocketStatus(
            scope=self._systemd.scope,
            config=config,
            jobs=self.jobs(),
            current=config is not None and self._would_write(config) == [one.content for one in seen],
            edited=tuple(
                path
                for path, one in zip(self._unit_files, seen, strict=True)
                if one.state not in (FileState.ABSENT, FileState.MANAGED)
            ),
            listening=shown[SOCKET].active if SOCKET in shown else None,
            enabled=enabling_link(self._unit_files[0]).is_symlink(),
        )

    def _would_write(self, config: HttpSocketConfig) -> list[bytes]:
        try:
            return [artifact.text.encode() for artifact in self.render(config)]
        except JobError:  # an edit that install would reject
            return []


def check_free(listen: str) -> None:
    """Raise JobError (config) if systemd could not listen, because systemd only logs the reason."""
    address, port = address_of(listen)
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise JobError(
                Outcome.CONFIG,
                msg(
                    "the HTTP interface cannot listen on {address} port {port}: {reason}",
                    address=address,
                    port=port,
                    reason=error.strerror,
                ),
                msg(
                    "choose another port with --http-listen; to see the program that uses the port, "
                    "run: ss -ltnp 'sport = :{port}'",
                    port=port,
                )
                if error.errno == errno.EADDRINUSE
                else msg(
                    "choose an address of this machine with --http-listen; to see its addresses, run: "
                    "ip address"
                ),
            ) from None


def _command(config: HttpSocketConfig) -> tuple[str, ...]:
    who = ("--allow-uid", str(config.uid)) if config.uid else ()
    token = ("--token-file", str(config.token_file)) if config.token_file is not None else ()
    path = ("--config", str(config.config_path))
    return (str(config.python), "-P", "-m", "dify_job", "http", *path, *who, *token, "--", *config.jobs)


def _read_config(socket: str, service: str) -> HttpSocketConfig | None:
    """Parse the configuration in the text of the units; None if it cannot be parsed."""
    listen, start = _LISTENS.search(socket), _START.search(service)
    if listen is None or start is None:
        return None
    try:
        words = shlex.split(start[1].replace("%%", "%").replace("$$", "$"))
        flags, jobs = words[5 : words.index("--")], words[words.index("--") + 1 :]
        options = dict(zip(flags[::2], flags[1::2], strict=True))
        return HttpSocketConfig(
            listen=listen[1],
            jobs=jobs,
            config_path=Path(options["--config"]),
            python=Path(words[0]),
            uid=int(options["--allow-uid"]) if "--allow-uid" in options else None,
            token_file=Path(options["--token-file"]) if "--token-file" in options else None,
        )
    except (ValueError, KeyError):
        return None
