"""Debian's cron: entries run, only failures are mailed, other lines of a crontab stay unchanged."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.command import APPS
from tests.support.fake_dify.server import FakeDify
from tests.support.receivers import Receiver

from .conftest import CANARY, Host
from .machine import Machine

# Lines that a careless editor damages: CRLF, Latin-1, a step that only vixie-cron parses, odd spaces
TABLE = (
    b"MAILTO=alice\r\n# caf\xe9\n*/90 4 1 1 * echo a%b \r\n\n\t 5  4 * * *   true\n@daily true\n"
    b"0 0 1 1 * printf '\\r\\b#'\n"
)


NOTIFY = """\
notify.healthchecks = "{check}"
notify.on_failure = "apprise-url-from-file:/etc/dify-job/{job}.urls"
"""
CRON_APPS = tuple(
    replace(APPS[job == "fails"], key=f"app-cron-{job}", api_enabled=job != "off")
    for job in ("works", "fails", "reports", "paused", "alice", "off")
)


@dataclass
class Minute:
    """State of a host one minute after a reboot, with jobs that cron starts every minute."""

    host: Host
    paused_after_reboot: dict[str, Any]
    mails: list[str]
    paused_at: datetime
    began: datetime
    receiver: Receiver

    def logged(self, job: str) -> list[dict[str, Any]]:
        return self.host.journal("-t", "dify-job", f"DIFY_JOB={job}")


def logged_at(entry: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)


@pytest.fixture(scope="module")
def minute(machine: Machine) -> Iterator[Minute]:
    with FakeDify((*APPS, *CRON_APPS), ping=0.5) as server, Receiver() as receiver:
        host = Host(machine, server)
        machine.write(
            "/usr/sbin/sendmail",
            "#!/bin/sh\numask 0; cat > $(mktemp /var/tmp/mail/XXXXXX)\n",
            0o755,
        )
        machine.run("install", "-d", "-m", "1777", "/var/tmp/mail")
        jobs = ("works", "fails", "reports", "paused", "off")
        for job in ("fails", "off"):
            machine.write(f"/etc/dify-job/{job}.urls", f"json://{receiver.address}/hook/{job}\n", 0o600)
        host.configure(
            "".join(
                f'[jobs.{job}]\ncron = "* * * * *"\napi_key_file = "/etc/dify-job/{job}.key"\n'
                + ('run_as = "alice"\n' if job == "reports" else "")
                + (NOTIFY.format(check=receiver.check, job=job) if job in ("fails", "off") else "")
                for job in jobs
            )
        )
        for job in jobs:
            owner = "alice" if job == "reports" else "root"
            machine.write(f"/etc/dify-job/{job}.key", f"app-cron-{job}\n", 0o600, owner)
        host("install", "--backend", "cron")
        host("pause", "paused")
        paused_at = datetime.now(UTC)
        env = f"DIFY_API_KEY=app-cron-alice\nDIFY_BASE_URL={server.base_url}\n"
        machine.write("/home/alice/.env", env, 0o600, "alice")
        (machine.root / "home/alice/table").write_bytes(TABLE)
        host.run("crontab", "/home/alice/table", user="alice")
        done = host(
            "install",
            "--backend",
            "cron",
            "--cron",
            "* * * * *",
            "--env-file",
            "/home/alice/.env",
            user="alice",
        )
        assert done.stdout.splitlines()[-1] == "default is enabled"
        machine.stop()
        machine.start()
        began = datetime.now(UTC)
        paused = host.status("paused")
        wanted = {"app-cron-works", "app-cron-fails", "app-cron-reports", "app-cron-alice"}
        host.wait(lambda: {run.app.key for run in server.runs} >= wanted, 75)
        time.sleep(2)
        mails = [path.read_text(errors="replace") for path in (machine.root / "var/tmp/mail").iterdir()]
        yield Minute(host, paused, mails, paused_at, began, receiver)
        host("uninstall", "--all", "--purge", user="alice", check=False)
        host("uninstall", "--all", "--purge", check=False)
        machine.run(
            "sh",
            "-c",
            "crontab -u alice -r; rm -rf /home/alice/table /usr/sbin/sendmail /var/tmp/mail /etc/dify-job",
            check=False,
        )


def test_cron_d_entry_runs_within_its_minute_and_logs_to_the_journal(minute: Minute) -> None:
    [started, ended] = minute.logged("works")[:2]
    assert started["MESSAGE"].endswith(": run started")
    assert ended["DIFY_OUTCOME"] == "succeeded"
    assert ended["DIFY_WORKFLOW_RUN_ID"] in {run.run_id for run in minute.host.server.runs}
    at = logged_at(started)
    assert at.second < 10
    assert (at - minute.began).total_seconds() < 70


def test_cron_mails_failures_only(minute: Minute) -> None:
    mails = [mail for mail in minute.mails if " off\n" not in mail]
    assert mails, "no mail came of the job that fails"
    for mail in mails:
        head, _, body = mail.partition("\n\n")
        assert "Subject: Cron" in head
        assert " fails" in head
        assert "dify-job: job fails:" in body
        assert "Connection refused" in body
        assert "Traceback" not in body
    assert minute.logged("fails")[-1]["PRIORITY"] == "3"


def test_run_under_cron_notifies_of_each_failure_once(minute: Minute) -> None:
    """Exit code 78 included, which a run under systemd leaves to the unit's failure handler."""

    def history(job: str) -> list[str]:
        return minute.host.machine.read(f"/var/lib/dify-job/{job}/history.jsonl").splitlines()

    minute.host("pause", "fails", "off")
    minute.host.wait(lambda: not minute.host.run("pgrep", "-f", "run --scheduled", check=False).stdout)
    for job, code in (("fails", "80"), ("off", "78")):
        runs = [json.loads(line) for line in history(job)]
        assert runs
        assert {str(run["exit_code"]) for run in runs} == {code}
        assert len(minute.receiver.messages(job)) == len(runs)
        assert {message["type"] for message in minute.receiver.messages(job)} == {"failure"}
        assert [ping.what for ping in minute.receiver.ends].count(code) == len(runs)
    starts = [ping.rid for ping in minute.receiver.pings if ping.what == "start"]
    assert sorted(starts) == sorted(ping.rid for ping in minute.receiver.ends)
    minute.host("resume", "fails", "off")


