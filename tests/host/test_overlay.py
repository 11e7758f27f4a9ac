"""A test host is the same whatever the machine below it has and runs."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT, missing_requirement
from .machine import Machine
from .overlay import has_python_of_matrix

TIMER = "[Timer]\nOnCalendar=*:*:0/1\n[Install]\nWantedBy=timers.target\n"
SERVICE = "[Service]\nExecStart=/bin/false\nRestart=always\n[Install]\nWantedBy=multi-user.target\n"
FILES = {  # what a developer's machine may have
    "etc/systemd/system/nightly-copy.timer": TIMER,
    "etc/systemd/system/nightly-copy.service": SERVICE,
    "etc/systemd/system/timers.target.wants/nightly-copy.timer": TIMER,
    "usr/lib/systemd/system/mailer.service": SERVICE,
    "usr/lib/systemd/system/multi-user.target.wants/mailer.service": SERVICE,
    "usr/lib/systemd/system-generators/mailer": "#!/bin/sh\nexit 1\n",
    "usr/local/lib/systemd/system/own.service": SERVICE,
    "usr/local/bin/python3": "#!/bin/sh\nexit 1\n",
    "etc/cron.d/nightly-copy": "* * * * * root /bin/touch /srv/cron-ran\n",
    "var/spool/cron/crontabs/root": "* * * * * /bin/touch /srv/cron-ran\n",
    "etc/dify-job/config.toml": "not a config",
    "var/lib/dify-job/daily/history.jsonl": "",
    "var/lib/systemd/linger/alice": "",
    "etc/mime.types": "text/strange toml\n",
    "etc/environment": "DIFY_API_KEY=of-the-machine\n",
    "etc/selinux/config": "SELINUX=enforcing\n",
    "etc/systemd/system.conf.d/own.conf": "[Manager]\nDefaultTimeoutStartSec=1s\n",
    "etc/pip.conf": "[global]\nindex-url = http://127.0.0.1:9/\n",
    "opt/dify-job/bin/python": "#!/bin/sh\nexit 1\n",
    "home/alice/.config/dify-job/config.toml": "not a config",
}


@pytest.fixture
def customised_root(tmp_path: Path) -> Iterator[Path]:
    """A copy of the machine's root with unexpected users, units, files and settings."""
    if (why := missing_requirement()) is not None:
        pytest.skip(why)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=True)
    upper, root = tmp_path / "upper", tmp_path / "root"
    for path in (upper, root, tmp_path / "work"):
        path.mkdir()
    options = f"lowerdir={ROOT},upperdir={upper},workdir={tmp_path / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(root)], check=True)
    try:
        for name, text in FILES.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        for name, to in {
            "usr/sbin/sendmail": "exim4",
            "etc/systemd/system/cron.service": "/dev/null",
            "etc/localtime": "/usr/share/zoneinfo/Asia/Tokyo",
        }.items():
            (root / name).unlink(missing_ok=True)
            (root / name).symlink_to(to)
        (root / "usr/sbin/exim4").write_text("a mail agent that runs")
        with (root / "etc/passwd").open("a") as passwd:
            passwd.write("alice:x:1500:1500::/home/alice:/bin/false\nbob:x:1501:1501::/home/bob:/bin/sh\n")
        yield root
    finally:
        for path in (root, tmp_path):
            subprocess.run(["umount", "-l", str(path)], check=False)


def test_host_excludes_the_configuration_of_the_machine(customised_root: Path) -> None:
    before = {path: os.lstat(path).st_mtime_ns for path in customised_root.glob("usr/sbin/*")}
    machine = Machine(customised_root, "dify-job-strange")
    try:
        machine.mount()
        machine.start()
        assert machine.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"
        assert machine.run("systemctl", "is-active", "cron.service").stdout.strip() == "active"
        timers = machine.run("systemctl", "list-timers", "--all", "--output=json").stdout
        assert "nightly-copy" not in timers
        units = machine.run("systemctl", "list-unit-files", "--no-pager").stdout
        assert not [name for name in ("nightly-copy", "mailer", "own.service") if name in units]
        assert machine.run("date", "+%Z").stdout == "UTC\n"
        assert machine.run("id", "alice", check=False).code == 1
        machine.run("useradd", "--create-home", "alice")
        python = ["python"] if has_python_of_matrix(ROOT) else []
        assert machine.run("sh", "-c", "ls -A /home /opt /srv /usr/local/bin").stdout.split() == [
            *("/home:", "alice", "/opt:", *python, "/srv:", "/usr/local/bin:"),
        ]
        for name in [*FILES, "usr/sbin/sendmail"]:
            assert not machine.exists(name), name
        machine.write("/usr/sbin/sendmail", "#!/bin/sh\n", 0o755)
        machine.write("/etc/localtime", "of the test")
    finally:
        machine.discard()
    assert {path: os.lstat(path).st_mtime_ns for path in customised_root.glob("usr/sbin/*")} == before
    assert (customised_root / "usr/sbin/exim4").read_text() == "a mail agent that runs"
    assert (customised_root / "etc/localtime").readlink() == Path("/usr/share/zoneinfo/Asia/Tokyo")
