"""The state directories of jobs; of installed jobs, whatever the variables of the calling process."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from ..system import user
from ..system.paths import is_missing, resolved

SYSTEM_BASE = Path("/var/lib/dify-job")
_PINNED = "installed"


def directory_of(job: str, config_path: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Return systemd's StateDirectory, otherwise BASE/JOB: BASE of the system for root and system jobs.

    For other jobs BASE is the user's, unless install pinned another directory. A system job that cron starts
    as its `run_as` user is recognised by its configuration, which belongs to root, and by the directory that
    install created.

    Args:
        job: The job's name.
        config_path: The path of the configuration.
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
    """Return the pinned state directory of a user's job if the caller's variables select another one.

    A unit or crontab entry has neither the XDG_STATE_HOME nor the HOME of the caller's shell, so the
    directory that install pinned below the home directory has priority.

    Args:
        job: The job's name.
        environ: The variables of the caller.
    """
    if environ.get("STATE_DIRECTORY") or os.geteuid() == 0:
        return None
    own = base_of(system=False, environ=environ) / job
    for base in _plain_bases():
        place = base / job
        if place != own and _has_marker(place) and not _is_same(place, own):
            return place
    return None


def _plain_bases() -> list[Path]:
    """Return the base directories without XDG_STATE_HOME: below HOME, and below the home of the account."""
    homes = [user.state_home({})]
    if (account := user.account_home()) is not None:
        homes.append(account / ".local/state")
    return [home / "dify-job" for home in homes]


def _has_marker(directory: Path) -> bool:
    """Return whether install pinned a directory; False if the caller cannot see it."""
    try:
        return (directory / _PINNED).exists()
    except OSError:
        return False


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def pin(job: str) -> None:
    """Pin the state directory of a user's installed job, so that it is independent of variables.

    The directories by XDG_STATE_HOME, below HOME and below the account's home become the same directory,
    which contains a marker file.

    Raises:
        OSError: The directory cannot be created.
    """
    if os.geteuid() == 0:
        return
    own, *others = dict.fromkeys(base / job for base in (base_of(system=False), *_plain_bases()))
    real = next((place for place in (own, *others) if place.is_dir()), own)
    make_base(real.parent)
    real.mkdir(mode=0o700, exist_ok=True)
    (real / _PINNED).touch(mode=0o600)
    account = user.account_home()
    for place in (own, *others):
        if not os.path.lexists(place):
            try:
                make_base(place.parent)
                place.symlink_to(real)
            except OSError:  # a variable of this shell, or an account without a home
                if account is not None and account.is_dir() and place.is_relative_to(account):
                    raise


def is_pinned(job: str) -> bool:
    """Return whether the state directory of a job of this user is pinned; root's needs no marker."""
    return os.geteuid() == 0 or any(_has_marker(base / job) for base in _plain_bases())


def unpin(job: str) -> None:
    """Unpin the state directory of a job that is no longer installed."""
    if os.geteuid() != 0:
        for base in _plain_bases():
            with contextlib.suppress(OSError):
                (base / job / _PINNED).unlink(missing_ok=True)


def directories_of(job: str, base: Path) -> list[Path]:
    """Return all state directories of a job: below a base, and the pinned one.

    Args:
        job: The job's name.
        base: The base directory of its scope.
    """
    bases = [base] if base == SYSTEM_BASE or os.geteuid() == 0 else [base, *_plain_bases()]
    found = [path for one in bases for path in (one / job, private_of(one) / job)]
    targets = [resolved(path) for path in found if path.is_symlink() and path.is_dir()]
    return list(dict.fromkeys([*found, *targets]))


def base_of(*, system: bool, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the base directory of a scope.

    Args:
        system: True for the system scope.
        environ: The variables of the caller.
    """
    if system:
        return SYSTEM_BASE
    return user.state_home(environ) / "dify-job"


def make_base(base: Path) -> None:
    """Create the base directory with its parents.

    Raises:
        OSError: It cannot be created.
    """
    if not base.is_dir():
        base.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:  # units of other users need access, independent of root's umask
            base.chmod(0o755)


def _is_roots(path: Path | None) -> bool:
    try:
        return path is not None and path.stat().st_uid == 0
    except OSError:
        return False


def private_of(base: Path) -> Path:
    """Return the directory with the state of dynamic users (systemd.exec(5), DynamicUser=)."""
    return base.parent / "private" / base.name


def link_to_private(directory: Path) -> None:
    """Restore systemd's link or its target; with a directory in place of a link, the unit fails with 238."""
    if directory.parent != SYSTEM_BASE or os.geteuid() != 0:
        return
    private = private_of(directory.parent) / directory.name
    if lacks_private(directory):
        private.parents[1].mkdir(mode=0o700, exist_ok=True)
        make_base(private.parent)
        private.mkdir(mode=0o700, exist_ok=True)
    elif not directory.is_symlink() and private.is_dir() and not directory.exists():
        directory.symlink_to(Path("..", *private.parts[-3:]))


def lacks_private(directory: Path) -> bool:
    """Return True for systemd's link to a directory that does not exist, as a backup of the links leaves it.

    The next start of the unit creates the directory.
    """
    private = private_of(directory.parent) / directory.name
    return directory.is_symlink() and is_missing(directory) and resolved(directory) == resolved(private)
