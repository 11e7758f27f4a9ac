"""Whether the user of a service can reach a path: judged by modes and owners, before anything is written."""

import os
import pwd
import shlex
import stat
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system import subprocesses
from ..system.managed_files import is_missing
from .job_spec import JobSpec

_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_PRIVATE_TMP = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - what PrivateTmp= hides


@dataclass(frozen=True, slots=True)
class Account:
    """Who a job runs as; a dynamic user owns nothing and is in no group.

    confined: in a unit of the system manager, which leaves root no capabilities, and gives a /tmp of its own.
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
    """A user of this machine. Raises JobError (config)."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise JobError(
            Outcome.CONFIG,
            msg("run_as names {name}, who is no user of this machine", name=name),
            msg("useradd --system {name}", name=name),
        ) from None
    return Account(name, found.pw_uid, _groups_of(name) | {found.pw_gid}, confined)


@cache
def _groups_of(name: str) -> frozenset[int]:
    """By a program, which can be left: a manager that hangs keeps nss-systemd(8) for 45 s."""
    done = subprocesses.run(["id", "-G", "--", name], limit=5.0)
    return frozenset(map(int, done.text.split())) if done.code == 0 else frozenset()


def caller() -> Account:
    """Who runs this process."""
    uid = os.geteuid()
    return Account(name_of(uid), uid, frozenset({os.getegid(), *os.getgroups()}))


def name_of(uid: int) -> str:
    """The user's name, or the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_plan(plan: JobSpec, account: Account, *, key_by_manager: bool) -> None:
    """Raise JobError (config) for the first thing that the job's user cannot reach.

    key_by_manager: the service manager reads the key (LoadCredential), so the user need not.
    """
    _check_program(plan, account)
    mend = msg(
        "make it readable for {name}, or set run_as in the job to a user who can read it", name=account.name
    )
    for config in (plan.config_path, *sorted((plan.config_path.parent / "config.d").glob("*.toml"))):
        _demand(
            config,
            msg("the configuration"),
            account,
            os.R_OK,
            msg("{mend} (it holds no key)", mend=mend),
            public=True,
        )
    _check_files(plan, account, mend)
    _check_secrets(plan, account, key_by_manager=key_by_manager)


def _check_program(plan: JobSpec, account: Account) -> None:
    import dify_job  # noqa: PLC0415 - its own place on disk is asked for

    ways_out = msg(
        "install dify-job where everybody can reach it (python3 -m venv /opt/dify-job && "
        "/opt/dify-job/bin/pip install .), or set run_as in the job to a user who can"
    )
    _demand(plan.python, msg("the interpreter"), account, os.X_OK, ways_out, public=True)
    _demand(plan.python.resolve(), msg("the interpreter"), account, os.X_OK, ways_out, public=True)
    if plan.python != Path(sys.executable):
        return  # doctor looks at a unit with another one, whose dify-job stands elsewhere
    _demand(
        Path(sys.prefix), msg("the environment of the interpreter"), account, os.R_OK, ways_out, public=True
    )
    _demand(Path(dify_job.__file__), msg("dify-job itself"), account, os.R_OK, ways_out, public=True)


def _check_files(plan: JobSpec, account: Account, mend: str) -> None:
    """Inputs and outputs; mend: of what cannot be read."""
    for path in plan.reads:
        if is_missing(path):
            raise JobError(
                Outcome.NO_INPUT,
                msg("{path} of job {job} does not exist", path=path, job=plan.job),
                msg("create it first"),
            )
        _demand(path, msg("the file"), account, os.R_OK, mend)
    for path in plan.writes:
        if is_missing(path, stat.S_ISDIR):
            raise JobError(
                Outcome.CANNOT_WRITE,
                msg("the output directory {path} of job {job} does not exist", path=path, job=plan.job),
                msg("mkdir -p {path}", path=path),
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
            msg("keep it in a 0600 file: dify-job secret set {job} --no-encrypt", job=plan.job),
        )
    _check_notify(plan, account, key_by_manager=key_by_manager)
    if plan.key_file is not None and not key_by_manager:
        own = plan.config_path.parent / f"{plan.job}.key"
        mend = msg(
            "give that user a copy (install -m 600 -o {name} {key_file} {own}) and name it in api_key_file",
            name=account.name,
            key_file=plan.key_file,
            own=own,
        )
        _demand(plan.key_file, msg("the key file"), account, os.R_OK, mend)


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
                msg("chown {name} {path}", name=account.name, path=path),
            )


def obstacle(path: Path, account: Account, need: int) -> str | None:
    """What keeps the account from a path, as the end of a sentence; None where it can be reached."""
    barrier = _barrier(path, account, need)
    if barrier is not None:
        return _told(barrier)
    return msg("a service has a /tmp of its own") if is_hidden(path, account) else None


def is_hidden(path: Path, account: Account) -> bool:
    """True below what PrivateTmp= puts another directory over."""
    return account.confined and any(path.is_relative_to(tmp) for tmp in _PRIVATE_TMP)


def _barrier(path: Path, account: Account, need: int) -> Path | None:
    """The path itself, or the first directory above it, that keeps the account out."""
    if account.uid == 0 and not account.confined:
        return None
    for directory in reversed(path.parents):
        if not _allowed(directory, account, os.X_OK):
            return directory
    return None if _allowed(path, account, need) else path


def in_home(path: Path) -> bool:
    """True below what ProtectHome= closes."""
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
                "chmod {mode} {quote}; or {ways_out}",
                mode=mode,
                quote=shlex.quote(str(barrier)),
                ways_out=ways_out,
            )
        raise JobError(
            outcome,
            msg("{name} cannot reach {what} {path}: {why}", name=account.name, what=what, path=path, why=why),
            ways_out,
        )


def _allowed(path: Path, account: Account, need: int) -> bool:
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


def _told(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return msg(
        "{path} has mode {s_imode:04o} and belongs to {name_of}",
        path=path,
        s_imode=stat.S_IMODE(found.st_mode),
        name_of=name_of(found.st_uid),
    )
