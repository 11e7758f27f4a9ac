"""Commands that install packages, with the package manager of this machine."""

from ..messages.command import Command, command
from . import subprocesses

# By manager: its command, and names that differ from Debian's.
_MANAGERS: dict[str, tuple[str, dict[str, str]]] = {
    "apt-get": ("install", {}),
    "dnf": ("install", {"cron": "cronie", "msmtp-mta": "msmtp"}),
    "yum": ("install", {"cron": "cronie", "msmtp-mta": "msmtp"}),
    "zypper": ("install", {"cron": "cronie", "msmtp-mta": "msmtp-mta", "tzdata": "timezone"}),
    "apk": ("add", {"cron": "cronie", "msmtp-mta": "msmtp"}),
    "pacman": ("-S", {"cron": "cronie"}),
}


def install_command(package: str) -> Command:
    """Return the command that installs a package.

    Args:
        package: Its name in Debian.
    """
    manager = next(filter(subprocesses.is_on_path, _MANAGERS), "apt-get")
    verb, names = _MANAGERS[manager]
    return command(manager, verb, names.get(package, package), needs_root=True)
