"""Limits of a unit: its deadline, its user, its sandbox; and systemctl on it."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.support.command import APPS
from tests.support.fixes import command_in

from .conftest import Host

SERVICE, TIMER = "dify-job-daily.service", "dify-job-daily.timer"


def test_timeout_of_the_job_comes_before_that_of_systemd_and_stops_the_run(host: Host) -> None:
    host.job('calendar = "yearly"\ntimeout = "3s"', key="app-slow")
    host("install")
    assert host.show(SERVICE, "TimeoutStartUSec") == "1min 3s"
    assert host.run("systemctl", "start", SERVICE, check=False).code == 1
    assert host.show(SERVICE, "Result") == "exit-code"
    assert host.show(SERVICE, "ExecMainStatus") == "124"
    assert host.server.runs[0].status == "stopped"
    [line] = host.journal("-u", SERVICE, "DIFY_OUTCOME=timeout")
    assert line["PRIORITY"] == "3"


def test_debug_invocation_enables_debug_logging(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    host.run("systemctl", "start", SERVICE)
    assert host.journal("-u", SERVICE, "PRIORITY=7", "-t", "dify-job") == []
    host.machine.write(
        f"/etc/systemd/system/{SERVICE}.d/debug.conf", "[Service]\nEnvironment=DEBUG_INVOCATION=1\n"
    )
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", SERVICE)
    assert host.journal("-u", SERVICE, "PRIORITY=7", "-t", "dify-job")
    host.run("rm", "-r", f"/etc/systemd/system/{SERVICE}.d")


def test_interpreter_in_the_home_of_root_is_refused_before_anything_is_written(host: Host) -> None:
    host.job('calendar = "yearly"')
    host.run("sh", "-ec", "mkdir -p /root/venv && cp -a /opt/dify-job/. /root/venv/")
    refused = host.run("/root/venv/bin/python", "-m", "dify_job", "install", check=False)
    assert refused.code == 78
    for word in ("/root has mode 0700", "run_as", "/opt/dify-job"):
        assert word in refused.stderr
    assert not host.machine.exists(f"/etc/systemd/system/{SERVICE}")
    assert not host.machine.exists("/var/lib/dify-job")
    host.run("rm", "-r", "/root/venv")


@pytest.mark.parametrize("place", ["/var/lib/dify-job", "/srv/out"])
@pytest.mark.parametrize(("fault", "expected"), [("full", "df -h"), ("ro", "findmnt -T")])
def test_full_or_read_only_disk_is_reported_with_a_command_that_shows_it(
    host: Host, place: str, fault: str, expected: str
) -> None:
    host.job(f'calendar = "yearly"\noutput = {{ file = "{place}/o.json" }}')
    host.run("sh", "-ec", f"mkdir -p {place}; mount -t tmpfs -o size=64k tmpfs {place}")
    host.run("sh", "-c", f"yes >{place}/fill; [ {fault} = full ] || mount -o remount,ro {place}", check=False)
    refused = host("run", "daily", check=False)
    hint = json.loads(refused.stdout)["hint"] or "true"
    command = command_in(hint)
    shown = host.run("sh", "-c", command, check=False)
    host.run("umount", place)
    assert shown.code == 0, shown
    if (fault, place) == ("full", "/srv/out"):  # the write test before the call needs no space
        assert (refused.code, "could not be written" in refused.stderr) == (0, True)
        return
    assert refused.code == 73
    assert command.startswith(f"{expected} {place}")
    assert host.server.runs == []


def test_run_as_user_reads_writes_and_owns_the_state(host: Host) -> None:
    host.run("install", "-d", "-o", "alice", "-m", "700", "/home/alice/out")
    host.job(
        'calendar = "yearly"\nrun_as = "alice"\n'
        'output = { file = "/home/alice/out/{{ now.year }}.json" }\ninputs = { topic = "sales" }'
    )
    output = host("install").stdout
    assert "daily is enabled" in output
    unit = host.machine.read(f"/etc/systemd/system/{SERVICE}")
    assert "User=alice" in unit
    assert "DynamicUser" not in unit
    assert "ProtectHome=no" in unit
    host.run("systemctl", "start", SERVICE)
    uid = host.run("id", "-u", "alice").stdout.strip()
    owners = host.run("stat", "-c", "%u", "/var/lib/dify-job/daily", "/home/alice/out").stdout.split()
    assert owners == [uid, uid]
    written = [path.read_text() for path in (host.machine.root / "home/alice/out").glob("*.json")]
    assert len(written) == 1
    assert "sales" in written[0]
    host.run("rm", "-r", "/home/alice/out")


def test_relative_output_file_is_written_in_the_state_directory(host: Host) -> None:
    host.job('calendar = "yearly"\noutput = { file = "reports/last.json" }\ninputs = { topic = "sales" }')
    host("install")
    host.run("systemctl", "start", SERVICE)
    found = host.run(
        "find", "/var/lib/private/dify-job/daily", "-name", "last.json", "-path", "*reports*"
    ).stdout
    assert "sales" in host.run("cat", found.strip()).stdout


def test_output_directory_is_made_writable_or_refused(host: Host) -> None:
    host.run("install", "-d", "-m", "1777", "/srv/out")
    host.job('calendar = "yearly"\noutput = { file = "/srv/out/daily.json" }\ninputs = { topic = "sales" }')
    host("install")
    assert "/srv/out\n" in host.machine.read(f"/etc/systemd/system/{SERVICE}")
    host.run("systemctl", "start", SERVICE)
    assert "sales" in host.run("cat", "/srv/out/daily.json").stdout
    host.run("install", "-d", "-m", "755", "/srv/closed")
    host.job('calendar = "yearly"\noutput = { file = "/srv/closed/daily.json" }')
    refused = host("install", check=False)
    assert refused.code == 73
    assert "/srv/closed has mode 0755 and belongs to root" in refused.stderr
    assert "/srv/out\n" in host.machine.read(f"/etc/systemd/system/{SERVICE}"), "as it was"


def test_unreadable_ca_file_is_refused(host: Host) -> None:
    host.run("sh", "-ec", "cp /etc/ssl/certs/ca-certificates.crt /srv/ca.pem; chmod 600 /srv/ca.pem")
    host.job('calendar = "yearly"\nca_file = "/srv/ca.pem"')
    refused = host("install", check=False)
    assert refused.code == 78
    assert "/srv/ca.pem has mode 0600" in refused.stderr
    host.run("chmod", "644", "/srv/ca.pem")
    host("install")
    host.run("systemctl", "start", SERVICE)
    assert host.show(SERVICE, "Result") == "success"


def test_exposure_level_of_the_unit_is_at_most_1_5(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    output = host.run("systemd-analyze", "security", "--no-pager", SERVICE, check=False).stdout
    [overall] = [line for line in output.splitlines() if "Overall exposure level" in line]
    assert float(overall.partition(":")[2].split()[0]) <= 1.5


def test_systemctl_and_journalctl_show_the_job(host: Host) -> None:
    host.job('calendar = "yearly"\njitter = "90s"', key="app-two-seconds")
    host("install")
    [line] = [
        line
        for line in host.run("systemctl", "list-timers", "--no-pager", "dify-job-*").stdout.splitlines()
        if TIMER in line
    ]
    assert SERVICE in line
    host.run("systemctl", "start", "--no-block", SERVICE)
    host.wait(lambda: host.server.runs)
    shown = host.run("systemctl", "status", "--no-pager", SERVICE, check=False).stdout
    assert "activating (start)" in shown
    assert "dify_job run --scheduled" in shown
    host.wait(lambda: host.show(SERVICE, "ActiveState") == "inactive")
    [run] = host.server.runs
    lines = host.journal(f"DIFY_WORKFLOW_RUN_ID={run.run_id}")
    assert {entry["_SYSTEMD_UNIT"] for entry in lines} == {SERVICE}
    assert lines[-1]["DIFY_OUTCOME"] == "succeeded"
    assert {entry["DIFY_JOB"] for entry in host.journal("-t", "dify-job")} == {"daily"}
    assert host.journal("-u", SERVICE, "-p", "err") == []
    host.job('calendar = "yearly"', key="app-off")
    host.run("systemctl", "start", SERVICE, check=False)
    errors = host.journal("-u", SERVICE, "-p", "err", "-t", "dify-job")
    assert [entry["DIFY_OUTCOME"] for entry in errors] == ["config"]
    host.run("systemctl", "reset-failed", SERVICE)
    output = host("logs", "daily", "-n", "20").stdout
    assert "run started" in output


@pytest.mark.since(257)
def test_timer_event_during_a_run_is_dropped(host: Host) -> None:
    host.job('calendar = "*:*:0/2"', key="app-three-seconds")
    slow = next(app for app in APPS if app.key == "app-two-seconds")
    nodes = tuple(replace(node, seconds=node.seconds * 1.5) for node in slow.nodes)
    host.server.apps["app-three-seconds"] = replace(slow, key="app-three-seconds", nodes=nodes)
    host("install")
    host.wait(lambda: len(host.server.runs) == 3, 40)
    host("pause", "daily")
    begun = sorted(run.created_at for run in host.server.runs)
    assert all(later - earlier > 3.5 for earlier, later in pairwise(begun)), begun
