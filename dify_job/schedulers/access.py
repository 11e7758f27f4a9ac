"""Check which paths the user of a service has access to, before anything is written.

Root becomes that user in a child process and tries, so that access control lists count. Others, and root in a
sandbox, compare modes and owners.
"""

import contextlib
import json
import os
import pwd
import shlex
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, NoReturn

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import Command, command
from ..system import subprocesses
from ..system.managed_files import is_missing
from .job_spec import JobSpec

_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
PRIVATE_TMP = tuple(Path("/", *names) for names in (("tmp",), ("var", "tmp")))  # what PrivateTmp= hides
_PACKAGE = Path(__file__).parents[1] / "__init__.py"
_DYNAMIC_UID = 65_519  # the last of those that systemd gives dynamic users: it owns nothing


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a job runs as.

    Attributes:
        name: The user's name, for messages.
        uid: None for a dynamic user, who owns nothing and is in no group.
        groups: All groups, the primary one included.
        confined: In a unit of the system manager, with a /tmp of its own, and no capabilities for root.

    """

    name: str
    uid: int | None
    groups: frozenset[int] = frozenset()
    confined: bool = False

    @property
    def dynamic(self) -> bool:
        """True for a user that systemd makes up."""
        return self.uid is None


ROOT = Account("root", 0)
DYNAMIC = Account(msg("the unit's dynamic user"), None, confined=True)


def account_of(name: str, *, confined: bool = False) -> Account:
    """Return a user of this machine. Raises JobError (config) where there is none of that name."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise JobError(
            Outcome.CONFIG,
            msg("run_as names {name}, who is no user of this machine", name=name),
            msg("useradd --system {name}", name=shlex.quote(name)),
        ) from None
    return Account(name, found.pw_uid, _groups_of(name) | {found.pw_gid}, confined)


@cache
def _groups_of(name: str) -> frozenset[int]:
    """Ask a program, which can be left: a manager that hangs keeps nss-systemd(8) for 45 s."""
    done = subprocesses.run(["id", "-G", "--", name], limit=5.0)
    if done.answered or done.code == 124:
        return frozenset(map(int, done.text.split())) if done.code == 0 else frozenset()
    return frozenset(os.getgrouplist(name, pwd.getpwnam(name).pw_gid))


def caller() -> Account:
    """Return the user of this process."""
    uid = os.geteuid()
    return Account(name_of(uid), uid, frozenset({os.getegid(), *os.getgroups()}))


def name_of(uid: int) -> str:
    """Return a user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def linger_command() -> Command:
    """Return the command that lets the caller's user manager run without a login (loginctl(1))."""
    return command("loginctl", "enable-linger", name_of(os.geteuid()), needs_root=True)


def check_plan(plan: JobSpec, account: Account, *, key_by_manager: bool) -> None:
    """Raise an error for the first path that the job's user has no access to.

    Args:
        plan: The job.
        account: Its user.
        key_by_manager: The service manager reads the key (LoadCredential=), so the user need not.

    Raises:
        JobError: What is missing or denied (config, no-input, cannot-write).

    """
    _check_program(plan, account)
    hint = msg(
        "make it readable for {name}, or set run_as in the job to a user who can read it", name=account.name
    )
    for config in (plan.config_path, *sorted((plan.config_path.parent / "config.d").glob("*.toml"))):
        planned = is_missing(config)  # install is about to write it, for everybody to read
        _demand(
            _existing(config) if planned else config,
            msg("the configuration"),
            account,
            os.X_OK if planned else os.R_OK,
            msg("{hint} (it holds no key)", hint=hint),
            public=True,
        )
    _check_files(plan, account, hint)
    _check_secrets(plan, account, key_by_manager=key_by_manager)


def _check_program(plan: JobSpec, account: Account) -> None:
    ways_out = msg(
        "install dify-job where everybody can reach it (python3 -m venv /opt/dify-job && "
        "/opt/dify-job/bin/pip install .), or set run_as in the job to a user who can"
    )
    _demand(plan.python, msg("the interpreter"), account, os.X_OK, ways_out, public=True)
    _demand(plan.python.resolve(), msg("the interpreter"), account, os.X_OK, ways_out, public=True)
    if plan.python != Path(sys.executable):
        return  # doctor looks at a unit with another one, and its dify-job is elsewhere
    _demand(
        Path(sys.prefix), msg("the environment of the interpreter"), account, os.R_OK, ways_out, public=True
    )
    _demand(_PACKAGE, msg("dify-job itself"), account, os.R_OK, ways_out, public=True)


