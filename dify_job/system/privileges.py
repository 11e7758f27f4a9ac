"""Who calls: root itself, a person by sudo, or a user; and so how root's commands are given."""

import os


def by_sudo() -> str | None:
    """The person who became root by sudo(8) for this call; None where nobody did."""
    name = os.environ.get("SUDO_USER", "root")
    return name if os.geteuid() == 0 and name != "root" else None


def sudo() -> str:
    """What goes before a command that is root's, for who has to become root first."""
    return "sudo " if os.geteuid() != 0 or by_sudo() else ""
