"""install, uninstall, status and related commands with a fake systemctl and crontab."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dify_job.schedulers.crontab import blocks
from tests.support.campaign import Campaign
from tests.support.fake_manager import FakeCrontab, install_programs
from tests.support.home import CONFIG, Home
from tests.support.socket_server import unused_port

pytestmark = pytest.mark.timeout(600)  # on a loaded machine


def test_second_install_writes_nothing_and_does_not_reload(home: Home) -> None:
    first = home("install", "--user")
    assert first.code == 0, first.stderr
    assert home.manager.log().count("daemon-reload") == 1
    times = {path: path.stat().st_mtime_ns for path in home.manager.units.iterdir()}
    before = len(home.manager.log())
    again = home("install", "--user")
    assert "daily: unchanged" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in home.manager.units.iterdir()} == times
    assert {line.split()[0] for line in home.manager.log()[before:]} == {"show"}


def test_many_jobs_need_one_reload(home: Home) -> None:
    home.configure("".join(CONFIG.replace("daily", f"job-{number}") for number in range(40)))
    assert home("install", "--user").code == 0
    log = home.manager.log()
    assert log.count("daemon-reload") == 1
    assert len([line for line in log if line.startswith("show ")]) == 2  # before, and the read-back
    assert len(home.manager.active()) == 40


def test_install_prints_three_next_runs_and_four_commands(home: Home) -> None:
    lines = home("install", "--user").stdout.splitlines()
    assert lines[0] == "daily: installed, every 2h, enabled"
    assert next(line for line in lines if line.startswith("  next runs  ")).count(", ") == 2
    for what in ("run now", "watch", "stop", "remove"):
        assert any(line.startswith(f"  {what}") for line in lines), what
    assert lines[-1] == "daily is enabled"


def test_check_and_diff_report_differences_and_write_nothing(home: Home) -> None:
    before = home.all_files()
    missing = home("install", "--user", "--check")
    assert missing.code == 1
    assert missing.stdout.count("is missing") == 2
    assert home("install", "--user", "--dry-run").stdout.count("# Managed by dify-job for job daily") == 2
    assert home.all_files() == before
    home("install", "--user")
    assert home("install", "--user", "--check").code == 0
    assert home("install", "--user", "--diff").stdout == ""
    installed = home.all_files()
    differs = home("install", "--user", "--every", "3h", "--diff")
    assert "-OnCalendar=*-*-* 00,02" in differs.stdout
    assert "+OnCalendar=*-*-* 00,03" in differs.stdout
    assert home("install", "--user", "--every", "3h", "--check").code == 1
    assert home.all_files() == installed


def test_prune_uninstalls_jobs_removed_from_this_config_only(home: Home) -> None:
    home.configure(CONFIG + CONFIG.replace("daily", "weekly"))
    assert home("install", "--user").code == 0
    assert home("install", "weekly", "--user", "--every", "3h").code == 0
    home.configure(CONFIG.replace("daily", "foreign"), "other.toml")
    assert home("--config", str(home.path / "config/dify-job/other.toml"), "install", "--user").code == 0
    home.configure(CONFIG)
    assert "weekly" in home("status", "--user").stdout
    assert (
        "but still installed: weekly. To uninstall, run: dify-job uninstall weekly\n"
        in home("install", "--user").stdout
    )
    would = home("install", "--user", "--prune", "--check")
    assert (would.code, "weekly is no longer in" in would.stdout) == (1, True)
    done = home("install", "--user", "--prune")
    assert "weekly: uninstalled" in done.stdout
    assert home.manager.active() == {"dify-job-daily.timer", "dify-job-foreign.timer"}
    assert not list((home.path / "config/dify-job/config.d").glob("weekly*"))
    assert home("install", "--user", "--prune", "--check").code == 0


def test_prune_alone_is_not_refused_for_a_job_that_cron_has(home: Home) -> None:
    home.configure(CONFIG.replace("daily", "weekly"), "other.toml")
    other = str(home.path / "config/dify-job/other.toml")
    assert home("--config", other, "install", "--user", "--backend", "cron").code == 0
    assert home("install", "--user").code == 0
    home.configure("")
    pruned = home("install", "--user", "--prune")
    assert (pruned.code, "daily: uninstalled" in pruned.stdout) == (0, True), pruned.stderr
    assert b"for job weekly" in home.table.read_bytes()


def test_config_without_jobs_installs_nothing_and_prune_removes_the_last_job(home: Home) -> None:
    home("install", "--user")
    home.configure("[defaults]\ntimeout = '1h'\n")
    for command in (("install", "--user"), ("next",), ("render", "--target", "cron")):
        refused = home(*command)
        assert (refused.code, "config.toml contains no job" in refused.stderr) == (78, True)
    pruned = home("install", "--user", "--prune")
    assert (pruned.code, "daily: uninstalled" in pruned.stdout) == (0, True), pruned.stderr
    assert not home.manager.active()


def test_prune_removes_the_http_interface_with_the_last_job_that_it_serves(home: Home) -> None:
    socket = "dify-job-http.socket"
    home.configure(CONFIG + CONFIG.replace("daily", "weekly"))
    with unused_port() as port:
        listen = f"127.0.0.1:{port}"
        assert home("install", "--user", "--http", "--http-listen", listen).code == 0
    home.configure(CONFIG)
    first = home("install", "--user", "--prune")
    assert (first.code, "http: uninstalled" in first.stdout) == (0, False)
    assert socket in home.manager.active()
    home.configure(CONFIG.replace("daily", "monthly"))
    check = home("install", "--user", "--prune", "--check").stdout
    assert f"{socket} would be removed" in check
    last = home("install", "--user", "--prune")
    assert (last.code, "http: uninstalled" in last.stdout) == (0, True), last.stderr
    assert home.manager.active() == {"dify-job-monthly.timer"}


def test_flags_are_stored_in_a_managed_file_and_the_config_is_not_edited(home: Home) -> None:
    config = (home.path / "config/dify-job/config.toml").read_bytes()
    assert home("install", "--user", "--cron", "0 7 * * 1-5", "--timezone", "Asia/Shanghai").code == 0
    assert (home.path / "config/dify-job/config.toml").read_bytes() == config
    settings = (home.path / "config/dify-job/config.d/daily.settings.toml").read_text()
    assert 'cron = "0 7 * * 1-5"' in settings
    assert home("status", "--user", "--json").result["jobs"][0]["sync"] == "as configured"
    assert home("install", "--user", "--check").code == 0


def test_env_file_alone_installs_a_job(home: Home) -> None:
    for file in (home.path / "config/dify-job").iterdir():
        file.unlink()
    (home.path / ".env").write_text(
        "DIFY_API_KEY=app-canary-env-0123456\nDIFY_BASE_URL=http://127.0.0.1:9/v1\nAUTO_START_SCHEDULER=false\n"
    )
    done = home("install", "--user", "--every", "2h", "--env-file", ".env")
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "the jobs are not enabled, because AUTO_START_SCHEDULER is false; "
        "to enable a job, run: dify-job resume default"
    )
    key = home.path / "config/dify-job/credentials/default.key"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("app-canary-env-0123456\n", 0o600)
    assert home.manager.active() == set()
    assert "app-canary" not in done.stdout + done.stderr
    assert home("resume", "default", "--user").code == 0
    assert home.manager.active() == home.manager.enabled() == {"dify-job-default.timer"}
    again = home("install", "--user", "--every", "2h", "--env-file", ".env")
    assert again.stdout.splitlines()[-1] == "default is enabled"
    removed = home("uninstall", "--all", "--user", "--purge")
    assert removed.code == 0
    assert not (home.path / "config/dify-job").exists()
    assert not [path for path in home.all_files() if "dify-job" in path]


def test_refused_install_changes_nothing(home: Home) -> None:
    home.configure(CONFIG + CONFIG.replace("daily", "weekly"))
    home.manager.units.mkdir(parents=True)
    (home.manager.units / "dify-job-weekly.timer").write_text("[Timer]\nOnCalendar=daily\n")
    before = home.all_files()
    done = home("install", "--user")
    assert done.code == 78
    assert "dify-job-weekly.timer exists and was not written by dify-job" in done.stderr
    assert home.all_files() == before
    assert home.manager.active() == set()


def test_installing_one_job_still_enables_timers_of_an_interrupted_install(home: Home) -> None:
    home.configure(CONFIG + CONFIG.replace("daily", "weekly"))
    home("install", "--user", "--no-start")
    record = home.path / "state/dify-job/install-unfinished.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"enable": ["dify-job-weekly.timer"], "start": ["dify-job-weekly.timer"]}))
    home("install", "daily", "--user", "--every", "3h", "--start")
    assert json.loads(record.read_text())["enable"] == ["dify-job-weekly.timer"]
    home("install", "--user")
    assert home.manager.active() == {"dify-job-daily.timer", "dify-job-weekly.timer"}
    assert not record.exists()


def test_pause_after_a_killed_install_survives_the_next_install(home: Home) -> None:
    home("install", "--user")
    record = home.path / "state/dify-job/install-unfinished.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"enable": ["dify-job-daily.timer"], "start": ["dify-job-daily.timer"]}))
    home("pause", "daily", "--user")
    assert "the job stays paused" in home("install", "--user").stdout
    assert home.manager.active() == home.manager.enabled() == set()


def test_reinstall_does_not_enable_a_disabled_but_active_timer(home: Home) -> None:
    home("install", "--user")
    home.manager.main(["disable", "dify-job-daily.timer"])
    assert home("install", "--user", "--every", "3h").code == 0
    assert home.manager.enabled() == set()
    assert home.manager.active() == {"dify-job-daily.timer"}
    assert home.manager.runs() == []


def test_job_cannot_be_installed_with_both_back_ends(home: Home) -> None:
    assert home("install", "--user", "--backend", "cron").code == 0
    second = home("install", "--user", "--backend", "systemd")
    assert second.code == 78
    assert "a second installation would run it twice" in second.stderr
    assert home.manager.active() == set()


# cron


def test_user_crontab_gets_one_block_and_loses_no_line(cron_home: Home) -> None:
    mine = b"MAILTO=me\r\n*/90 * * * * y\n0 0 * * * a%b \xff"
    cron_home.table.write_bytes(mine)
    done = cron_home("install", "--user")
    assert done.code == 0, done.stderr
    table = cron_home.table.read_bytes()
    assert table.startswith(mine + b"\n# Managed by dify-job for job daily.")
    assert table.endswith(b"\n# End of dify-job job daily.\n")
    assert cron_home("install", "--user").stdout.startswith("daily: unchanged")
    assert cron_home.table.read_bytes() == table
    assert cron_home("install", "--user", "--check").code == 0
    assert cron_home("pause", "daily", "--user").code == 0
    assert b"\n#paused# 0 0,2" in cron_home.table.read_bytes()
    assert cron_home("install", "--user", "--check").code == 0, "a pause is no difference"
    assert "the job stays paused" in cron_home("install", "--user").stdout
    assert cron_home("resume", "daily", "--user").code == 0
    assert cron_home.table.read_bytes() == table
    assert (
        "removed the block of job daily in your crontab" in cron_home("uninstall", "--all", "--user").stdout
    )
    assert cron_home.table.read_bytes() == mine + b"\n"


def test_crontab_with_only_managed_blocks_is_removed_not_left_empty(cron_home: Home) -> None:
    assert cron_home("install", "--user").code == 0
    assert cron_home("uninstall", "--all", "--user").code == 0
    assert not cron_home.table.exists()


def test_schedule_that_cron_cannot_express_is_decided_by_the_run(cron_home: Home) -> None:
    done = cron_home("install", "--user", "--every", "7h")
    assert "7h does not divide a day evenly, so the scheduler starts dify-job every 1h" in done.stdout
    assert "intervals that divide a day evenly: 6h or 8h" in done.stdout
    assert b" --scheduled --if-due " in cron_home.table.read_bytes()
    cron_home.configure(CONFIG + 'state = "none"\n')
    refused = cron_home("install", "--user", "--every", "5h")
    assert refused.code == 78
    assert "needs a record of the last run" in refused.stderr


def test_mistake_in_a_schedule_option_names_the_option_and_not_the_file(cron_home: Home) -> None:
    for option, value in (("--every", "10s"), ("--cron", "61 * * * *"), ("--calendar", "25:00")):
        done = cron_home("install", "--user", option, value)
        assert done.code in (64, 65)
        assert f"correct {option}; " in done.stderr
        assert "config.toml" not in done.stderr


def test_note_of_several_jobs_is_printed_once_with_their_names(cron_home: Home) -> None:
    table = (
        '[jobs.{name}]\nbase_url = "http://127.0.0.1:9"\napi_key_file = "{{home}}/key"\nevery = "{every}"\n'
    )
    jobs = {"first": "7h", "second": "2h", "third": "7h", "fourth": "5h"}
    cron_home.configure("\n".join(table.format(name=name, every=every) for name, every in jobs.items()))
    lines = cron_home("install", "--user").stdout.splitlines()
    assert [line for line in lines if "7h does not divide" in line] == [
        line for line in lines if line.startswith("first, third: 7h does not divide")
    ]
    assert len([line for line in lines if line.startswith("  5h does not divide")]) == 1


def test_broken_file_is_reported_once_and_other_jobs_are_installed(home: Home) -> None:
    home.configure("[jobs.bad]\nevery = 1h\n", "config.d/broken.toml")
    refused = home("install", "--user", "--dry-run")
    assert (refused.code, refused.stderr.count("broken.toml")) == (78, 1)
    assert home("install", "daily", "--user", "--dry-run").code == 0


def test_simultaneous_installs_lose_no_block_and_no_foreign_line(cron_home: Home, campaign: Campaign) -> None:
    home = cron_home
    home.table.write_bytes(b"0 0 * * * mine\n")
    code = (
        "import sys; from pathlib import Path; from dify_job.system import transaction\n"
        "transaction._LOCK_WAIT = 110.0\n"
        "from dify_job.system import user; user.account_home = Path.home\n"
        "from dify_job.config.model import ScheduleConfig as S\n"
        "from dify_job.schedulers import installation\n"
        "from dify_job.schedulers.model import Scope\n"
        "from dify_job.schedulers.cron import UserCrontab\n"
        "from dify_job.schedulers.job_spec import JobSpec\n"
        "from dify_job.schedulers.backend import InstallOptions\n"
        "for n in sys.argv[1:]:\n"
        "    plan = JobSpec(job=n, description=n, schedule=S(every=3600.0), fingerprint='0' * 16,\n"
        "        config_path=Path('/c'), python=Path('/p'), timeout=1.0)\n"
        "    cron = UserCrontab(Scope.USER)\n"
        "    installation.apply_plan(cron, lambda: cron.plan_install([plan], InstallOptions()))\n"
    )
    env = {
        **os.environ,
        "PATH": f"{home.path / 'bin'}:/usr/bin:/bin",
        "XDG_STATE_HOME": str(home.path / "state"),
        "HOME": str(home.path),
    }
    jobs, at_once = (50, 10) if campaign.whole else (12, 4)
    names = [f"job-{number}" for number in range(jobs)]
    started = [
        subprocess.Popen([sys.executable, "-c", code, *names[at::at_once]], env=env) for at in range(at_once)
    ]
    assert [process.wait() for process in started] == [0] * at_once
    table = home.table.read_bytes()
    assert table.startswith(b"0 0 * * * mine\n")
    assert sorted(block.job for block in blocks(table)) == sorted(names)


@pytest.mark.parametrize(
    "complaint",
    [
        "You (maria) are not allowed to use this program (crontab)\nSee crontab(1) for more information\n",
        "You (maria) are not allowed to access to (crontab) because of pam configuration.\n",
        "crontab: can't open 'maria': Permission denied\n",
        "/var/spool/cron/: mkstemp: Permission denied\n",
        "cron/maria/: fopen: Permission denied\n",
        "crontab: user unknown\n",
    ],
)
def test_unreadable_crontab_is_not_treated_as_empty(complaint: str, cron_home: Home) -> None:
    home = cron_home
    home.table.write_bytes(b"0 0 * * * mine\n")
    install_programs(home.path, home.path / "bin", crontab_error=complaint)
    done = home("install", "--user")
    assert done.code == 78
    assert "your crontab cannot be read: " + " ".join(complaint.split()) in done.stderr
    assert home.table.read_bytes() == b"0 0 * * * mine\n"


def test_missing_crontab_is_empty_for_each_cron_implementation(tmp_path: Path) -> None:
    for kind in ("debian", "busybox"):
        home = Home(tmp_path / kind, booted=False)
        code, _, words = FakeCrontab(home.path, kind).main(["-l"])
        assert code == 1
        install_programs(home.path, home.path / "bin", kind=kind)
        assert home("install", "--user").code == 0, words


# status


@pytest.mark.slow
def test_status_of_a_thousand_jobs_queries_the_manager_once_within_two_seconds(home: Home) -> None:
    home.configure("".join(CONFIG.replace("daily", f"job-{number}") for number in range(1000)))
    assert home("install", "--user").code == 0
    before = len(home.manager.log())
    began = os.times()
    done = home("status", "--user", "--json")
    ended = os.times()
    used = ended.children_user + ended.children_system - began.children_user - began.children_system
    assert done.code == 0, done.stderr
    assert len(done.result["jobs"]) == 1000
    assert all(job["enabled"] and len(job["next_runs"]) == 3 for job in done.result["jobs"])
    asked = [line for line in home.manager.log()[before:] if line.startswith("show ")]
    assert len(asked) == 1
    assert used < 3, "seconds of CPU, the stand-in's own included"


def test_status_without_a_bus_reports_the_files(home: Home) -> None:
    home("install", "--user")
    home.booted = False
    (row,) = home("status", "--user", "--json").result["jobs"]
    assert (row["sync"], row["backend"], row["scope"]) == ("as configured", "systemd", "user")
    assert row["config"] == str(home.path / "config/dify-job/config.toml")


_NOTIFY = 'notify.on_failure = ["apprise-url-from-file:{home}/urls"]\n'


def _assert_one_judgement(home: Home, check: str, message: str) -> None:
    """Assert that status and doctor report the same problems of what is installed, in the same words."""
    [row] = home("status", "--user", "--json").result["jobs"]
    doctor = json.loads(home("doctor", "daily", "--user", "--json").stdout)["jobs"][0]["checks"]
    judged = [one for one in doctor if one["check"] in ("backend", "units", "override", "interpreter")]
    bad = [one for one in judged if one["level"] != "ok"]
    assert row["problems"] == [f"{one['message']}: {one['fix']}" for one in bad]
    assert [one["check"] for one in bad] == [check]
    assert message in bad[0]["message"]


@pytest.mark.parametrize(
    ("break_it", "check", "message"),
    [
        (lambda units: (units / "dify-job-daily.timer").unlink(), "units", "daily.timer is missing"),
        (lambda units: (units / "dify-job-daily.timer").write_text(""), "units", "is masked by the admin"),
        (
            lambda units: (units / "dify-job-notify@dify-job-daily.service.service").unlink(),
            "units",
            "the unit that reports failed runs is missing",
        ),
    ],
    ids=["missing-timer", "masked", "missing-failure-unit"],
)
def test_status_and_doctor_report_one_problem_of_units_in_the_same_words(
    home: Home, break_it: Callable[[Path], None], check: str, message: str
) -> None:
    (home.path / "urls").write_text("json://localhost\n")
    (home.path / "urls").chmod(0o600)
    home.configure(CONFIG + _NOTIFY)
    assert home("install", "--user").code == 0
    units = home.path / "config/systemd/user"
    break_it(units)
    _assert_one_judgement(home, check, message)


def test_status_and_doctor_report_a_missing_interpreter_in_the_same_words(home: Home) -> None:
    home("install", "--user")
    service = home.path / "config/systemd/user/dify-job-daily.service"
    service.write_text(service.read_text().replace(f"ExecStart={sys.executable}", "ExecStart=/gone/python"))
    subprocess.run(["systemctl", "--user", "daemon-reload"], env=home.environ, check=True)
    [row] = home("status", "--user", "--json").result["jobs"]
    [problem] = row["problems"]
    assert problem.startswith(
        "the job cannot start, because its Python interpreter /gone/python no longer exists"
    )
    doctor = json.loads(home("doctor", "daily", "--user", "--json").stdout)["jobs"][0]["checks"]
    assert problem in [f"{one['message']}: {one['fix']}" for one in doctor if one["check"] == "interpreter"]


def test_status_and_doctor_report_one_problem_of_a_crontab_in_the_same_words(cron_home: Home) -> None:
    cron_home.first = "cron.is_running = lambda: True"
    assert cron_home("install", "--user").code == 0
    installed = cron_home.table.read_bytes()
    cron_home.table.write_bytes(b"CRON_TZ=Asia/Tokyo\n" + installed)
    _assert_one_judgement(cron_home, "units", "cron applies CRON_TZ=Asia/Tokyo to the job's crontab lines")
    assert cron_home("install", "--user").code == 0
    [row] = cron_home("status", "--user", "--json").result["jobs"]
    assert row["problems"] == []
    cron_home.first = "cron.is_running = lambda: False"
    _assert_one_judgement(cron_home, "backend", "the cron daemon is not running")


def test_problems_of_units_are_reported_without_their_config(home: Home) -> None:
    home("install", "--user")
    (home.path / "config/systemd/user/dify-job-daily.timer").unlink()
    (home.path / "config/dify-job/config.toml").unlink()
    rows = home("status", "--user", "--json").result["jobs"]
    [row] = [row for row in rows if row["job"] == "daily"]
    [problem] = row["problems"]
    assert problem.startswith("the unit dify-job-daily.timer is missing: ")


def test_job_with_an_unreadable_config_is_not_healthy(home: Home) -> None:
    home("install", "--user")
    home.configure(CONFIG + 'timezone = "Mars/Phobos"\n')
    done = home("status", "--user")
    assert done.code == 1
    config = home.path / "config/dify-job/config.toml"
    assert done.stdout.startswith(f"! the configuration has an error: {config}:")
    assert done.stdout.count("Mars/Phobos") == 1, "reported once, at the top"
    assert "the job's configuration has an error (shown above)" in done.stdout
    fix = re.findall(r"dify-job (config validate)", done.stdout)[0].split()
    assert "Mars/Phobos" in home(*fix).stderr
    (row,) = home("status", "--user", "--json").result["jobs"]
    assert (row["healthy"], len(row["problems"])) == (False, 1)
    home("uninstall", "--all", "--user")
    bare = home("status", "--user")
    assert (bare.code, "Mars/Phobos" in bare.stderr, bare.stdout) == (78, True, "")
    assert home("status", "--user", "--json").code == 78


def test_job_of_another_config_has_the_schedule_of_that_config(home: Home) -> None:
    home.configure(CONFIG.replace('every = "2h"', 'cron = "0 7 * * *"'), "other.toml")
    assert home("--config", str(home.path / "config/dify-job/other.toml"), "install", "--user").code == 0
    (row,) = home("status", "--user", "--json").result["jobs"]
    assert row["schedule"] == "cron 0 7 * * *"
    assert all("T07:00:00" in at for at in row["next_runs"])


def test_status_json_has_the_documented_keys(home: Home) -> None:
    home("install", "--user")
    (row,) = home("status", "--user", "--json").result["jobs"]
    text = (Path(__file__).parents[2] / "docs/status.md").read_text()
    for key in row:
        assert f"`{key}`" in text, key


def test_next_run_of_a_job_is_shown_not_the_next_timer_event(
    home: Home,
) -> None:
    home("install", "--user", "--every", "7h")
    directory = home.path / "state/dify-job/daily"
    directory.mkdir(parents=True, exist_ok=True)
    hour = int(time.time()) // 3600 * 3600
    (directory / "tick.json").write_text(json.dumps({"at": hour - 3 * 3600}))
    (row,) = home("status", "--user", "--json").result["jobs"]
    expected = time.strftime("%Y-%m-%dT%H:00:00", time.gmtime(hour + 4 * 3600))
    assert row["next_runs"][0].startswith(expected) or os.environ.get("TZ")
    (lines,) = [line for line in home("install", "--user").stdout.splitlines() if "next runs" in line]
    assert lines.split()[2:4] == expected.split("T") or os.environ.get("TZ")


# Logs where there is neither journald nor syslog


def test_cron_job_without_journal_and_syslog_logs_to_a_rotated_log_file(
    home: Home,
) -> None:
    log = home.path / "daily.log"
    home.configure(CONFIG + 'log_file = "{home}/daily.log"\nwait_network = 0\nretry = { attempts = 1 }\n')
    failed = home("run", "--scheduled", "daily")
    assert failed.code == 69
    assert failed.stdout == ""
    assert failed.stderr.startswith("dify-job: job daily: ")  # cron mails it
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[-1]["exit_code"] == 69
    assert log.stat().st_mode & 0o777 == 0o640
    log.write_text("x" * 1_100_000)
    home("run", "--scheduled", "daily")
    assert (home.path / "daily.log.1").stat().st_size == 1_100_000
    assert log.stat().st_size < 10_000
    home.booted = False
    shown = home("logs", "daily", "-n", "1", "--user")
    assert re.match(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+  error: daily: the server could not be", shown.stdout
    )
    assert "check base_url" in shown.stdout.splitlines()[-1]


def test_shared_log_file_is_shown_by_job_level_and_time(home: Home) -> None:
    home.booted = False
    table = '[jobs.{job}]\nbase_url = "http://127.0.0.1:9"\napi_key_file = "{{home}}/key"\nevery = "1h"\n'
    defaults = '[defaults]\nlog_file = "{home}/log"\nwait_network = 0\nretry = { attempts = 1 }\n'
    home.configure(defaults + table.format(job="first") + table.format(job="second"))
    for job in ("first", "second", "first"):
        assert home("run", "--scheduled", job).code == 69

    def shown(*options: str) -> list[str]:
        done = home("logs", "--user", *options)
        assert done.code == 0, done.stderr
        return [line for line in done.stdout.splitlines() if line[0].isdigit()]

    every, failed = shown(), shown("--failed")
    assert len([line for line in every if "first: run started" in line]) == 2
    assert [line.split()[4] for line in failed] == ["first:", "second:", "first:"]
    assert all(" second: " in line for line in shown("second"))
    assert shown("--failed", "second") == [failed[1]]
    assert shown("--failed", "-n", "2") == failed[1:]
    assert shown("-n", "0") == []
    assert shown("--since", "1h ago") == every
    old = (home.path / "log").read_text().replace(f'"{datetime.now(UTC):%Y}', '"2020')
    (home.path / "log").write_text(old)
    assert shown("--since", "1h ago") == []
    assert "no line of the log matches" in home("logs", "--user", "--since", "1h ago").stderr
    refused = home("logs", "--user", "second", "--", "-o", "json")
    assert (refused.code, "no journal" in refused.stderr) == (78, True)


def test_log_file_is_followed_through_a_rotation(home: Home) -> None:
    home.booted = False
    home.configure(CONFIG + 'log_file = "{home}/log"\n')
    log = home.path / "log"

    def line(number: int) -> str:
        return json.dumps(
            {"job": "daily", "event": f"line {number}", "level": "info", "timestamp": "2026-01-31T07:00:00Z"}
        )

    log.write_text(f"{line(1)}\n{line(2)}\n")
    command = [*home.command, "logs", "--user", "-f", "-n", "1"]
    with subprocess.Popen(command, env=home.environ, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        shown = [following.stdout.readline()]
        with log.open("a") as file:
            file.write(f"{line(3)}\n")
        shown.append(following.stdout.readline())
        with log.open("a") as file:
            file.write(f"{line(4)}\n")
        log.rename(home.path / "log.1")
        log.write_text(f"{line(5)}\n")
        shown += [following.stdout.readline() for _ in range(2)]
        following.send_signal(signal.SIGINT)
        assert (following.stdout.read(), following.wait()) == ("", 0)
    assert [one.split()[-1] for one in shown] == ["2", "3", "4", "5"]


@pytest.mark.parametrize("trap", ["link", "hard link", "pipe", "directory", "missing"])
def test_invalid_log_file_is_reported_and_does_not_change_the_outcome(trap: str, home: Home) -> None:
    target, log = home.path / "precious", home.path / "logs/daily.log"
    target.write_text("precious")
    if trap != "missing":
        log.parent.mkdir()
    match trap:
        case "link":
            log.symlink_to(target)
        case "hard link":
            log.hardlink_to(target)
        case "pipe":
            os.mkfifo(log)
        case "directory":
            log.mkdir()
    home.configure(
        CONFIG + 'log_file = "{home}/logs/daily.log"\nwait_network = 0\nretry = { attempts = 1 }\n'
    )
    done = home("run", "--scheduled", "daily")
    assert done.code == 69
    assert f"the log file {log} cannot be written" in done.stderr
    assert target.read_text() == "precious"
    home.booted = False
    if trap == "hard link":  # its lines are shown like those of any log
        return
    shown = home("logs", "daily", "--user")
    assert shown.code == 78, shown.stderr
    assert "precious" not in shown.stdout
    reason = "has no lines yet" if trap == "missing" else "is not a regular file"
    assert f"the log file {log} {reason}" in shown.stderr


# Related commands


def test_job_of_one_config_cannot_be_installed_in_both_scopes(home: Home) -> None:
    """Otherwise a forgotten sudo would start each run twice."""
    units = home.path / "system"
    home.first = f"from dify_job.schedulers import job_spec; job_spec.SYSTEM_UNITS = Path({str(units)!r})"
    home("install", "--user")
    units.mkdir()
    for file in home.manager.units.glob("dify-job-*"):
        file.rename(units / file.name)
    done = home("install", "--user")
    assert done.code == 78
    assert (
        "is already installed with systemd as a system job, and a second installation would run it twice"
        in done.stderr
    )
    assert not list(home.manager.units.glob("dify-job-*"))


def test_next_tells_system_jobs_from_own_jobs_of_the_same_name(home: Home) -> None:
    units, other = home.path / "system", home.path / "config/dify-job/other.toml"
    home.configure(CONFIG.replace("2h", "4h"), "other.toml")
    assert home("--config", str(other), "install", "--user").code == 0
    units.mkdir()
    for file in home.manager.units.glob("dify-job-*"):
        file.rename(units / file.name)
    home.first = f"from dify_job.schedulers import job_spec; job_spec.SYSTEM_UNITS = Path({str(units)!r})\n"
    home.first += "import os; os.geteuid = lambda: 12345"
    for words in ((), ("daily",)):
        done = home("next", *words, "-n", "2")
        assert done.stdout.count("daily (system, systemd)  every 4h") == 2, done.stdout + done.stderr
        assert "not installed: daily\n" in done.stdout
    home.configure(CONFIG.replace("daily", "mine"))
    as_user, home.first = home.first, home.first.partition("\n")[0]
    assert home("install", "--user").code == 0
    home.first = as_user
    rows = home("next", "-n", "12").stdout
    assert (" mine " in rows, " daily " in rows) == (True, True), rows
    assert " mine " not in home("next", "daily").stdout


def test_next_run_that_counts_from_an_unreadable_record_is_unknown(home: Home) -> None:
    home.configure(CONFIG.replace("2h", "7h"))
    assert home("install", "--user").code == 0
    assert len(home("status", "--user", "--json").result["jobs"][0]["next_runs"]) == 3
    record = home.path / "state/dify-job/daily/tick.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"at": time.time()}))
    assert len(home("status", "--user", "--json").result["jobs"][0]["next_runs"]) == 3
    home.first = f"import os; a = os.access; os.access = lambda p, m: str(p) != {str(record)!r} and a(p, m)"
    assert home("status", "--user", "--json").result["jobs"][0]["next_runs"] == []
    shown = home("next", "--user", "daily")
    assert shown.stdout.startswith("NEXT RUN  JOB  SCHEDULE\nthe next runs of these jobs are unknown")
    assert "dify-job next daily" in shown.stdout


def test_scheduled_run_warns_of_a_config_changed_since_the_install(home: Home) -> None:
    quick = 'wait_network = 0\nretry = { attempts = 1 }\nlog_file = "{home}/log"\n'
    home.configure(CONFIG + quick)
    home("install", "--user")
    warning = (
        "the configuration changed since job daily was installed; "
        "to apply the changes, run: dify-job install daily"
    )

    def log_of_a_run() -> str:
        (home.path / "log").unlink(missing_ok=True)
        assert home("run", "--scheduled", "daily").code == 69
        return (home.path / "log").read_text()

    assert warning not in log_of_a_run()
    home.configure(CONFIG + quick + 'inputs = { a = "an input needs no reinstall" }\n')
    assert warning not in log_of_a_run()
    home.configure(CONFIG.replace("2h", "3h") + quick)
    assert warning in log_of_a_run()
    home("install", "--user")
    assert warning not in log_of_a_run()


def test_next_shows_runs_with_zone_and_clock_changes(home: Home) -> None:
    home.configure(CONFIG.replace('every = "2h"', 'cron = "30 2 * * *"\ntimezone = "Europe/Berlin"'))
    lines = home("next", "-n", "3").stdout.splitlines()
    assert lines[0].split() == ["NEXT", "RUN", "JOB", "SCHEDULE"]
    assert all("daily  cron 30 2 * * * (Europe/Berlin)" in line for line in lines[1:4])
    assert len([line for line in lines if " 02:30:00 CE" in line]) == 3
    assert "clocks go forward in Europe/Berlin; the runs at 02:30 are skipped" in lines[-1]
    (row,) = home("next", "--json", "-n", "5").result["jobs"]
    assert len(row["runs"]) == 5
    assert row["warnings"]


def test_render_writes_files_for_another_host_and_nothing_else(home: Home) -> None:
    before = home.all_files()
    printed = home("render", "--target", "systemd", "--systemd-version", "239").stdout
    assert "LoadCredential" not in printed
    assert home.all_files() == before
    out = home.path / "out"
    home("render", "--target", "systemd", "--output-dir", str(out), "--user")
    home("render", "--target", "cron", "--output-dir", str(out))
    assert sorted(file.name for file in out.iterdir()) == [
        "dify-job-daily",
        "dify-job-daily.service",
        "dify-job-daily.timer",
    ]
    assert set(home.all_files()) - set(before) == {f"out/{file.name}" for file in out.iterdir()}
    assert home.manager.log() == []
