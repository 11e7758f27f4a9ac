"""Changes by people and other packages to units, keys and configs are reported and never overwritten."""

import json
import time

import pytest

from .conftest import Host

SERVICE, TIMER = "dify-job-daily.service", "dify-job-daily.timer"
UNITS = "/etc/systemd/system"
KEY = "/etc/dify-job/credentials/daily.key"


@pytest.mark.parametrize("place", ["/usr/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system"])
def test_foreign_unit_is_refused_named_and_left_unchanged(host: Host, place: str) -> None:
    host.job('calendar = "yearly"')
    theirs = f"{place}/{SERVICE}"
    host.machine.write("/srv/theirs", "[Service]\nExecStart=/bin/true\n")
    host.run("sh", "-c", f"mkdir -p {place} && cp /srv/theirs {theirs} && systemctl daemon-reload")
    refused = host("install", check=False)
    assert refused.code == 78
    assert theirs.removeprefix("/usr") in refused.stderr
    assert not host.machine.exists(f"{UNITS}/{TIMER}")
    host("uninstall", "daily", check=False)
    assert host.run("cat", theirs).stdout == "[Service]\nExecStart=/bin/true\n"
    host.run("sh", "-c", f"rm {theirs}; systemctl daemon-reload")


def test_same_name_in_another_scope_is_another_job(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    assert host.status("daily", user="alice")["scope"] == "system"
    own = host("uninstall", "daily", "--user", user="alice", check=False)
    assert own.stdout.startswith("daily: not installed")
    assert host.machine.exists(f"{UNITS}/{TIMER}")


@pytest.mark.parametrize("backend", ["systemd", "cron"])
@pytest.mark.parametrize("command", ["pause", "resume", "uninstall"])
def test_changing_a_system_job_as_user_is_denied_with_the_command(
    host: Host, backend: str, command: str
) -> None:
    host.job('calendar = "yearly"')
    host("install", "--backend", backend, *(("--no-start",) if command == "resume" else ()))
    before = host.status("daily")
    refused = host(command, "daily", user="alice", check=False)
    assert (refused.code, refused.stdout) == (77, "")
    assert f"daily is a system job, which root installed with {backend}" in refused.stderr
    assert host.status("daily") == before | {"next_runs": host.status("daily")["next_runs"]}
    host.run("sh", "-ec", refused.stderr.splitlines()[-1].strip().removeprefix("sudo "))
    rows = json.loads(host("status", "daily", "--json", check=False).stdout)["jobs"]
    assert [row["paused"] for row in rows if row["backend"]] == {
        "pause": [True],
        "resume": [False],
        "uninstall": [],
    }[command]


def test_edited_headless_and_copied_units_are_distinguished(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    whole = host.machine.read(f"{UNITS}/{TIMER}")
    host.machine.write(f"{UNITS}/{TIMER}", whole + "# mine\n")
    assert host.status("daily")["sync"] == "edited"
    assert "edited by hand" in host("install", check=False).stderr
    host.machine.write(f"{UNITS}/{TIMER}", whole.partition("\n")[2])
    refused = host("install", "--overwrite-edits", check=False)
    assert (refused.code, "was not written by dify-job" in refused.stderr) == (78, True)
    host.machine.write(f"{UNITS}/{TIMER}", whole)
    unread = host("install", "--check", check=False)
    assert (unread.code, unread.stdout) == (1, f"{TIMER} changed on disk since systemd read it\n")
    host("install")
    assert host("install", "--check").code == 0
    host.machine.write(f"{UNITS}/dify-job-other.service", host.machine.read(f"{UNITS}/{SERVICE}"))
    rows = json.loads(host("status", "--json", check=False).stdout)["jobs"]
    assert [row["job"] for row in rows] == ["daily"]
    host("uninstall", "--all")
    assert host.machine.exists(f"{UNITS}/dify-job-other.service"), "its header names another job"


@pytest.mark.parametrize("verb", ["disable --now", "stop", "mask --now"])
def test_timer_disabled_stopped_or_masked_by_hand_stays_so(host: Host, verb: str) -> None:
    host.job('calendar = "yearly"')
    host("install")
    if verb == "mask --now":  # systemctl does not mask a unit with a file in the same directory
        host.run(
            "sh", "-c", f"systemctl disable --now {TIMER}; mv {UNITS}/{TIMER} /root/; systemctl mask {TIMER}"
        )
    else:
        host.run("systemctl", *verb.split(), TIMER)
    enabled, active = host.show(TIMER, "UnitFileState"), host.show(TIMER, "ActiveState")
    assert active == "inactive"
    for text in ('calendar = "yearly"', 'calendar = "*-03-01"'):
        host.job(text)
        output = host("install").stdout
        stays = "the job stays disabled" if verb == "mask --now" else "the job stays paused"
        assert stays in output
        assert host.show(TIMER, "ActiveState") == "inactive"
        assert host.show(TIMER, "UnitFileState") == enabled
    status = host("status", check=False).stdout
    assert "masked" in status if "mask" in verb else "paused" in status


def test_drop_in_is_reported_and_left(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    path = host.drop_in(TIMER, "[Timer]\nOnCalendar=*-*-* 03:00:00\n")
    status = host.status("daily")
    assert any(path in trouble for trouble in status["problems"]), status
    host.job('calendar = "*-02-01"')
    host("install")
    output = host("uninstall", "daily").stdout
    assert f"{UNITS}/{TIMER}.d was not removed, because it has drop-ins that dify-job did not write" in output
    assert host.machine.exists(path)
    host.run("rm", "-r", f"{UNITS}/{TIMER}.d")


def test_install_under_a_broken_drop_in_is_rolled_back(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    before = host.machine.read(f"{UNITS}/{TIMER}")
    path = host.drop_in(SERVICE, "[Service]\nExecStart=\n")
    status = host("status", check=False)
    assert status.code == 1
    assert path in status.stdout
    assert "systemd cannot load the unit" in status.stdout
    host.job('calendar = "*-02-01"')
    refused = host("install", check=False)
    assert refused.code != 0
    assert host.machine.read(f"{UNITS}/{TIMER}") == before
    host.run("rm", "-r", f"{UNITS}/{SERVICE}.d")
    assert "daily is enabled" in host("install").stdout


def test_uninstall_during_a_run_stops_it_on_the_server(host: Host) -> None:
    host.job('calendar = "yearly"', key="app-slow")
    host("install")
    host.run("systemctl", "start", "--no-block", SERVICE)
    host.wait(lambda: host.server.runs and host.server.runs[0].past)
    time.sleep(0.3)
    host("uninstall", "daily")
    assert host.server.runs[0].status == "stopped"
    assert host.show(SERVICE, "LoadState") == "not-found"


@pytest.mark.parametrize("state", ["auto-restart", "start-limit-hit"])
def test_install_replaces_a_service_in_auto_restart_or_start_limit_hit(host: Host, state: str) -> None:
    host.job('calendar = "yearly"', key="app-off")
    host("install")
    more = {
        "auto-restart": "[Service]\nRestart=on-failure\nRestartPreventExitStatus=\nRestartSec=1h\n",
        "start-limit-hit": "[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=1h\n",
    }
    host.drop_in(SERVICE, more[state])

    host.run("systemctl", "start", "--no-block", SERVICE)

    def reached() -> bool:
        if state == "auto-restart":
            return host.show(SERVICE, "SubState") == state
        host.run("systemctl", "start", "--no-block", SERVICE, check=False)
        entries = host.journal(f"UNIT={SERVICE}")
        return any("repeated too quickly" in str(entry["MESSAGE"]) for entry in entries)

    host.wait(reached)
    host.job('calendar = "*-02-01"', key="app-off")
    assert "daily: installed, calendar *-02-01, enabled" in host("install").stdout
    host("uninstall", "daily")
    assert host.show(SERVICE, "ActiveState") == "inactive"
    assert SERVICE not in host.run("systemctl", "list-units", "--all", "--plain", "--no-legend").stdout
    host.run("rm", "-r", f"{UNITS}/{SERVICE}.d")
    assert host.server.runs == []


@pytest.mark.parametrize("year", ["1970-01-02", "2098-01-01"])
def test_timer_stamp_from_a_wrong_clock_changes_nothing(host: Host, year: str) -> None:
    stamp = f"/var/lib/systemd/timers/stamp-{TIMER}"
    host.run("sh", "-c", f"mkdir -p /var/lib/systemd/timers; touch -d {year} {stamp}")
    host.job('calendar = "*-*-* *:00:00 UTC"\ncatch_up = true')
    host("install")
    host.job('calendar = "*-*-* *:00/30:00 UTC"\ncatch_up = true')
    host("install")
    time.sleep(1)
    assert host.server.runs == []
    status = host.status("daily")
    until = host.run("date", "-d", status["next_runs"][0], "+%s").stdout
    assert 0 <= int(until) - time.time() <= 1860, status


def test_status_and_uninstall_work_without_the_config(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    host.run("mv", "/etc/dify-job/config.toml", "/etc/dify-job/renamed.toml")
    status = host("status", check=False)
    assert status.code == 1
    assert "the job's configuration no longer exists" in status.stdout
    assert "dify-job uninstall daily" in status.stdout
    moved = host("--config", "/etc/dify-job/renamed.toml", "install", check=False)
    assert moved.code == 0, moved.stderr
    assert "/etc/dify-job/renamed.toml" in host.machine.read(f"{UNITS}/{SERVICE}")
    host.run("rm", "/etc/dify-job/renamed.toml")
    assert host.run("systemctl", "start", SERVICE, check=False).code == 1
    assert host.show(SERVICE, "ExecMainStatus") == "78"
    assert host("uninstall", "--all").stdout.startswith("daily: uninstalled")
    assert host.show(TIMER, "LoadState") == "not-found"


@pytest.mark.parametrize(
    ("make", "status", "words"),
    [
        ("rm KEY", 243, "CREDENTIALS"),
        (": > KEY", 78, "is empty"),
        ("printf 'app-canary-0123456789abcdef\\r\\n' > KEY", 0, "succeeded in"),
        ("printf 'app-a\\napp-b\\n' > KEY", 78, "contains a space, a line break or another character"),
        pytest.param("rm KEY; mkdir KEY", 78, "cannot be read", marks=pytest.mark.since(252)),
        ("head -c 1100000 /dev/zero > KEY", 243, "CREDENTIALS"),
        ("echo LoadCredential=", 78, "cannot be read"),
    ],
)
def test_each_credential_fault_has_its_message(host: Host, make: str, status: int, words: str) -> None:
    host.job('calendar = "yearly"')
    host("install")
    host.run("sh", "-c", make.replace("KEY", KEY))
    if make.startswith("echo"):  # as LXC's images have it
        path = host.drop_in(SERVICE, f"[Service]\n{make.removeprefix('echo ')}\n")
    host.run("systemctl", "start", SERVICE, check=False)
    assert host.show(SERVICE, "ExecMainStatus") == str(status)
    entries = host.journal(f"_SYSTEMD_UNIT={SERVICE}", "+", f"UNIT={SERVICE}")
    assert any(words in str(entry["MESSAGE"]) for entry in entries)
    if make.startswith("echo"):
        hints = " ".join(str(entry.get("DIFY_HINT", "")) for entry in entries)
        assert "systemd did not pass the API key to the unit: a drop-in empties LoadCredential=" in hints
        assert any(path in trouble for trouble in host.status("daily")["problems"])
        host.run("rm", "-r", f"{UNITS}/{SERVICE}.d")
    elif status:
        assert host.status("daily")["last"]["exit_code"] == status
    host.run("rm", "-rf", KEY)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        ("rm KEY; mkfifo KEY", "is not a regular file"),
        ("rm KEY; mkdir KEY", "is not a regular file"),
        ("chmod 644 KEY", "can be read by other users"),
        (
            "mv KEY /home/mallory/key; chown mallory /home/mallory/key; ln -s /home/mallory/key KEY",
            "belongs to",
        ),
    ],
)
def test_install_refuses_an_unusable_key_file(host: Host, make: str, words: str) -> None:
    host.job('calendar = "yearly"')
    host.run("sh", "-c", make.replace("KEY", KEY))
    refused = host("install", check=False)
    assert refused.code == 78
    assert words in refused.stderr
    assert not host.machine.exists(f"{UNITS}/{SERVICE}")
    host.run("sh", "-c", f"rm -rf {KEY} /home/mallory/key")


def test_status_as_user_shows_the_outcome_and_the_journal_group(host: Host) -> None:
    host.job('calendar = "yearly"', key="app-fails")
    host("install")
    host.run("systemctl", "start", SERVICE, check=False)
    status = host("status", "daily", user="alice", check=False)
    assert status.code == 1
    assert "failed (80)" in status.stdout
    assert host.status("daily", user="alice")["last"]["outcome"] == "failed"
    logs = host("logs", "daily", user="alice", check=False)
    assert "systemd-journal" in logs.stdout + logs.stderr
