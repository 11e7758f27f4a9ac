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
DYNAMIC = Account("the unit's dynamic user", None, confined=True)


def account_of(name: str, *, confined: bool = False) -> Account:
    """A user of this machine. Raises JobError (config)."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise JobError(
            Outcome.CONFIG, f"run_as names {name}, who is no user of this machine", f"useradd --system {name}"
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
    mend = f"make it readable for {account.name}, or set run_as in the job to a user who can read it"
    for config in (plan.config_path, *sorted((plan.config_path.parent / "config.d").glob("*.toml"))):
        _demand(config, "the configuration", account, os.R_OK, f"{mend} (it holds no key)", public=True)
    _check_files(plan, account, mend)
    _check_secrets(plan, account, key_by_manager=key_by_manager)


def _check_program(plan: JobSpec, account: Account) -> None:
    import dify_job  # noqa: PLC0415 - its own place on disk is asked for

    ways_out = (
        "install dify-job where everybody can reach it (python3 -m venv /opt/dify-job && "
        "/opt/dify-job/bin/pip install .), or set run_as in the job to a user who can"
    )
    _demand(plan.python, "the interpreter", account, os.X_OK, ways_out, public=True)
    _demand(plan.python.resolve(), "the interpreter", account, os.X_OK, ways_out, public=True)
    if plan.python != Path(sys.executable):
        return  # doctor looks at a unit with another one, whose dify-job stands elsewhere
    _demand(Path(sys.prefix), "the environment of the interpreter", account, os.R_OK, ways_out, public=True)
    _demand(Path(dify_job.__file__), "dify-job itself", account, os.R_OK, ways_out, public=True)


def _check_files(plan: JobSpec, account: Account, mend: str) -> None:
    """Inputs and outputs; mend: of what cannot be read."""
    for path in plan.reads:
        if is_missing(path):
            raise JobError(Outcome.NO_INPUT, f"{path} of job {plan.job} does not exist", "create it first")
        _demand(path, "the file", account, os.R_OK, mend)
    for path in plan.writes:
        if is_missing(path, stat.S_ISDIR):
            raise JobError(
                Outcome.CANNOT_WRITE,
                f"the output directory {path} of job {plan.job} does not exist",
                f"mkdir -p {path}",
            )
        ways_out = "make it writable for that user, or set run_as in the job to one who can write there"
        if path == plan.figures:
            _demand(path, "the directory of metrics.textfile", account, os.W_OK, ways_out)
        else:
            relative = "output.file as a relative path goes below /var/lib/dify-job"
            _demand(path, "the output directory", account, os.W_OK, f"{ways_out}; {relative}")


def _check_secrets(plan: JobSpec, account: Account, *, key_by_manager: bool) -> None:
    if plan.key_credential is not None and not key_by_manager and account.uid != 0:
        raise JobError(
            Outcome.CONFIG,
            f"{account.name} cannot decrypt the key {plan.key_credential}: only root and systemd can",
            f"keep it in a 0600 file: dify-job secret set {plan.job} --no-encrypt",
        )
    _check_notify(plan, account, key_by_manager=key_by_manager)
    if plan.key_file is not None and not key_by_manager:
        own = plan.config_path.parent / f"{plan.job}.key"
        mend = (
            f"give that user a copy (install -m 600 -o {account.name} {plan.key_file} {own}) and name it "
            "in api_key_file"
        )
        _demand(plan.key_file, "the key file", account, os.R_OK, mend)


def _check_notify(plan: JobSpec, account: Account, *, key_by_manager: bool) -> None:
    for _, path in plan.secrets:
        if is_missing(path):
            raise JobError(
                Outcome.CONFIG,
                f"{path} of job {plan.job} does not exist",
                "write one apprise URL a line there",
            )
        if not key_by_manager:
            _demand(path, "the file of notify", account, os.R_OK, f"chown {account.name} {path}")


def obstacle(path: Path, account: Account, need: int) -> str | None:
    """What keeps the account from a path, as the end of a sentence; None where it can be reached."""
    barrier = _barrier(path, account, need)
    if barrier is not None:
        return _told(barrier)
    return "a service has a /tmp of its own" if is_hidden(path, account) else None


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
            ways_out = "put it elsewhere, below /srv for example"
        outcome = Outcome.CANNOT_WRITE if need == os.W_OK else Outcome.CONFIG
        if public and barrier is not None and not is_missing(barrier) and not in_home(barrier):
            mode = "a+rx" if not is_missing(barrier, stat.S_ISDIR) or need == os.X_OK else "a+r"
            ways_out = f"chmod {mode} {shlex.quote(str(barrier))}; or {ways_out}"
        raise JobError(outcome, f"{account.name} cannot reach {what} {path}: {why}", ways_out)


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
    return f"{path} has mode {stat.S_IMODE(found.st_mode):04o} and belongs to {name_of(found.st_uid)}"