def _check_files(plan: JobSpec, account: Account, hint: str) -> None:
    """Check inputs and outputs; hint: for what cannot be read."""
    for path in plan.reads:
        if is_missing(path):
            raise JobError(
                Outcome.NO_INPUT,
                msg("{path} of job {job} does not exist", path=path, job=plan.job),
                msg("create it first"),
            )
        _demand(path, msg("the file"), account, os.R_OK, hint)
    for path in plan.writes:
        if is_missing(path, stat.S_ISDIR):
            raise JobError(
                Outcome.CANNOT_WRITE,
                msg("the output directory {path} of job {job} does not exist", path=path, job=plan.job),
                msg("mkdir -p {path}", path=shlex.quote(str(path))),
            )
        ways_out = msg("make it writable for that user, or set run_as in the job to one who can write there")
        if path == plan.figures:
            _demand(path, msg("the directory of metrics.textfile"), account, os.W_OK, ways_out)
        else:
            relative = msg("output.file as a relative path goes below /var/lib/dify-job")
            _demand(path, msg("the output directory"), account, os.W_OK, f"{ways_out}; {relative}")


def _check_secrets(plan: JobSpec, account: Account, *, key_by_manager: bool) -> None:
    if plan.key_credential is not None and not key_by_manager and account.uid != 0:
        raise JobError(
            Outcome.CONFIG,
            msg(
                "{name} cannot decrypt the key {key_credential}: only root and systemd can",
                name=account.name,
                key_credential=plan.key_credential,
            ),
            msg(
                "keep it in a 0600 file: {command}",
                command=command("dify-job", "secret", "set", plan.job, "--no-encrypt"),
            ),
        )
    _check_notify(plan, account, key_by_manager=key_by_manager)
    if plan.key_file is not None and not key_by_manager:
        own = plan.config_path.parent / f"{plan.job}.key"
        hint = msg(
            "give that user a copy (install -m 600 -o {name} {key_file} {own}) and name it in api_key_file",
            name=shlex.quote(account.name),
            key_file=shlex.quote(str(plan.key_file)),
            own=shlex.quote(str(own)),
        )
        planned = (
            is_missing(plan.key_file) and account.uid == os.geteuid()
        )  # install writes it for its caller
        there = _existing(plan.key_file) if planned else plan.key_file
        _demand(there, msg("the key file"), account, os.X_OK if planned else os.R_OK, hint)


def _existing(path: Path) -> Path:
    """Return the nearest directory above a path that is there."""
    return next(directory for directory in path.parents if not is_missing(directory))


def _check_notify(plan: JobSpec, account: Account, *, key_by_manager: bool) -> None:
    for _, path in plan.secrets:
        if is_missing(path):
            raise JobError(
                Outcome.CONFIG,
                msg("{path} of job {job} does not exist", path=path, job=plan.job),
                msg("write there what notify or headers in the configuration name it for"),
            )
        if not key_by_manager:
            _demand(
                path,
                msg("the secret file"),
                account,
                os.R_OK,
                command("chown", account.name, str(path)),
            )


def obstacle(path: Path, account: Account, need: int) -> str | None:
    """Return why the account has no access to a path, as the end of a sentence; None where it has.

    Args:
        path: The path.
        account: The user.
        need: What is needed: os.R_OK, os.W_OK or os.X_OK.

    """
    barrier = _barrier(path, account, need)
    if barrier is not None:
        return _denied(barrier, account, need if barrier == path else os.X_OK)
    return msg("a service has a /tmp of its own") if is_hidden(path, account) else None


def is_hidden(path: Path, account: Account) -> bool:
    """Return whether a path is below what PrivateTmp= replaces."""
    return account.confined and any(path.is_relative_to(tmp) for tmp in PRIVATE_TMP)