def test_run_as_is_the_user_column_and_owns_the_state(minute: Minute) -> None:
    assert minute.logged("reports")[-1]["DIFY_OUTCOME"] == "succeeded"
    assert " alice /opt/dify-job" in minute.host.machine.read("/etc/cron.d/dify-job-reports")
    status = minute.host.status("reports")
    assert status["last"]["outcome"] == "succeeded"
    state = minute.host.machine.root / "var/lib/dify-job/reports"
    alice = int(minute.host.run("id", "-u", "alice").stdout)
    assert {path.stat().st_uid for path in (state, *state.iterdir())} == {alice}
    assert not minute.host.machine.exists("/home/alice/.local/state/dify-job/reports")
    # a manual run by root, then one by cron's user: one state
    minute.host("run", "reports")
    assert {path.stat().st_uid for path in state.iterdir()} == {alice}


def test_pause_comments_the_entry_and_survives_a_reboot(minute: Minute) -> None:
    assert minute.paused_after_reboot["paused"] is True
    assert minute.paused_after_reboot["enabled"] is False
    assert [entry for entry in minute.logged("paused") if logged_at(entry) > minute.paused_at] == []
    body = minute.host.machine.read("/etc/cron.d/dify-job-paused").splitlines()[1:]
    assert body
    assert all(line.startswith("#") for line in body)
    minute.host("resume", "paused")
    resumed = minute.host.machine.read("/etc/cron.d/dify-job-paused").splitlines()[1:]
    assert [line.removeprefix("#paused# ") for line in body] == resumed
    assert minute.host.status("paused")["enabled"] is True
    minute.host("pause", "paused")


def test_users_crontab_block_runs_and_uninstall_restores_the_table(minute: Minute) -> None:
    host = minute.host
    assert minute.logged("default")[-1]["DIFY_OUTCOME"] == "succeeded"
    spool = host.machine.root / "var/spool/cron/crontabs/alice"
    assert TABLE in spool.read_bytes()
    host("pause", "default", user="alice")
    assert b"#paused# * * * * * /opt/dify-job" in spool.read_bytes()
    host("resume", "default", user="alice")
    assert host.status("default", user="alice")["last"]["outcome"] == "succeeded"
    host("uninstall", "--all", "--purge", user="alice")
    _, _, table = spool.read_bytes().partition(b"Exp $)\n")  # Debian's own three lines
    assert table == TABLE


def test_uninstall_removes_only_the_managed_files_of_cron_d(minute: Minute) -> None:
    host = minute.host
    before = {path.name for path in (host.machine.root / "etc/cron.d").iterdir()}
    host("uninstall", "works", "--purge")
    after = {path.name for path in (host.machine.root / "etc/cron.d").iterdir()}
    assert before - after == {"dify-job-works"}
    assert not host.machine.exists("/var/lib/dify-job/works")


def test_install_in_a_second_scheduler_is_refused(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install", "--backend", "cron")
    refused = host("install", "--backend", "systemd", check=False)
    assert refused.code == 78
    assert (
        "already installed with cron: daily. A second installation would run each job twice" in refused.stderr
    )
    host("uninstall", "daily")
    host("install")
    refused = host("install", "--backend", "cron", check=False)
    assert refused.code == 78
    assert not host.machine.exists("/etc/cron.d/dify-job-daily")


def test_unit_and_cron_run_as_a_user_share_one_state(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    host.run("systemctl", "start", "dify-job-daily.service")
    host("uninstall", "daily")
    refused = host("install", "--backend", "cron", "--run-as", "alice", check=False)
    assert refused.code == 78
    assert "alice has no access to the API key file" in refused.stderr
    [fix] = re.findall(r"run: (install -m .*); then set api_key_file to", refused.stderr)
    host.run(*fix.split())
    config = host.machine.read("/etc/dify-job/config.toml").replace("credentials/", "")
    host.machine.write("/etc/dify-job/config.toml", config)
    host("install", "--backend", "cron", "--run-as", "alice")
    line = host.machine.read("/etc/cron.d/dify-job-daily").splitlines()[-1].partition(" alice ")[2]
    assert host.run("sh", "-c", line, user="alice").code == 0
    host("uninstall", "daily", "--backend", "cron")
    host.run("chown", "root", "/etc/dify-job/daily.key")
    host("install")
    host.run("systemctl", "start", "dify-job-daily.service")
    history = host.run("cat", "/var/lib/dify-job/daily/history.jsonl").stdout.splitlines()
    assert [json.loads(line)["outcome"] for line in history] == ["succeeded"] * 3
    assert CANARY not in "".join(history)
