"""--check, --diff and --dry-run print the plan that install executes; selection of jobs by name."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.home import CONFIG, Home

pytestmark = pytest.mark.timeout(600)  # on a loaded machine
TIMER = "dify-job-daily.timer"


def interrupt(home: Home) -> None:
    """Create the state of an install that was killed before it enabled the timer."""
    assert home("install", "--user").code == 0
    for verb in ("disable", "stop"):
        home.manager.main([verb, TIMER])
    record = home.path / "state/dify-job/install-unfinished.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"enable": [TIMER], "start": [TIMER]}))


def files_without_stamps(home: Home) -> dict[str, bytes]:
    """All files but timer stamps: a restarted timer gets a current stamp, so that it has no missed run."""
    return {path: content for path, content in home.all_files().items() if "/stamp-" not in path}


def test_interrupted_install_is_reported_and_the_next_completes_it(home: Home) -> None:
    interrupt(home)
    check = home("install", "--user", "--check")
    assert (check.code, check.stdout) == (1, f"{TIMER} is not enabled\n{TIMER} is not started\n")
    diff = home("install", "--user", "--diff")
    assert diff.stdout == f"# systemctl enable {TIMER}\n# systemctl start {TIMER}\n"
    assert home.manager.active() == set(), "--check changes nothing"
    assert home("install", "--user").stdout.splitlines()[-1] == "daily is enabled"
    assert home.manager.active() == home.manager.enabled() == {TIMER}
    assert (home("install", "--user", "--check").code, home("install", "--user", "--diff").stdout) == (0, "")


def test_timer_stopped_by_hand_is_no_difference(home: Home) -> None:
    assert home("install", "--user").code == 0
    home.manager.main(["stop", TIMER])
    assert home("install", "--user", "--check").code == 0
    assert "the job stays paused" in home("install", "--user").stdout
    assert home("install", "--user", "--start", "--check").code == 1


@pytest.mark.parametrize("why", ["foreign", "edited", "other scheduler", "later file"])
def test_check_diff_and_dry_run_refuse_like_install(why: str, home: Home) -> None:
    words = ["install", "--user"]
    match why:
        case "foreign":
            home.manager.units.mkdir(parents=True)
            (home.manager.units / TIMER).write_text("[Timer]\nOnCalendar=daily\n")
        case "edited":
            assert home(*words).code == 0
            timer = home.manager.units / TIMER
            timer.write_text(timer.read_text() + "# mine\n")
        case "other scheduler":
            assert home(*words, "--backend", "cron").code == 0
        case "later file":
            later = home.path / "config/dify-job/config.d/zz.toml"
            later.parent.mkdir()
            later.write_text('[jobs.daily]\nevery = "5h"\n')
            words += ["--every", "3h"]
    before = home.all_files()
    done = {flag: home(*words, *flag) for flag in ((), ("--check",), ("--diff",), ("--dry-run",))}
    assert {ran.code for ran in done.values()} == {78}
    assert len({ran.stderr for ran in done.values()}) == 1, "the same error"
    assert home.all_files() == before
    assert "# Managed by dify-job" in done["--dry-run",].stdout, "shown before it is refused"
    if why == "edited":
        assert "-# mine" in done["--diff",].stdout


def test_diff_names_a_key_of_the_environment_without_showing_it(home: Home) -> None:
    for file in (home.path / "config/dify-job").iterdir():
        file.unlink()
    (home.path / ".env").write_text("DIFY_API_KEY=app-canary-env-0123456\n")
    words = ("install", "--user", "--every", "2h", "--env-file", ".env")
    first = home(*words, "--diff").stdout
    assert "+(the API key)" in first
    assert home(*words).code == 0
    assert home(*words, "--check").code == 0
    (home.path / ".env").write_text("DIFY_API_KEY=app-canary-other-012345\n")
    changed = home(*words, "--diff")
    assert "credentials/default.key: (the API key)" in changed.stdout
    assert "canary" not in first + changed.stdout + home(*words, "--dry-run").stdout
    assert home(*words, "--check").code == 1


def test_install_installed_updates_only_installed_jobs(home: Home) -> None:
    home.configure("".join(CONFIG.replace("daily", job) for job in ("one", "two", "three")))
    assert home("install", "--user").code == 0
    assert home("uninstall", "two", "--user").code == 0
    assert home("pause", "three", "--user").code == 0
    home.configure(
        "".join(CONFIG.replace("daily", job).replace("2h", "3h") for job in ("one", "two", "three"))
    )
    assert home("install", "--user", "--installed", "--check").code == 1
    done = home("install", "--user", "--installed")
    assert (done.code, "two" in done.stdout) == (0, False), done.stderr
    assert home.manager.active() == {"dify-job-one.timer"}
    assert "00,03" in (home.manager.units / "dify-job-one.timer").read_text()
    assert "00,03" in (home.manager.units / "dify-job-three.timer").read_text()
    assert not (home.manager.units / "dify-job-two.timer").exists()
    assert home("install", "--user", "--installed", "--check").code == 0


def test_install_installed_uses_the_scheduler_of_each_job(home: Home) -> None:
    home.configure(CONFIG + CONFIG.replace("daily", "weekly"))
    assert home("install", "daily", "--user").code == 0
    assert home("install", "weekly", "--user", "--backend", "cron").code == 0
    home.configure((CONFIG + CONFIG.replace("daily", "weekly")).replace("2h", "3h"))
    done = home("install", "--user", "--installed")
    assert done.code == 0, done.stderr
    assert home.manager.active() == {TIMER}
    assert b"0 0,3,6" in home.table.read_bytes()


def test_install_installed_without_jobs_installs_nothing(home: Home) -> None:
    done = home("install", "--user", "--installed")
    assert (done.code, done.stdout) == (0, "no job of this configuration is installed\n")
    assert home.manager.active() == set()
    assert home("install", "daily", "--user", "--installed").code == 64


@pytest.mark.parametrize("command", ["uninstall", "pause", "resume"])
def test_command_that_changes_jobs_needs_names_or_option_all(command: str, home: Home) -> None:
    home.configure(CONFIG + CONFIG.replace("daily", "weekly"))
    assert home("install", "--user").code == 0
    before = (home.all_files(), home.manager.active())
    refused = home(command, "--user")
    assert (refused.code, f"{command} needs the names of jobs, or --all" in refused.stderr) == (64, True)
    assert home(command, "daily", "--all", "--user").code == 64
    assert (home.all_files(), home.manager.active()) == before
    if command == "resume":
        home("pause", "--all", "--user")
    done = home(command, "--all", "--user")
    assert (done.code, done.stdout.count("daily"), done.stdout.count("weekly") > 0) == (0, 1, True) or (
        command == "uninstall" and done.code == 0
    )
    assert len(home.manager.active()) == (2 if command == "resume" else 0)


@pytest.mark.parametrize("kind", ["systemd", "cron"])
def test_pause_and_resume_of_all_jobs_change_no_file(kind: str, home: Home) -> None:
    home.configure(CONFIG + CONFIG.replace("daily", "weekly"))
    assert home("install", "--user", "--backend", kind).code == 0
    before = home.all_files()
    assert home("pause", "--all", "--user").stdout == "daily: paused\nweekly: paused\n"
    home("resume", "--all", "--user")
    assert files_without_stamps(home) == before
    assert home.manager.runs() == []


def test_install_q_prints_nothing_and_warns_on_stderr(home: Home) -> None:
    done = home("-q", "install", "--user")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert home("-q", "install", "--user", "--check").stdout == ""
    home("pause", "daily", "--user", "-q")
    assert home("install", "--user", "-q").stderr.startswith("dify-job: daily: the job stays paused")
    assert home("uninstall", "daily", "--user", "-q").stdout == ""


def test_install_of_many_jobs_prints_a_line_per_job_and_the_commands_once(home: Home) -> None:
    home.configure("".join(CONFIG.replace("daily", f"job-{number}") for number in range(9)))
    lines = home("install", "--user").stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:9]] == [f"job-{number}" for number in range(9)]
    assert all(", enabled, next run 2" in line for line in lines[:9])
    for what in ("  run now", "  watch", "  stop", "  remove"):
        assert len([line for line in lines if line.startswith(what)]) == 1, what
    assert lines[-1] == "9 of 9 jobs are enabled"
    assert len(lines) < 18


def test_user_units_are_written_to_the_directory_of_the_manager(home: Home) -> None:
    """The shell has an XDG_CONFIG_HOME that the manager does not have."""
    home.env = {
        "XDG_CONFIG_HOME": str(home.path / "elsewhere"),
        "XDG_DATA_HOME": str(home.path / "else-data"),
    }
    config = home.path / "elsewhere/dify-job/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG.replace("{home}", str(home.path)))
    done = home("install", "--user")
    assert done.code == 0, done.stderr
    assert (home.manager.units / TIMER).exists()
    assert not (home.path / "elsewhere/systemd").exists()
    home.env = {}
    assert home("status", "daily", "--user", "--json").result["jobs"][0]["config"] == str(config)
    assert home("uninstall", "daily", "--user").code == 0
    assert not list(home.manager.units.glob("dify-job-*"))


def test_purge_of_all_removes_state_and_metrics_of_jobs_uninstalled_earlier(home: Home) -> None:
    metrics = home.path / "daily.prom"
    home.configure(CONFIG + f'metrics = {{ textfile = "{metrics}" }}\n' + CONFIG.replace("daily", "weekly"))
    assert home("install", "--user").code == 0
    metrics.write_text('# HELP dify_job_last_run_success x\ndify_job_last_run_success{job="daily"} 1.0\n')
    state = home.path / "state/dify-job"
    (state / "daily").mkdir(parents=True, exist_ok=True)
    (state / "daily/history.jsonl").touch()
    foreign = state / "not-a-job"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    assert home("uninstall", "daily", "--user").code == 0
    assert (state / "daily").is_dir(), "not removed without --purge"
    assert home("uninstall", "--all", "--purge", "--user").code == 0
    assert not (state / "daily").exists()
    assert not metrics.exists()
    assert (foreign / "notes.txt").exists()


@pytest.mark.parametrize("backend", ["systemd", "cron"])
@pytest.mark.parametrize("names", [("daily",), ("--all",)])
def test_purge_takes_the_metrics_of_a_job_that_left_the_config(
    names: tuple[str, ...], backend: str, home: Home
) -> None:
    first, second = home.path / "first.prom", home.path / "second.prom"
    state = home.path / "state/dify-job/daily"
    for metrics in (first, second):
        home.configure(CONFIG + f'retry = {{ attempts = 1 }}\nmetrics = {{ textfile = "{metrics}" }}\n')
        assert home("install", "--user", "--backend", backend).code == 0
        assert home("run", "daily", env={"STATE_DIRECTORY": str(state)}).code == 69
        assert metrics.exists()
    home.configure(CONFIG.replace("daily", "weekly"))
    assert home("uninstall", *names, "--purge", "--user").code == 0
    assert not state.exists()
    assert not first.exists()
    assert not second.exists()


def test_purge_removes_no_file_that_only_the_state_claims(home: Home) -> None:
    assert home("install", "--user").code == 0
    mine = home.path / "mine.prom"
    mine.write_text("# HELP node_load1 1m load average.\n")
    linked, target = home.path / "linked.prom", home.path / "target"
    target.write_text('# HELP dify_job_last_run_success x\ndify_job_last_run_success{job="daily"} 1.0\n')
    linked.symlink_to(target)
    pipe = home.path / "pipe.prom"
    os.mkfifo(pipe)
    state = home.path / "state/dify-job/daily"
    state.mkdir(parents=True, exist_ok=True)
    paths = [str(path) for path in (mine, linked, pipe, home.path)]
    paths += [
        f"{home.path}/a\0b",
        f"{home.path}/\ud800",
        "mine.prom",
        "x" * 5000,
        f"{home.path}/{'x' * 5000}",
    ]
    (state / "metrics.json").write_text(json.dumps({"paths": [*paths, 7, None, "", "no/such.prom"]}))
    assert home("uninstall", "daily", "--purge", "--user").code == 0
    assert not state.exists()
    assert all(map(os.path.lexists, (mine, linked, target, pipe)))


def test_purge_leaves_a_metrics_file_that_no_run_of_the_job_wrote(home: Home) -> None:
    metrics = home.path / "node.prom"
    metrics.write_text('# HELP dify_job_last_run_success x\ndify_job_last_run_success{job="other"} 1.0\n')
    home.configure(CONFIG + f'metrics = {{ textfile = "{metrics}" }}\n')
    assert home("install", "--user").code == 0
    assert home("uninstall", "daily", "--purge", "--user").code == 0
    assert metrics.exists()


def test_failed_uninstall_leaves_timers_as_they_were(home: Home) -> None:
    assert home("install", "--user").code == 0
    before = home.all_files()
    wrapper = home.path / "bin/systemctl"
    real = wrapper.rename(home.path / "bin/systemctl.real")
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *daemon-reload*) [ -e {home.path}/bin/once ] || '
        f'{{ touch {home.path}/bin/once; echo "Failed: timed out" >&2; exit 1; }};; esac\nexec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    failed = home("uninstall", "daily", "--user")
    assert (failed.code, "daemon-reload failed" in failed.stderr) == (73, True)
    assert files_without_stamps(home) == before
    assert home.manager.active() == home.manager.enabled() == {TIMER}
    assert home.manager.runs() == []
    assert home("uninstall", "daily", "--user").code == 0
    assert home.manager.active() == set()


@pytest.mark.parametrize("user", ["john doe", "a\nb", "a%b", "a b:c"])
@pytest.mark.parametrize("backend", ["systemd", "cron"])
def test_invalid_run_as_is_written_to_no_file(user: str, backend: str, home: Home) -> None:
    done = home("install", "--user", "--run-as", user, "--backend", backend, "--dry-run")
    assert done.code in (64, 65, 78), done.stderr
    assert "User=" not in done.stdout
    assert not Path(home.path / "crontab.table").exists()


@pytest.mark.parametrize("backend", ["systemd", "cron"])
@pytest.mark.parametrize(
    "place",
    [
        "config/systemd/user/dify-job-daily.service",
        "config/systemd/user/dify-job-daily.timer",
        "config/dify-job/config.d/daily.settings.toml",
        "config/dify-job/config.d/daily.key.toml",
        "state/dify-job",
        "config/systemd/user",
    ],
)
def test_pipe_at_a_place_of_install_blocks_no_command(place: str, backend: str, home: Home) -> None:
    path = home.path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    for words in ("install", "install --check", "install --every 3h", "status", "uninstall daily --purge"):
        done = home(*words.split(), "--user", *(["--backend", backend] if "uninstall" not in words else []))
        assert "Traceback" not in done.stderr, done.stderr
        assert done.code != 70
    assert path.is_fifo()


@pytest.mark.parametrize("kind", ["pipe", "directory", "link"])
def test_what_stands_in_the_place_of_the_lock_can_be_moved_away(kind: str, home: Home) -> None:
    lock = home.path / "state/dify-job/install.lock"
    lock.parent.mkdir(parents=True)
    if kind == "directory":
        lock.mkdir()
    elif kind == "link":
        lock.symlink_to("elsewhere")
    else:
        lock.parent.rmdir()
        os.mkfifo(lock.parent)
    refused = home("install", "--user")
    there = lock.parent if kind == "pipe" else lock
    assert (refused.code, refused.stderr.splitlines()[-1]) == (73, f"  mv {there} {there}.old")
    there.rename(f"{there}.old")
    assert home("install", "--user").code == 0


def test_failed_install_with_unwritable_user_state_changes_nothing(home: Home) -> None:
    home.first = "import os; os.geteuid = lambda: os.stat('.').st_uid or 1000"
    place = home.path / "state/dify-job/daily"
    place.parent.mkdir(parents=True)
    place.write_text("not a directory")
    before = home.all_files()
    refused = home("install", "--user", "--backend", "cron", "--every", "3h")
    assert (refused.code, refused.stderr.splitlines()[-1]) == (73, f"  mv {place} {place}.old"), (
        refused.stderr
    )
    (place.parent / "install.lock").unlink()
    assert home.all_files() == before


def test_pipe_in_place_of_the_record_of_an_interrupted_install_blocks_nothing(home: Home) -> None:
    record = home.path / "state/dify-job/install-unfinished.json"
    record.parent.mkdir(parents=True)
    os.mkfifo(record)
    refused = home("install", "--user")
    assert (refused.code, refused.stderr.splitlines()[-1]) == (73, f"  mv {record} {record}.old")
    assert home("install", "--user", "--check").code == 1
    record.unlink()
    assert home("install", "--user").code == 0


@pytest.mark.parametrize("answer", ["", "LoadState=loaded", "Id=dify-job-daily.timer"])
def test_systemctl_that_answers_nothing_is_no_success(answer: str, home: Home) -> None:
    program = home.path / "bin/systemctl"
    there = program.with_name("systemctl.there")
    program.rename(there)
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *--version*|*UnitPath*) exec {there} "$@";; *show*) echo {answer};; esac\n'
    )
    program.chmod(0o755)
    before = home.all_files()
    for words in ("install", "install --http", "install --check"):
        done = home(*words.split(), "--user")
        assert done.code == 73, (words, done.stderr)
        assert "failed: systemd's answer is incomplete" in done.stderr
    after = home.all_files()
    after.pop("state/dify-job/install.lock", None)
    assert after == before


def test_crontab_that_a_signal_ends_is_reported_with_it(home: Home) -> None:
    program = home.path / "bin/crontab"
    program.write_text('#!/bin/sh\n[ "$1" = -l ] || kill -9 $$\necho "no crontab for maria" >&2; exit 1\n')
    done = home("install", "--user", "--backend", "cron")
    assert (done.code, "rejected the new crontab: signal 9 killed the process" in done.stderr) == (
        73,
        True,
    ), done.stderr


def test_crontab_that_is_not_written_is_reported_although_crontab_succeeds(home: Home) -> None:
    """As busybox does on a read-only file system."""
    program = home.path / "bin/crontab"
    program.write_text(
        '#!/bin/sh\n[ "$1" = -l ] && exec echo \'# mine\'\necho "crontab: can\'t create maria.new" >&2\n'
    )
    done = home("install", "--user", "--backend", "cron")
    assert done.code == 73
    assert "rejected the new crontab: crontab: can't create maria.new" in done.stderr


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_kustomization_that_is_no_file_is_left_as_it_is(make: Callable[[Path], None], home: Home) -> None:
    place = home.path / "out/kustomization.yaml"
    place.parent.mkdir()
    make(place)
    done = home("render", "--target", "kubernetes", "--image", "x:1", "--output-dir", "out")
    assert (done.code, "was not written by dify-job, so" in done.stderr) == (
        0,
        True,
    ), done.stderr
    assert not place.is_file()


@pytest.mark.parametrize("kind", ["systemd", "cron"])
def test_commands_for_an_installed_job_name_the_configuration_of_the_call(kind: str, home: Home) -> None:
    default = home.path / "config/dify-job/config.toml"
    named = default.rename(home.path / "mine.toml")
    called = ("--config", str(named))
    shown = [
        home(*called, "install", "--user", "--no-start", "--backend", kind).stdout,
        home(*called, "install", "--user", "--backend", kind).stdout,
        home(*called, "install", "--user", "--start", "--backend", kind).stdout,
        home(*called, "install", "--user", "--check", "--backend", kind).stdout,
        home(*called, "next").stdout,
    ]
    own = re.findall(
        r"dify-job (?:--config \S+ )?(?:run|logs|stop|install|config|status)\b.*", "\n".join(shown)
    )
    assert len(own) >= (0 if kind == "systemd" else 9)
    assert [line for line in own if not line.startswith(f"dify-job --config {named} ")] == []


def test_init_names_the_configuration_in_the_commands_that_follow(home: Home) -> None:
    place = home.path / "new/config.toml"
    key = home.path / "init.key"
    key.write_text("app-0123456789abcdef\n")
    key.chmod(0o600)
    options = ("--key-file", str(key), "--base-url", "http://127.0.0.1:9/v1", "--offline")
    made = home("--config", str(place), "init", "fresh", "--user", *options)
    assert made.code == 0, made.stderr
    assert f"check      dify-job --config {place} run fresh --dry-run" in made.stdout
    assert f"enable     dify-job --config {place} install fresh" in made.stdout
    plain = home("init", "fresh", "--user", *options)
    assert "check      dify-job run fresh --dry-run" in plain.stdout


@pytest.mark.parametrize("backend", ["systemd", "cron"])
def test_preview_ends_with_the_first_error_of_install(backend: str, home: Home) -> None:
    """Several errors at once: the file of an input is missing, and the installed timer was edited."""
    words = ("install", "--user", "--backend", backend)
    assert home(*words).code == 0
    timer = home.manager.units / TIMER
    for edited in (timer, home.table):
        if edited.exists():
            edited.write_bytes(edited.read_bytes().replace(b"\n", b"\n# mine\n", 1))
    home.configure(CONFIG + 'files = { x = "/nowhere/x" }\n')
    done = home(*words)
    assert (done.code, "/nowhere/x" in done.stderr) == (66, True)
    for flag in ("--check", "--diff", "--dry-run"):
        shown = home(*words, flag)
        assert (shown.code, shown.stderr) == (done.code, done.stderr), flag
        assert shown.stdout, "the plan is printed even so"


@pytest.mark.parametrize("edited", ["daily", "weekly"])
def test_install_with_two_schedulers_changes_nothing_if_one_of_them_is_rejected(
    edited: str, home: Home
) -> None:
    both = CONFIG + CONFIG.replace("daily", "weekly")
    home.configure(both)
    assert home("install", "daily", "--user", "--backend", "cron").code == 0
    assert home("install", "weekly", "--user", "--backend", "systemd").code == 0
    file = home.table if edited == "daily" else home.manager.units / "dify-job-weekly.timer"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\n# mine\n", 1))
    home.configure(both.replace("2h", "3h"))
    before = (home.all_files(), home.manager.log())
    done = home("install", "--user", "--installed")
    assert (done.code, "edited by hand" in done.stderr) == (78, True)
    assert home.all_files() == before[0]
    assert home("install", "--user", "--installed", "--check").stderr == done.stderr


@pytest.mark.parametrize("installed", [(), ("--installed",)])
@pytest.mark.parametrize("backend", ["systemd", "cron"])
def test_prune_finds_jobs_of_every_scheduler(backend: str, installed: tuple[str, ...], home: Home) -> None:
    home.configure(CONFIG + CONFIG.replace("daily", "weekly"))
    assert home("install", "weekly", "--user", "--backend", backend).code == 0
    home.configure(CONFIG)
    assert "still installed: weekly. To uninstall, run: dify-job uninstall weekly" in (
        home("install", "--user", *installed).stdout
    )
    shown = home("install", "--user", *installed, "--prune", "--check")
    assert (shown.code, "weekly is no longer" in shown.stdout) == (1, True)
    done = home("install", "--user", *installed, "--prune")
    assert (done.code, done.stdout.count("weekly: uninstalled")) == (0, 1), done.stderr
    assert "dify-job-weekly.timer" not in home.manager.active()
    assert not home.table.exists()
    assert home("install", "--user", *installed, "--prune", "--check").code == 0


@pytest.mark.parametrize("enabled", [True, False])
def test_no_start_does_not_enable_the_timer_of_an_interrupted_install(enabled: bool, home: Home) -> None:
    interrupt(home)
    if enabled:  # killed between enable and start
        home.manager.main(["enable", TIMER])
    assert home("install", "--user", "--no-start", "--check").code == enabled
    assert home("install", "--user", "--no-start").code == 0
    assert home.manager.active() == home.manager.enabled() == set()
    assert home("install", "--user", "--check").code == 0, "nothing is pending"


def test_check_reports_a_state_directory_that_install_sets_up(home: Home) -> None:
    home.first = "import os; os.geteuid = lambda: 12345"
    words = ("install", "--user", "--backend", "cron")
    assert home(*words).code == 0
    assert home(*words, "--check").code == 0
    for marker in home.path.rglob("installed"):
        marker.unlink()
    shown = home(*words, "--check")
    assert (shown.code, shown.stdout.endswith("daily is not set up for the user 12345\n")) == (1, True)
    assert home(*words, "--diff").stdout == f"# {shown.stdout}"
    assert home(*words).code == 0
    assert (home(*words, "--check").code, home(*words, "--diff").stdout) == (0, "")
