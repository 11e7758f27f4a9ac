"""Check the access of a service's user to paths before anything is written.

Root tests access in a child process as that user, and the caller's own access is tested directly, so that
access control lists count. For another user, or in a sandbox, modes and owners are compared.
"""

import contextlib
import json
import os
import pwd
import socket
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

from ..messages.command import Command, command
from ..messages.message import msg
from ..system import subprocesses
from ..system.paths import resolved

_LINGER = Path("/var/lib/systemd/linger")
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
PRIVATE_TMP = tuple(Path("/", *names) for names in (("tmp",), ("var", "tmp")))  # PrivateTmp= hides these
_DYNAMIC_UID = 65_519  # the last UID of systemd's dynamic users; it owns nothing


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a job runs as.

    Attributes:
        name: The user's name, for messages.
        uid: None for a dynamic user, who owns nothing and is in no group.
        groups: All groups, the primary one included.
        confined: The user runs in a unit of the system manager, with a private /tmp and without capabilities.
    """

    name: str
    uid: int | None
    groups: frozenset[int] = frozenset()
    confined: bool = False


ROOT = Account("root", 0)
DYNAMIC = Account(msg("the unit's dynamic user"), None, confined=True)


def account_of(name: str, *, confined: bool = False) -> Account | None:
    """Return a user of this machine; None if the name does not exist.

    Args:
        name: The user's name.
        confined: The user runs in a unit of the system manager.
    """
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, found.pw_uid, _groups_of(name) | {found.pw_gid}, confined)


@cache
def _groups_of(name: str) -> frozenset[int]:
    """Return the groups from id(1) with a time limit: a hanging manager delays nss-systemd(8) by 45 s."""
    done = subprocesses.run(["id", "-G", "--", name], limit=5.0)
    if done.answered or done.code == 124:
        return frozenset(map(int, done.text.split())) if done.code == 0 else frozenset()
    return frozenset(os.getgrouplist(name, pwd.getpwnam(name).pw_gid))


def calling_account() -> Account:
    """Return the user of this process."""
    uid = os.geteuid()
    return Account(user_name(uid), uid, frozenset({os.getegid(), *os.getgroups()}))


def user_name(uid: int) -> str:
    """Return a user's name, or the UID of a user without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def lingers() -> bool:
    """Return whether the caller's user manager runs without a login (loginctl(1))."""
    return (_LINGER / user_name(os.geteuid())).exists()


def linger_command() -> Command:
    """Return the command that lets the caller's user manager run without a login."""
    return command("loginctl", "enable-linger", user_name(os.geteuid()), needs_root=True)


def access_error(path: Path, account: Account, need: int) -> str | None:
    """Return why the account has no access to a path, as the end of a sentence; None if it has access.

    Args:
        path: The path.
        account: The user.
        need: The access: os.R_OK, os.W_OK or os.X_OK.
    """
    denied_at = first_denied(path, account, need)
    if denied_at is not None:
        return _denied(denied_at, account, need if denied_at == path else os.X_OK)
    return (
        msg("systemd gives the service a private /tmp, so the service does not see this path")
        if is_hidden(path, account)
        else None
    )


def is_hidden(path: Path, account: Account) -> bool:
    """Return whether PrivateTmp= hides a path from a user.

    Args:
        path: The path.
        account: The user.
    """
    return account.confined and any(path.is_relative_to(tmp) for tmp in PRIVATE_TMP)


def first_denied(path: Path, account: Account, need: int) -> Path | None:
    """Return the first directory above a path, or the path, that denies access; None if access is granted.

    Args:
        path: The path.
        account: The user.
        need: The access to the path: os.R_OK, os.W_OK or os.X_OK.
    """
    if account.uid == 0 and not account.confined:
        return None
    checks = [*((directory, os.X_OK) for directory in reversed(path.parents)), (path, need)]
    denied = _index_of_denied(checks, account)
    if denied is None:
        return None
    where, mode = checks[denied]
    target = resolved(where)
    behind = first_denied(target, account, mode) if target != where else None  # the target of a link
    return behind or where


def _index_of_denied(checks: Sequence[tuple[Path, int]], account: Account) -> int | None:
    own = os.geteuid()
    if account.uid == own != 0:
        access = (os.access(path, mode, effective_ids=True) for path, mode in checks)
        return next((at for at, granted in enumerate(access) if not granted), None)
    if own == 0 and account.uid != 0:
        with contextlib.suppress(OSError, ValueError), shared_probes() as children:
            if account not in children:
                children[account] = _AccessProbe(account)
            return children[account].first_denied(checks)
    return next((at for at, (path, mode) in enumerate(checks) if not _mode_allows(path, account, mode)), None)


class _AccessProbe:
    """A child process with a user's identity that tests access."""

    def __init__(self, account: Account) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._pid = os.fork()
            except OSError:  # no more processes: the caller compares modes
                self._socket.close()
                raise
            if self._pid == 0:
                _try_access(account, theirs)
        self._answers = self._socket.makefile("rb")

    def first_denied(self, checks: Sequence[tuple[Path, int]]) -> int | None:
        """Return the index of the first path to which access is denied. Raises OSError, ValueError."""
        self._socket.sendall(json.dumps([(os.fspath(path), mode) for path, mode in checks]).encode() + b"\n")
        index = int(self._answers.readline())
        return index if index >= 0 else None

    def close(self) -> None:
        """End the process."""
        self._answers.close()
        self._socket.close()
        os.waitpid(self._pid, 0)


def _try_access(account: Account, parent: socket.socket) -> NoReturn:
    """Become the user, and answer until the parent closes the socket. Runs in the child; never returns."""
    code = 1
    try:
        # Otherwise the child holds the parent's end of the socket, and never ends.
        os.closerange(3, parent.fileno())
        os.closerange(parent.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        uid = _DYNAMIC_UID if account.uid is None else account.uid
        try:
            gid = pwd.getpwuid(uid).pw_gid
        except KeyError:
            gid = uid
        os.setgroups(sorted(account.groups))
        os.setgid(gid)
        os.setuid(uid)
        for line in parent.makefile("rb"):
            denied = (at for at, (path, mode) in enumerate(json.loads(line)) if not os.access(path, mode))
            parent.sendall(b"%d\n" % next(denied, -1))
        code = 0
    finally:
        os._exit(code)


_sessions: list[dict[Account, _AccessProbe]] = []


@contextlib.contextmanager
def shared_probes() -> Iterator[dict[Account, _AccessProbe]]:
    """Share child processes between all checks in the block; otherwise each check starts one."""
    if _sessions:
        yield _sessions[0]
        return
    _sessions.append({})
    try:
        yield _sessions[0]
    finally:
        for child in _sessions.pop().values():
            child.close()


def in_home(path: Path) -> bool:
    """Return whether ProtectHome= hides a path."""
    return any(path.is_relative_to(home) for home in _HOMES)


def _mode_allows(path: Path, account: Account, need: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    shift = 0
    if account.uid is not None and found.st_uid == account.uid:
        shift = 6
    elif found.st_gid in account.groups:
        shift = 3
    return bool(found.st_mode >> shift & need)


def _denied(path: Path, account: Account, need: int) -> str:
    try:
        found = path.stat()
    except OSError as error:
        return msg("{path}: {reason}", path=path, reason=error.strerror)
    if _mode_allows(path, account, need):
        return msg("the access control list (ACL) or the file system denies access to {path}", path=path)
    return msg(
        "{path} has mode {mode:04o} and belongs to {owner}",
        path=path,
        mode=stat.S_IMODE(found.st_mode),
        owner=user_name(found.st_uid),
    )