def _barrier(path: Path, account: Account, need: int) -> Path | None:
    """Return the first directory above the path, or the path itself, that denies access."""
    if account.uid == 0 and not account.confined:
        return None
    checks = [*((directory, os.X_OK) for directory in reversed(path.parents)), (path, need)]
    if os.geteuid() == 0 and account.uid != 0:
        with contextlib.suppress(OSError, ValueError), session() as children:
            if account not in children:
                children[account] = _Child(account)
            denied = children[account].first_denied(checks)
            if denied is None:
                return None
            where, mode = checks[denied]
            target = where.resolve()
            behind = _barrier(target, account, mode) if target != where else None  # what a link leads to
            return behind or where
    return next((where for where, mode in checks if not _mode_allows(where, account, mode)), None)


class _Child:
    """A child process that has become a user, and tries access for it."""

    def __init__(self, account: Account) -> None:
        asked, self._ask = os.pipe()
        answers, answered = os.pipe()
        self._answers: BinaryIO = os.fdopen(answers, "rb")
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _try_access(account, asked, answered)
        except OSError:  # no more processes: the caller compares modes
            os.close(self._ask)
            self._answers.close()
            raise
        finally:
            os.close(asked)
            os.close(answered)

    def first_denied(self, checks: Sequence[tuple[Path, int]]) -> int | None:
        """Return the index of the first path to which access is denied. Raises OSError, ValueError."""
        line = json.dumps([(os.fspath(path), mode) for path, mode in checks]).encode() + b"\n"
        os.write(self._ask, line)
        index = int(self._answers.readline())
        return index if index >= 0 else None

    def close(self) -> None:
        """End the process."""
        os.close(self._ask)
        self._answers.close()
        os.waitpid(self._pid, 0)


def _try_access(account: Account, asked: int, answered: int) -> NoReturn:
    """Become the user, and answer until nobody asks any more. Never returns: this is the child process."""
    code, last = 1, 2
    try:
        for descriptor in (*sorted((asked, answered)), os.sysconf("SC_OPEN_MAX")):
            os.closerange(last + 1, descriptor)  # the writing end of its own pipe would keep it alive
            last = descriptor
        uid = _DYNAMIC_UID if account.uid is None else account.uid
        try:
            gid = pwd.getpwuid(uid).pw_gid
        except KeyError:
            gid = uid
        os.setgroups(sorted(account.groups))
        os.setgid(gid)
        os.setuid(uid)
        with os.fdopen(asked, "rb") as questions:
            for line in questions:
                denied = (at for at, (path, mode) in enumerate(json.loads(line)) if not os.access(path, mode))
                os.write(answered, b"%d\n" % next(denied, -1))
        code = 0
    finally:
        os._exit(code)


_sessions: list[dict[Account, _Child]] = []


@contextlib.contextmanager
def session() -> Iterator[dict[Account, _Child]]:
    """Keep the child processes of all checks within; without it each check starts one."""
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
    """Return whether a path is below what ProtectHome= closes."""
    return any(path.is_relative_to(home) for home in _HOMES)


def _demand(
    path: Path, what: str, account: Account, need: int, ways_out: str, *, public: bool = False
) -> None:
    """public: nothing in it is secret, so that opening it to everybody is a way out, outside of homes."""
    why = obstacle(path, account, need)
    if why is not None:
        barrier = _barrier(path, account, need)
        if is_hidden(path, account):
            ways_out = msg("put it elsewhere, below /srv for example")
        outcome = Outcome.CANNOT_WRITE if need == os.W_OK else Outcome.CONFIG
        if public and barrier is not None and not is_missing(barrier) and not in_home(barrier):
            mode = "a+rx" if not is_missing(barrier, stat.S_ISDIR) or need == os.X_OK else "a+r"
            ways_out = msg(
                "{command}; or {ways_out}", ways_out=ways_out, command=command("chmod", mode, str(barrier))
            )
        raise JobError(
            outcome,
            msg("{name} cannot reach {what} {path}: {why}", name=account.name, what=what, path=path, why=why),
            ways_out,
        )


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
        return msg("the access control list of {path}, or its file system, denies it", path=path)
    return msg(
        "{path} has mode {s_imode:04o} and belongs to {name_of}",
        path=path,
        s_imode=stat.S_IMODE(found.st_mode),
        name_of=name_of(found.st_uid),
    )
