"""An install killed by SIGKILL leaves whole files and starts no run, and the next one completes it."""

from pathlib import Path

import pytest

from .conftest import Host

# The interpreter imports it when it starts (site module). It counts the steps that change the host or call
# systemctl, writes a byte to /run/steps for each, and kills the process before step $KILL_AT.
SITECUSTOMIZE = """
import os, sys

steps, kill_at = 0, int(os.environ["KILL_AT"])
counter = os.open("/run/steps", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

def count(event, args):
    global steps
    if event == "subprocess.Popen":
        touches = "systemctl" in args[1] and not {"show", "--version"} & set(args[1])
    else:
        opens = event == "open" and isinstance(args[2], int) and args[2] & (os.O_CREAT | os.O_TRUNC)
        changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime")
        touches = (opens or changes) and str(args[0]).startswith(("/etc/", "/var/lib/"))
    if touches:
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), 9)
        os.write(counter, b".")

sys.addaudithook(count)
"""
UNITS = tuple(f"etc/systemd/system/dify-job-daily.{kind}" for kind in ("service", "timer"))


def _files(host: Host) -> dict[str, bytes | None]:
    return {
        name: path.read_bytes() if (path := host.machine.root / name).exists() else None for name in UNITS
    }


def _temporary_files(host: Host) -> list[Path]:
    root = host.machine.root
    places = (root / "etc/systemd/system", root / "etc/dify-job", root / "var/lib/dify-job")
    return [path for place in places for path in place.rglob("*.new")]


@pytest.mark.parametrize("what", ["new", "edited"])
def test_killed_install_leaves_whole_files_and_the_next_completes_it(host: Host, what: str) -> None:
    host.machine.write("/opt/kill/sitecustomize.py", SITECUSTOMIZE)
    old = 'calendar = "*-*-* 00:00:00 UTC"\ncatch_up = true'
    new = 'calendar = ["*-*-* 00:00:00 UTC", "*-*-* *:00:00 UTC"]\ncatch_up = true\ntimeout = "5min"'

    def prepare() -> None:
        host("uninstall", "daily")
        if what == "edited":
            host.job(old)
            host("install")
        host.job(new)

    def install(kill_at: int) -> int:
        return host("install", env={"PYTHONPATH": "/opt/kill", "KILL_AT": str(kill_at)}, check=False).code

    prepare()
    was = _files(host)
    assert install(0) == 0
    steps = int(host.run("stat", "-c", "%s", "/run/steps").stdout)
    complete = _files(host)
    assert None not in complete.values()
    assert steps >= 8
    for step in range(1, steps + 1, 2):  # tests/integration kills at every single operation
        prepare()
        assert install(step) in (-9, 137), step
        for name, content in _files(host).items():
            assert content in (was[name], complete[name]), (step, name)
        host.run("systemctl", "daemon-reload")  # as the upgrade of any package does
        output = host("install").stdout
        assert output.splitlines()[-1] == "daily is enabled", (step, output)
        assert _files(host) == complete, step
        assert host.show("dify-job-daily.timer", "UnitFileState") == "enabled"
        assert _temporary_files(host) == [], step
    assert host.server.runs == []
    assert host.show("dify-job-daily.service", "ExecMainStartTimestamp") == ""
