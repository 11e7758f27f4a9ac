"""The calling user: directories by the XDG base directory specification, and sudo."""

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
    """Return the home directory of the user's account, independent of HOME; None without an account."""
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return None


def state_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of a user's state."""
    return _directory("XDG_STATE_HOME", ".local/state", environ)


def _directory(variable: str, below: str, environ: Mapping[str, str]) -> Path:
    given = environ.get(variable, "")
    if Path(given).is_absolute():  # the specification says to ignore a relative path
        return Path(given)
    try:
        return Path.home() / below
    except RuntimeError:  # systemd 262 gives a dynamic user no $HOME, and there is no account to ask
        return Path("/", below)


def sudo_user() -> str | None:
    """Return the user who became root with sudo(8), or None."""
    name = os.environ.get("SUDO_USER", "root")
    return name if os.geteuid() == 0 and name != "root" else None


def sudo_prefix() -> str:
    """Return the prefix of commands for root: `sudo `, or empty for root without sudo(8)."""
    return "sudo " if os.geteuid() != 0 or sudo_user() else ""
