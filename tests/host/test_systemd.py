"""systemctl, journalctl and reboots on installed jobs."""

import json
import time

import pytest

from .conftest import CANARY, Host


def test_timer_runs_the_job_and_the_journal_has_its_fields(host: Host) -> None:
    host.job('calendar = "*:*:0/2"')
    output = host("install").stdout
    assert "daily: installed" in output
    assert "enabled" in output
    host.wait(lambda: len(host.server.runs) >= 2)
    host.run("systemctl", "stop", "dify-job-daily.timer")
    host.wait(lambda: host.show("dify-job-daily.service", "ActiveState") == "inactive")
    assert host.show("dify-job-daily.service", "Result") == "success"
    last = host.journal("-u", "dify-job-daily.service", "DIFY_OUTCOME=succeeded")
    assert last, host.run("journalctl", "--no-pager", "-u", "dify-job-daily.service").stdout
    entry = last[-1]
    assert entry["DIFY_JOB"] == "daily"
    assert entry["DIFY_EXIT_CODE"] == "0"
    assert entry["DIFY_WORKFLOW_RUN_ID"] in {run.run_id for run in host.server.runs}
    assert host.journal(f"DIFY_WORKFLOW_RUN_ID={entry['DIFY_WORKFLOW_RUN_ID']}")
    assert host.journal("-u", "dify-job-daily.service", "-p", "err") == []


def test_install_starts_no_run_and_prints_next_commands(host: Host) -> None:
    host.job('calendar = "yearly"')
    output = host("install", "daily").stdout
    for command in (
        "systemctl start dify-job-daily.service",
        "journalctl -fu dify-job-daily.service",
        "systemctl stop dify-job-daily.service",
        "dify-job uninstall daily",
    ):
        assert command in output
    assert output.splitlines()[-1] == "daily is enabled"
    time.sleep(2)
    assert host.server.runs == []
    again = host("install", "daily").stdout
    assert "daily: unchanged" in again
    assert "dify-job-daily.timer" in host.run("systemctl", "list-timers", "--no-pager").stdout


def test_systemctl_stop_stops_the_run_on_the_server_and_is_no_failure(host: Host) -> None:
    host.job('calendar = "yearly"', key="app-slow")
    host("install")
    host.machine.write(
        "/etc/systemd/system/on-failure-ran.service",
        "[Service]\nType=oneshot\nExecStart=/bin/touch /run/on-failure-ran\n",
    )
    host.machine.write(
        "/etc/systemd/system/dify-job-daily.service.d/alert.conf",
        "[Unit]\nOnFailure=on-failure-ran.service\n",
    )
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", "--no-block", "dify-job-daily.service")
    host.wait(lambda: host.server.runs and host.server.runs[0].past)
    time.sleep(0.5)
    began = time.monotonic()
    host.run("systemctl", "stop", "dify-job-daily.service")
    assert time.monotonic() - began < 20
    assert host.server.runs[0].status == "stopped"
    assert host.show("dify-job-daily.service", "ActiveState") == "inactive"
    assert host.show("dify-job-daily.service", "ExecMainStatus") == "143"
    assert host.run("ls", "/run/on-failure-ran", check=False).code != 0
    assert host.journal("-u", "dify-job-daily.service", "DIFY_OUTCOME=cancelled")
    host.run(
        "rm",
        "-r",
        "/etc/systemd/system/dify-job-daily.service.d",
        "/etc/systemd/system/on-failure-ran.service",
    )


def test_failed_workflow_is_status_80_and_an_error_in_the_journal(host: Host) -> None:
    host.job('calendar = "yearly"', key="app-fails")
    host("install")
    assert host.run("systemctl", "start", "dify-job-daily.service", check=False).code == 1
    shown = host.run("systemctl", "status", "--no-pager", "dify-job-daily.service", check=False).stdout
    assert "status=80" in shown
    assert "Connection refused" in shown
    [error] = host.journal("-u", "dify-job-daily.service", "-p", "err", "DIFY_OUTCOME=failed")
    assert error["DIFY_EXIT_CODE"] == "80"
    status = host("status", check=False)
    assert status.code == 1
    assert "failed (80)" in status.stdout
    as_json = host.status()
    assert as_json["last"]["exit_code"] == 80
    assert as_json["healthy"] is False


