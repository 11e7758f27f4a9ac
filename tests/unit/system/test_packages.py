"""Commands that install packages."""

import pytest

from dify_job.messages.command import Reader, for_reader
from dify_job.system import packages, subprocesses


@pytest.mark.parametrize(
    ("present", "package", "command"),
    [
        ({"apt-get"}, "msmtp-mta", "apt-get install msmtp-mta"),
        ({"dnf", "yum"}, "cron", "dnf install cronie"),
        ({"yum"}, "tzdata", "yum install tzdata"),
        ({"zypper"}, "tzdata", "zypper install timezone"),
        ({"apk"}, "rsyslog", "apk add rsyslog"),
        ({"pacman"}, "cron", "pacman -S cronie"),
        (set(), "cron", "apt-get install cron"),
    ],
)
def test_command_is_that_of_the_package_manager_of_the_machine(
    present: set[str], package: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocesses, "is_on_path", present.__contains__)
    assert for_reader(packages.install_command(package), Reader()) == command
    assert for_reader(packages.install_command(package), Reader(lacks_root=True)) == f"sudo {command}"
