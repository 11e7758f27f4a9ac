"""The calling user: own directories by the XDG base directory rules, and how root's commands are given."""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path


def config_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of a user's configuration."""
    return _directory("XDG_CONFIG_HOME", ".config", environ)


def data_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of a user's data."""
    return _directory("XDG_DATA_HOME", ".local/share", environ)


def account_home() -> Path | None:
    """Return the home directory that the user's account has, whatever HOME says; None without an account."""
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return None


def absolute(path: Path) -> Path:
    """Return the path from the root; as it is where the working directory was removed."""
    try:
        return path.absolute()
    except FileNotFoundError:
        return path


def state_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of a user's state."""
    return _directory("XDG_STATE_HOME", ".local/state", environ)


def _directory(variable: str, below: str, environ: Mapping[str, str]) -> Path:
    given = environ.get(variable, "")
    if Path(given).is_absolute():  # a relative path is invalid, by the specification, and ignored
        return Path(given)
    try:
        return Path.home() / below
    except RuntimeError:  # systemd 262 gives a dynamic user no $HOME, and there is no account to ask
        return Path("/", below)


def sudo_user() -> str | None:
    """Return the person who became root by sudo(8) for this call; None where nobody did."""
    name = os.environ.get("SUDO_USER", "root")
    return name if os.geteuid() == 0 and name != "root" else None


def sudo_prefix() -> str:
    """Return what goes before a command that is root's, for who has to become root first."""
    return "sudo " if os.geteuid() != 0 or sudo_user() else ""