def test_unit_and_manual_run_of_root_share_one_state(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    host.run("systemctl", "start", "dify-job-daily.service")
    by_hand = json.loads(host("run", "daily").stdout)
    assert by_hand["outcome"] == "succeeded"
    host.run("systemctl", "start", "dify-job-daily.service")
    history = (host.machine.root / "var/lib/private/dify-job/daily/history.jsonl").read_text().splitlines()
    assert len(history) == 3
    host.run("rm", "/var/lib/dify-job/daily")  # a symlink; a directory that root's run created would block it
    host("run", "daily")
    host.run("systemctl", "start", "dify-job-daily.service")
    assert len(json.loads(host("history", "daily", "--json").stdout)["runs"]) == 5
    assert len({json.loads(line)["workflow_run_id"] for line in history}) == 3


def test_unit_of_root_runs_without_privileges(host: Host) -> None:
    host.job('calendar = "yearly"\nrun_as = "root"\noutput = { file = "/srv/of-root/{{ job }}.json" }')
    host.run("mkdir", "/srv/of-root")
    host("install")
    host.run("systemctl", "start", "dify-job-daily.service")
    assert host.machine.exists("/srv/of-root/daily.json")
    assert json.loads(host("run", "daily").stdout)["outcome"] == "succeeded"
    host.run("systemctl", "start", "dify-job-daily.service")
    assert len(json.loads(host("history", "daily", "--json").stdout)["runs"]) == 3
    host.run("rm", "-r", "/srv/of-root")


def test_other_users_find_the_key_nowhere(host: Host) -> None:
    host.job('calendar = "yearly"', key="app-slow-canary-key")
    host.server.apps["app-slow-canary-key"] = host.server.apps["app-two-seconds"]
    host("install")
    host.run("systemctl", "start", "--no-block", "dify-job-daily.service")
    host.wait(lambda: host.server.runs)
    # `[y]`, so that the commands below do not match themselves
    script = """
        grep -rsl --devices=skip 'canary-ke[y]' /etc /run /var /tmp /home /root /srv
        systemctl show dify-job-daily.service dify-job-daily.timer | grep 'canary-ke[y]'
        systemctl cat dify-job-daily.service | grep 'canary-ke[y]'
        cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | grep -a 'canary-ke[y]'
        journalctl -o export | grep -a 'canary-ke[y]'
        crontab -l | grep 'canary-ke[y]'
        ls -l /proc/[0-9]*/fd | grep 'credentials'
    """
    found = host.run("sh", "-c", script, user="mallory", check=False).stdout
    assert found == ""
    host.wait(lambda: host.show("dify-job-daily.service", "ActiveState") == "inactive")
    assert host.journal("-u", "dify-job-daily.service", "DIFY_OUTCOME=succeeded")
    output = host.run("journalctl", "--no-pager", "-o", "export").stdout
    assert "run started" in output
    assert "canary-key" not in output


def test_pause_survives_a_reboot_and_resume_enables_again(host: Host) -> None:
    host.job('calendar = "*:*:0/2"')
    host("install")
    host("pause", "daily")
    host.wait(lambda: host.show("dify-job-daily.service", "ActiveState") == "inactive")
    host.machine.stop()
    host.machine.start()
    before = len(host.server.runs)
    assert host.status()["paused"] is True
    assert "paused" in host("status", check=False).stdout
    time.sleep(3)
    assert len(host.server.runs) == before
    host("resume", "daily")
    assert host.status()["enabled"] is True
    host.wait(lambda: len(host.server.runs) > before)
    host.machine.stop()
    host.machine.start()
    before = len(host.server.runs)
    host.wait(lambda: len(host.server.runs) > before)


def test_disabled_timer_stays_disabled_without_start(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    host.run("systemctl", "disable", "--now", "dify-job-daily.timer")
    output = host("install").stdout
    assert "the job stays paused" in output
    host.job('calendar = "*-02-01"')
    output = host("install").stdout
    assert "daily: installed, calendar *-02-01, not enabled" in output
    assert host.show("dify-job-daily.timer", "ActiveState") == "inactive"
    assert host.show("dify-job-daily.timer", "UnitFileState") == "disabled"
    assert "daily is enabled" in host("install", "--start").stdout
    assert host.show("dify-job-daily.timer", "ActiveState") == "active"
    host.run("systemctl", "stop", "dify-job-daily.timer")
    assert "the job stays paused" in host("install").stdout
    assert host.show("dify-job-daily.timer", "ActiveState") == "inactive"


def test_masked_timer_stays_masked(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    host.run("systemctl", "disable", "--now", "dify-job-daily.timer")
    host.run("mv", "/etc/systemd/system/dify-job-daily.timer", "/root/saved.timer")
    host.run("systemctl", "mask", "dify-job-daily.timer")
    output = host("install").stdout
    assert "the unit dify-job-daily.timer is masked by the administrator" in output
    assert (host.machine.root / "etc/systemd/system/dify-job-daily.timer").is_symlink()
    assert "masked" in host("status", check=False).stdout
    refused = host("resume", "daily", check=False)
    fix = output.splitlines()[-1].partition("daily is not enabled; to enable it, run: ")[2]
    assert (refused.code, refused.stderr.splitlines()[-1]) == (78, f"  {fix}")
    host.run("sh", "-c", fix)
    assert host.show("dify-job-daily.timer", "ActiveState") == "active"
    host.run("systemctl", "stop", "dify-job-daily.timer")
    host.run("mv", "/etc/systemd/system/dify-job-daily.timer", "/root/saved.timer")
    host.run("systemctl", "mask", "dify-job-daily.timer")
    host("uninstall", "daily")
    assert (host.machine.root / "etc/systemd/system/dify-job-daily.timer").is_symlink()
    assert not host.machine.exists("/etc/systemd/system/dify-job-daily.service")
    assert not host.machine.exists("/etc/systemd/system/timers.target.wants/dify-job-daily.timer")


def test_foreign_and_edited_units_are_refused(host: Host) -> None:
    host.job('calendar = "yearly"')
    host.machine.write("/etc/systemd/system/dify-job-daily.service", "[Service]\nExecStart=/bin/true\n")
    refused = host("install", check=False)
    assert refused.code == 78
    assert "was not written by dify-job" in refused.stderr
    assert not host.machine.exists("/etc/systemd/system/dify-job-daily.timer")
    host("uninstall", "daily")
    assert host.machine.exists("/etc/systemd/system/dify-job-daily.service")
    host.run("rm", "/etc/systemd/system/dify-job-daily.service")
    host.machine.write("/usr/lib/systemd/system/dify-job-daily.timer", "[Timer]\nOnCalendar=daily\n")
    host.run("systemctl", "daemon-reload")
    refused = host("install", check=False)
    assert refused.code == 78
    assert "lib/systemd/system/dify-job-daily.timer" in refused.stderr
    host.run("rm", "/usr/lib/systemd/system/dify-job-daily.timer")
    host.run("systemctl", "daemon-reload")
    host("install")
    host.run("sed", "-i", "s/^AccuracySec=.*/AccuracySec=1h/", "/etc/systemd/system/dify-job-daily.timer")
    refused = host("install", check=False)
    assert refused.code == 78
    assert "edited by hand" in refused.stderr
    assert "+AccuracySec=1s" in host("install", "--diff", check=False).stdout
    assert host("install", "--check", check=False).code == 78
    host("install", "--overwrite-edits")
    assert host("install", "--check").code == 0


def test_run_in_progress_survives_a_reinstall(host: Host) -> None:
    host.job('calendar = "yearly"', key="app-two-seconds")
    host("install")
    host.run("systemctl", "start", "--no-block", "dify-job-daily.service")
    host.wait(lambda: host.server.runs)
    host.job('calendar = "*-02-01"\ntimeout = "10min"', key="app-two-seconds")
    host("install")
    host.wait(lambda: host.show("dify-job-daily.service", "ActiveState") == "inactive")
    assert host.show("dify-job-daily.service", "Result") == "success"
    assert len(host.server.runs) == 1


def test_uninstall_needs_no_config_and_leaves_nothing(host: Host) -> None:
    def all_files() -> set[str]:
        return {
            str(path)
            for place in ("etc", "var/lib", "run/systemd/system", "run/systemd/transient")
            for path in (host.machine.root / place).rglob("*")
            if "journal" not in str(path) and "/random-seed" not in str(path)
        }

    before = all_files()
    host.job('calendar = "*:0/5"\ncatch_up = true', key="app-fails")
    host("install")
    host.run("systemctl", "start", "dify-job-daily.service", check=False)
    host.run("mkdir", "/etc/systemd/system/dify-job-daily.service.d")
    host.run("rm", "-r", "/etc/dify-job")
    assert "the job's configuration no longer exists" in host("status", check=False).stdout
    output = host("uninstall", "daily", "--purge").stdout
    assert "removed /etc/systemd/system/dify-job-daily.timer" in output
    left = all_files() - before
    assert {path for path in left if "dify" in path} == set()
    assert host.show("dify-job-daily.service", "LoadState") == "not-found"
    assert host.show("dify-job-daily.service", "ActiveState") == "inactive"
    assert "daily: not installed" in host("uninstall", "daily").stdout


def test_install_from_an_env_file_of_the_original_system(host: Host) -> None:
    host.machine.write(
        "/root/.env",
        f"DIFY_API_KEY={CANARY}\nDIFY_BASE_URL={host.server.base_url}\nSCHEDULER_INTERVAL_HOURS=3\n",
        0o600,
    )
    output = host("install", "--every", "2h", "--env-file", "/root/.env").stdout
    assert "the API key is stored in /etc/dify-job/credentials/default.key" in output
    assert "every 2h" in output
    assert output.splitlines()[-1] == "default is enabled"
    assert (host.machine.root / "etc/dify-job/credentials/default.key").stat().st_mode & 0o777 == 0o600
    host.run("systemctl", "start", "dify-job-default.service")
    assert len(host.server.runs) == 1
    status = host.status()
    assert status["sync"] == "as configured"
    assert "default: unchanged" in host("install").stdout
    host("uninstall", "--all", "--purge")
    assert not host.machine.exists("/etc/dify-job")


def test_auto_start_false_installs_a_disabled_timer(host: Host) -> None:
    env = f"DIFY_API_KEY={CANARY}\nDIFY_BASE_URL={host.server.base_url}\nAUTO_START_SCHEDULER=false\n"
    host.machine.write("/root/.env", env, 0o600)
    output = host("install", "--env-file", "/root/.env").stdout
    assert "every 1h (default), not enabled" in output
    last = output.splitlines()[-1]
    assert (
        last == "the jobs are not enabled, because AUTO_START_SCHEDULER is false; "
        "to enable a job, run: dify-job resume default"
    )
    assert host.status()["paused"] is True
    assert host.show("dify-job-default.timer", "ActiveState") == "inactive"
    host(*last.partition(": dify-job ")[2].split())
    assert host.show("dify-job-default.timer", "ActiveState") == "active"


@pytest.mark.since(247)  # LoadCredential=
def test_key_that_the_jobs_user_could_replace_by_a_link_is_refused(host: Host) -> None:
    """Otherwise systemd would read any file of root, and pass it to that user's process."""
    host.run("sh", "-ec", f"install -d -o alice /home/alice/keys; echo {CANARY} >/home/alice/keys/daily.key")
    host.run("sh", "-ec", "chown alice /home/alice/keys/*; chmod 600 /home/alice/keys/*")
    host.run("mkdir", "-p", "/etc/dify-job/credentials")
    job = '[jobs.daily]\napi_key_file = "{}"\nrun_as = "alice"\ncalendar = "yearly"\n'
    host.configure(job.format("/home/alice/keys/daily.key"), jobs=())
    refused = host("install", check=False)
    assert refused.code == 78
    assert "systemd reads /home/alice/keys/daily.key as root" in refused.stderr
    copy = "/etc/dify-job/credentials/daily.key"
    fix = f"install -D -m 600 /home/alice/keys/daily.key {copy}"
    assert fix in refused.stderr
    host.run("sh", "-ec", fix)
    host.configure(job.format(copy), jobs=())
    host("install")
    host.run("systemctl", "start", "dify-job-daily.service")
    assert len(host.server.runs) == 1
    host.run("rm", "-r", "/home/alice/keys")
