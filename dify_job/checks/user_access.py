"""Access of the user that a job runs as to its program, configuration and secrets."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..config.permissions import directories_error, permission_fix
from ..messages.command import command
from ..messages.message import msg
from ..schedulers import access
from ..schedulers.job_spec import JobSpec
from ..system.paths import is_missing, resolved
from .context import HostContext
from .finding import Finding, fail, ok

_PACKAGE = Path(__file__).parents[1] / "__init__.py"
# Many programs share these directories, so no fix changes their owner or mode.
_SYSTEM_DIRECTORIES = tuple(
    map(Path, ("/root", "/etc", "/usr", "/boot", "/dev", "/proc", "/run", "/var/log", "/var/lib"))
)
_SHARED_DEPTH = 2  # parts of /srv


class _Needed(NamedTuple):
    """A path that a job's user must access.

    Attributes:
        path: The path.
        what: The description of the path, for the message.
        fix: The command or edit that gives the user access.
        mode: os.R_OK or os.X_OK.
        public: The path holds no secret, so a fix outside of homes may open it to everybody.
    """

    path: Path
    what: str
    fix: str
    mode: int = os.R_OK
    public: bool = False


def check_user_access(context: HostContext) -> Finding | None:
    """Check that the service's user has access to code, configuration and secrets; None for user jobs."""
    account, python = context.account, context.python
    if not context.system or account is None or python is None:
        return None
    if context.prepared is None and (
        is_hidden_from_caller(context, python)
        or untrusted_reason(python) is not None
        or (os.geteuid() != 0 and not os.access(context.config_path, os.R_OK))
    ):
        return None
    found = denied_access(context.spec, account, key_by_manager=context.scheduler.key_by_manager)
    return found or ok(
        msg("{user} has access to the interpreter, dify-job and the configuration", user=account.name)
    )


def is_hidden_from_caller(context: HostContext, python: Path) -> bool:
    """Return whether a directory above an interpreter denies the caller access.

    Args:
        context: The job and the host.
        python: The interpreter.
    """
    if not context.system or os.geteuid() == 0:
        return False
    return access.access_error(python.parent, access.calling_account(), os.X_OK) is not None


def untrusted_reason(python: Path) -> str | None:
    """Return why the caller must not run an interpreter: another user can replace it."""
    # First the directories of the interpreter's own path, then those of its link target.
    there = python.parent / "pyvenv.cfg"
    return directories_error(there) or directories_error(python)


def denied_access(spec: JobSpec, account: access.Account, *, key_by_manager: bool) -> Finding | None:
    """Return the finding of the first path that the job's user cannot access; None if it can access all.

    Args:
        spec: The job.
        account: The job's user.
        key_by_manager: The service manager reads key and secrets (LoadCredential=) for the user.
    """
    if spec.key_credential is not None and not key_by_manager and account.uid != 0:
        return fail(
            msg(
                "{user} cannot decrypt the API key {path}: only root and systemd can",
                user=account.name,
                path=spec.key_credential,
            ),
            msg(
                "store the API key in a file with mode 0600 instead: {command}",
                command=command("dify-job", "secret", "set", spec.job, "--no-encrypt"),
            ),
        )
    if key_by_manager and os.geteuid() == 0:
        for path in filter(None, (spec.key_file, *(path for _, path in spec.secrets))):
            if not is_missing(path) and (fault := _replaceable(path)) is not None:
                return fault
    for needed in _needed(spec, account, key_by_manager=key_by_manager):
        why = access.access_error(needed.path, account, needed.mode)
        if why is not None:
            text = msg(
                "{user} has no access to {what} {path}: {why}",
                user=account.name,
                what=needed.what,
                path=needed.path,
                why=why,
            )
            return fail(text, _fix(needed, account))
    return None


def _replaceable(path: Path) -> Finding | None:
    """Return the finding of a file that the job's user could replace by a link to any file of root."""
    reason = directories_error(path)
    if reason is None:
        return None
    text = msg(
        "systemd reads {path} as root for the job, so other users must not be able to replace it: {reason}",
        path=path,
        reason=reason,
    )
    return fail(text, permission_fix(path, private=True))


