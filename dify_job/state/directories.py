"""Where jobs have their state: one place, whatever the variables of the process that asks say."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from ..system import user

SYSTEM_BASE = Path("/var/lib/dify-job")
_PINNED = "installed"


def directory_of(job: str, config_path: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Return BASE/JOB: systemd's StateDirectory, the system's BASE for root and system jobs, else the user's.

    A system job under its `run_as` user from cron is known by its config, which is root's, and by the
    directory that install made for it.

    Args:
        job: The job's name.
        config_path: The configuration that it comes from.
        environ: The variables of the caller.
    """
    given = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    system = base_of(system=True) / job
    if os.geteuid() == 0 or (_is_roots(config_path) and os.access(system, os.F_OK)):
        return system
    return pinned_elsewhere(job, environ) or base_of(system=False, environ=environ) / job


def pinned_elsewhere(job: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return where an installed job of a user has its state, if not where the caller's variables say.

    A unit or crontab entry has neither the XDG_STATE_HOME nor the HOME of the shell that asks, so what
    install pinned below the plain home directory wins.

    Args:
        job: The job's name.
        environ: The variables of the caller.
    """
    if environ.get("STATE_DIRECTORY") or os.geteuid() == 0:
        return None
    own = base_of(system=False, environ=environ) / job
    for base in _plain_bases():
        place = base / job
        if place != own and (place / _PINNED).exists() and not _is_same(place, own):
            return place
    return None


def _plain_bases() -> list[Path]:
    """Return the bases without XDG_STATE_HOME: below HOME, and below the home of the account."""
    homes = [user.state_home({})]
    if (account := user.account_home()) is not None:
        homes.append(account / ".local/state")
    return [home / "dify-job" for home in homes]


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def pin(job: str) -> None:
    """Let an installed job of this user have one state, whatever variables the process that asks has.

    The place that XDG_STATE_HOME names, the one below HOME and the one below the account's home become the
    same directory, with a mark in it.

    Raises:
        OSError: The directory cannot be made.
    """
    if os.geteuid() == 0:
        return
    own, *others = dict.fromkeys(base / job for base in (base_of(system=False), *_plain_bases()))
    real = next((place for place in (own, *others) if place.is_dir()), own)
    make_base(real.parent)
    real.mkdir(mode=0o700, exist_ok=True)
    (real / _PINNED).touch()
    for place in (own, *others):
        if not os.path.lexists(place):
            with contextlib.suppress(OSError):  # an account's home need not be there
                make_base(place.parent)
                place.symlink_to(real)


def is_pinned(job: str) -> bool:
    """Return whether a job of this user is marked as installed."""
    return any((base / job / _PINNED).exists() for base in _plain_bases())


def unpin(job: str) -> None:
    """Let a job that is no longer installed follow the variables of its caller again."""
    if os.geteuid() != 0:
        for base in _plain_bases():
            with contextlib.suppress(OSError):
                (base / job / _PINNED).unlink(missing_ok=True)


def directories_of(job: str, base: Path) -> list[Path]:
    """Return every place at which a job has state: below a base, and where its state was pinned.

    Args:
        job: The job's name.
        base: Of its scope.
    """
    bases = [base] if base == SYSTEM_BASE or os.geteuid() == 0 else [base, *_plain_bases()]
    found = [path for one in bases for path in (one / job, private_of(one) / job)]
    targets = [path.resolve() for path in found if path.is_symlink() and path.is_dir()]
    return list(dict.fromkeys([*found, *targets]))


def base_of(*, system: bool, environ: Mapping[str, str] = os.environ) -> Path:
    """Return BASE of a scope: the machine's jobs, or the user's own.

    Args:
        system: True for the scope of the machine.
        environ: The variables of the caller.
    """
    if system:
        return SYSTEM_BASE
    return user.state_home(environ) / "dify-job"


def make_base(base: Path) -> None:
    """Make BASE with its parents.

    Raises:
        OSError: It cannot be made.
    """
    if not base.is_dir():
        base.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:  # units of other users must get through, whatever root's umask
            base.chmod(0o755)


def _is_roots(path: Path | None) -> bool:
    try:
        return path is not None and path.stat().st_uid == 0
    except OSError:
        return False


def private_of(base: Path) -> Path:
    """Return where the state of dynamic users really is, below a base (systemd.exec(5), DynamicUser=)."""
    return base.parent / "private" / base.name


def link_to_private(directory: Path) -> None:
    """Put back systemd's link where somebody removed it: a directory in its place fails the unit with 238."""
    if directory.parent == SYSTEM_BASE and not directory.is_symlink() and os.geteuid() == 0:
        private = private_of(directory.parent) / directory.name
        if private.is_dir() and not directory.exists():
            directory.symlink_to(Path("..", *private.parts[-3:]))