def _needed(spec: JobSpec, account: access.Account, *, key_by_manager: bool) -> Iterator[_Needed]:
    program = msg(
        "set run_as in the job to a user with access, or install dify-job in a virtual "
        "environment that every user can read, such as /opt/dify-job"
    )
    for python in (spec.python, resolved(spec.python)):
        yield _Needed(python, msg("the Python interpreter"), program, os.X_OK, public=True)
    if spec.python == Path(sys.executable):  # another interpreter has its dify-job elsewhere
        yield _Needed(Path(sys.prefix), msg("the Python environment"), program, public=True)
        yield _Needed(_PACKAGE, msg("the package dify-job"), program, public=True)
    for config in (spec.config_path, *sorted((spec.config_path.parent / "config.d").glob("*.toml"))):
        fix = msg(
            "{path} contains no API key: make it readable for {user}, or set run_as in the job to "
            "a user who can read it",
            path=config,
            user=account.name,
        )
        path, mode = _planned(config) if is_missing(config) else (config, os.R_OK)
        yield _Needed(path, msg("the configuration file"), fix, mode, public=True)
    if spec.ca_file is not None:
        readable = msg(
            "make {path} readable for {user}, or set run_as in the job to a user who can read it",
            path=spec.ca_file,
            user=account.name,
        )
        yield _Needed(spec.ca_file, msg("the certificate file"), readable)
    if key_by_manager:
        return
    for _, secret in spec.secrets:
        yield _Needed(secret, msg("the secret file"), command("chown", account.name, str(secret)))
    if spec.key_file is not None:
        own = spec.config_path.parent / f"{spec.job}.key"
        copy = msg(
            "to make a copy of the API key that {user} can read, run: {command}; then set "
            "api_key_file to {copy}",
            user=account.name,
            copy=own,
            command=command("install", "-m", "600", "-o", account.name, str(spec.key_file), str(own)),
        )
        # Install writes the key file for the calling user.
        planned = is_missing(spec.key_file) and account.uid == os.geteuid()
        path, mode = _planned(spec.key_file) if planned else (spec.key_file, os.R_OK)
        yield _Needed(path, msg("the API key file"), copy, mode)


def _planned(path: Path) -> tuple[Path, int]:
    """Return the nearest directory above a file that install will write, and the access that it needs."""
    return next(directory for directory in path.parents if not is_missing(directory)), os.X_OK


def _fix(needed: _Needed, account: access.Account) -> str:
    fix, barrier = needed.fix, access.first_denied(needed.path, account, needed.mode)
    if access.is_hidden(needed.path, account):
        fix = msg("move {path} to another directory, such as one below /srv", path=needed.path)
    if needed.public and barrier is not None and not is_missing(barrier) and not access.in_home(barrier):
        mode = "a+rx" if not is_missing(barrier, stat.S_ISDIR) or needed.mode == os.X_OK else "a+r"
        return msg(
            "{ways_out}; or allow access for all users: {command}",
            ways_out=fix,
            command=command("chmod", mode, str(barrier)),
        )
    return fix


def grant_access_command(path: Path, account: access.Account, need: int) -> str | None:
    """Return a command that gives a user access to a path; None if no harmless command exists.

    A dynamic user has another UID at each run, so no command gives it write access. Homes and system
    directories are never changed.

    Args:
        path: The path.
        account: The user.
        need: os.R_OK or os.W_OK.
    """
    if account.uid is None and need == os.W_OK:
        return None
    for above in reversed(path.parents):
        if access.access_error(above, account, os.X_OK) is not None:
            return (
                None if _is_shared_directory(above) else command("chmod", "a+x", str(above), needs_root=True)
            )
    if need == os.W_OK:
        shared = _is_shared_directory(path) or len(path.parts) <= _SHARED_DEPTH
        return None if shared else command("chown", account.name, str(path), needs_root=True)
    return None if _is_shared_directory(path) else command("chmod", "a+r", str(path), needs_root=True)


def _is_shared_directory(path: Path) -> bool:
    return access.in_home(path) or any(path.is_relative_to(one) for one in _SYSTEM_DIRECTORIES)
