"""The nasty cases of installing that need no booted host; the others have their numbers in tests/host."""

import errno
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from dify_job.config.model import ScheduleConfig
from dify_job.demo.server import StandIn
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from dify_job.schedulers import access, crond, systemctl, units
from dify_job.schedulers.backend import InstallOptions, Scope
from dify_job.schedulers.cron_files import CronFiles
from dify_job.schedulers.job_spec import JobSpec
from dify_job.schedulers.systemd import Systemd
from dify_job.system import transaction

from .conftest import KEY
from .fake_manager import install_programs
from .home import CONFIG, Home


def plan(job: str = "daily", **changes: object) -> JobSpec:
    settings = {
        "job": job,
        "description": job,
        "schedule": ScheduleConfig(every=3600.0),
        "config_path": Path("/etc/dify-job/config.toml"),
        "python": Path(sys.executable).resolve(),
        "timeout": 60.0,
        "fingerprint": "0" * 16,
    }
    return JobSpec(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a/b",
        "a@b",
        "a%b",
        "..",
        ".",
        "-a",
        "_a",
        "A",
        "a.b",
        "é",
        "a" * 49,
        "a\\n",
        "",
        "daily.service",
    ],
)
def test_nasty_01_a_job_name_that_is_no_unit_or_file_name_is_refused_with_the_pattern(
    name: str, home: Home
) -> None:
    home.configure(CONFIG.replace("daily", f'"{name}"'))
    done = home("install", "--user")
    assert done.code == 78
    assert "use a-z, 0-9, - and _, at most 48" in done.stderr
    assert not home.manager.units.exists()


@pytest.mark.parametrize("name", ["a b", "100%", "$HOME", "a'b", 'a"b', "a\\b", "a;b", "a\nb", "ü"])
def test_nasty_02_a_config_path_of_any_characters_is_quoted_for_systemd_and_refused_for_cron(
    name: str, home: Home
) -> None:
    config = home.path / name / "config.toml"
    config.parent.mkdir()
    config.write_text(CONFIG.replace("{home}", str(home.path)))
    done = home("--config", str(config), "install", "--user")
    assert done.code == 0, done.stderr
    unit = (home.manager.units / "dify-job-daily.service").read_text()
    assert (
        f" --config {units.quoted(str(config))} daily\n" in unit
    )  # undone as systemd does it in test_sched_files
    (row,) = home("--config", str(config), "status", "--user", "--json").result["jobs"]
    assert (row["sync"], row["config"]) == ("as configured", str(config))
    home("uninstall", "--user")
    refused = home("--config", str(config), "install", "--user", "--backend", "cron")
    assert refused.code == 78
    assert "cannot stand in a crontab" in refused.stderr
    assert not home.table.exists()


def test_nasty_02_a_config_path_that_is_not_utf8_is_refused_by_both(home: Home) -> None:
    config = os.fsencode(home.path) + b"/\xff.toml"
    with open(config, "w") as file:  # noqa: PTH123 - a name of bytes
        file.write(CONFIG.replace("{home}", str(home.path)))
    for backend in ("systemd", "cron"):
        done = home("--config", os.fsdecode(config), "install", "--user", "--backend", backend)
        assert done.code == 78, done.stderr
        assert "cannot stand in a" in done.stderr


def test_nasty_03_input_values_reach_dify_unchanged_and_no_unit_at_all(home: Home, server: StandIn) -> None:
    value = '100% $HOME "x" \\ `id` é %h'
    home.configure(
        CONFIG.replace("http://127.0.0.1:9", server.base_url) + f"inputs = {{ text = {json.dumps(value)} }}\n"
    )
    (home.path / "key").write_text(KEY)
    assert home("install", "--user").code == 0
    for file in home.manager.units.glob("dify-job-*"):
        assert "$HOME" not in file.read_text()
    ran = home("run", "daily")
    assert ran.code == 0, ran.stderr
    posts = [one.body for one in server.received if one.method == "POST"]
    assert posts[0]["inputs"] == {"text": value}
    again = home("install", "--user", "--check")
    assert again.code == 0


@pytest.mark.parametrize("where", ["the interpreter", "the environment", "the configuration"])
def test_nasty_04_what_the_service_user_cannot_reach_is_found_before_anything_is_written(
    where: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    top = Path(tempfile.mkdtemp())  # others can get into it, unlike into tmp_path
    request.addfinalizer(lambda: shutil.rmtree(top))
    top.chmod(0o755)
    closed = top / "closed"
    closed.mkdir()
    program, config = closed / "python", closed / "config.toml"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    config.write_text("")
    closed.chmod(0o750)
    account = access.Account("reports", 65_000)
    monkeypatch.setattr(access, "_PRIVATE_TMP", ())
    monkeypatch.setattr(sys, "prefix", str(closed if where == "the environment" else "/usr"))
    python = program if where == "the interpreter" else Path("/usr/bin/python3")
    monkeypatch.setattr(sys, "executable", str(python))
    config_path = config if where == "the configuration" else Path("/etc/hostname")
    with pytest.raises(JobError, match=f"reports cannot reach {where}") as refused:
        access.check_plan(plan(python=python, config_path=config_path), account, key_by_manager=True)
    assert f"{closed} has mode 0750" in refused.value.message
    assert "run_as" in (refused.value.hint or "")


def test_nasty_04_an_interpreter_that_is_gone_is_told_by_status(home: Home) -> None:
    python = home.path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    home("install", "--user")
    unit = home.manager.units / "dify-job-daily.service"
    unit.write_text(unit.read_text().replace(sys.executable, str(python)))
    assert "is gone" not in home("status", "--user").stdout
    python.unlink()
    assert f"{python} is gone, so that it cannot start" in home("status", "--user").stdout


def test_nasty_05_a_file_system_that_is_read_only_is_told_and_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(systemctl.Manager, "why_not", lambda _: None)
    real = os.rename

    def refuse(old: str, new: str, **directories: int) -> None:
        if Path(new).suffix in (".service", ".timer"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(new))
        real(old, new, **directories)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(JobError, match=r"nothing was changed.*Read-only file system") as refused:
        Systemd(Scope.USER).install([plan()], InstallOptions())
    assert refused.value.outcome is Outcome.CANNOT_WRITE
    assert not list(home.manager.units.glob("dify-job-*"))
    assert home.manager.active() == home.manager.enabled() == set()


def test_nasty_06_without_systemd_and_cron_the_message_says_what_to_do(cron_home: Home) -> None:
    (cron_home.path / "bin/systemctl").unlink()
    (cron_home.path / "bin/crontab").unlink()
    cron_home.env = {"PATH": str(cron_home.path / "bin")}
    done = cron_home("install", "--user")
    assert done.code == 78
    assert "there is no crontab command on this machine" in done.stderr
    assert "Traceback" not in done.stderr
    forced = cron_home("install", "--user", "--backend", "systemd")
    assert (forced.code, "systemd is not installed on this machine" in forced.stderr) == (78, True)
    assert cron_home("status", "--user").code == 1


def test_nasty_07_systemctl_alone_is_no_systemd(cron_home: Home) -> None:
    assert (cron_home.path / "bin/systemctl").exists()
    done = cron_home("install", "--user")
    assert done.code == 0, done.stderr
    assert cron_home.table.exists()
    assert not cron_home.manager.units.exists()


@pytest.mark.parametrize("state", ["degraded", "starting", "maintenance"])
def test_nasty_08_a_system_that_is_not_all_well_is_installed_to(state: str, home: Home) -> None:
    wrapper = home.path / "bin/systemctl"
    real = wrapper.rename(home.path / "bin/systemctl.real")
    wrapper.write_text(
        f'#!/bin/sh\n[ "$2" = is-system-running ] && {{ echo {state}; exit 1; }}\n'
        f'exec {shlex.quote(str(real))} "$@"\n'
    )
    wrapper.chmod(0o755)
    assert home("install", "--user").code == 0
    assert home.manager.active() == {"dify-job-daily.timer"}


def test_nasty_18_installs_and_uninstalls_at_once_leave_a_whole_set_or_none(home: Home) -> None:
    home.first = "from dify_job import files; files._LOCK_WAIT = 110.0"
    words = [["install", "--user", "--every", f"{hours}h"] for hours in (1, 2, 3, 4)]
    words += [["uninstall", "--user"], ["uninstall", "--user"], ["install", "--user"]]
    started = [subprocess.Popen([*home.command, *each], env=home.environ, cwd=home.path) for each in words]
    assert {process.wait(110) for process in started} <= {0, 78}
    there = {path.suffix for path in home.manager.units.glob("dify-job-*")}
    assert there in (set(), {".service", ".timer"})
    assert home.manager.active() == ({"dify-job-daily.timer"} if there else set())
    assert home("install", "--user", "--every", "2h", "--start").code == 0
    assert home("install", "--user", "--check").code == 0
    assert home("status", "--user", "--json").result["jobs"][0]["sync"] == "as configured"
    assert home.manager.runs() == []
    assert not list(home.path.rglob(".*.new"))


def test_nasty_18_a_second_install_waits_and_then_says_that_one_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "_LOCK_WAIT", 0.2)
    held = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import sys, pathlib; from dify_job import files\n"
                "with files.locked(pathlib.Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
            ),
            str(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert held.stdout is not None
    held.stdout.readline()
    with (
        pytest.raises(JobError, match="another install or uninstall is under way") as busy,
        transaction.locked(tmp_path),
    ):
        pass
    assert busy.value.outcome is Outcome.BUSY
    held.communicate(b"")
    with transaction.locked(tmp_path):
        pass


def test_nasty_18_many_that_come_and_go_at_once_make_and_remove_the_directory_of_the_lock(
    tmp_path: Path,
) -> None:
    program = (
        "import sys, pathlib; from dify_job import files\n"
        "for _ in range(200):\n"
        "    with files.locked(pathlib.Path(sys.argv[1])): pass"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "base")]
    many = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    assert [told for one in many if (told := one.communicate()[1])] == []
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("there", ["file", "dangling link"])
def test_nasty_18_what_is_no_directory_is_told_at_once(there: str, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.touch() if there == "file" else base.symlink_to("nowhere")
    with pytest.raises(JobError, match=r"install\.lock cannot be opened"), transaction.locked(base):
        pass


def test_nasty_19_systemd_239_gets_nothing_that_it_does_not_have(home: Home) -> None:
    install_programs(home.path, home.path / "bin", version=239)
    home.configure(CONFIG + 'jitter = "5min"\nmax_late = "10min"\n')
    told = home("install", "--user").stdout
    assert "systemd 239 has no FixedRandomDelay=" in told
    assert "run now    dify-job run daily" in told
    text = "".join(path.read_text() for path in home.manager.units.glob("dify-job-*"))
    for newer in ("LoadCredential", "FixedRandomDelay", "ProtectClock", "RestrictSUIDSGID", "Restart=on"):
        assert newer not in text
    assert home("status", "--user", "--json").result["jobs"][0]["armed"] is True
    verbs = {line.split()[0] for line in home.manager.log()}
    assert verbs <= {"show", "enable", "daemon-reload", "start"}  # no list with JSON, no --machine


def test_nasty_20_without_systemd_analyze_our_own_checks_must_do_and_install_says_so(home: Home) -> None:
    (home.path / "bin/systemd-analyze").unlink()
    (home.path / "bin/python3").symlink_to("/usr/bin/python3")
    home.env = {"PATH": str(home.path / "bin")}
    done = home("install", "--user")
    assert done.code == 0, done.stderr
    assert "systemd-analyze is not installed: the units were checked by dify-job alone" in done.stdout
    refused = home("install", "--user", "--calendar", "*-02-30")
    assert (refused.code, "never elapses" in refused.stderr) == (65, True)


def test_nasty_21_systemctl_is_asked_in_plain_words_and_its_warnings_are_no_failures(home: Home) -> None:
    wrapper = home.path / "bin/systemctl"
    real = wrapper.rename(home.path / "bin/systemctl.real")
    wrapper.write_text(
        f"#!/bin/sh\nenv > {home.path}/asked\n"
        "echo 'Warning: The unit file, source configuration file or drop-ins changed on disk.' >&2\n"
        f'exec {shlex.quote(str(real))} "$@"\n'
    )
    wrapper.chmod(0o755)
    home.env = {
        "LANG": "de_DE.UTF-8",
        "LC_ALL": "de_DE.UTF-8",
        "SYSTEMD_COLORS": "1",
        "SYSTEMD_PAGER": "less",
    }
    done = home("install", "--user")
    assert done.code == 0, done.stderr
    asked = (home.path / "asked").read_text().splitlines()
    assert {"LC_ALL=C", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER="} <= set(asked)


@pytest.mark.parametrize("umask", [0o077, 0o000, 0o027])
def test_nasty_22_whatever_the_umask_units_are_0644_and_keys_0600(umask: int, home: Home) -> None:
    (home.path / ".env").write_text("DIFY_API_KEY=app-canary-env-0123456\n")
    before = os.umask(umask)
    try:
        assert home("install", "--user", "--env-file", ".env").code == 0
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.manager.units.glob("dify-job-*")}
    assert modes == {"dify-job-default.service": 0o644, "dify-job-default.timer": 0o644}
    credentials = home.path / "config/dify-job/credentials"
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o700
    assert stat.S_IMODE((credentials / "default.key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "env",
    [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}],
)
def test_nasty_22_in_every_locale_a_description_is_written_as_utf8(env: dict[str, str], home: Home) -> None:
    home.configure(CONFIG + 'description = "Täglich: 日报"\n')
    home.env = env
    assert home("install", "--user").code == 0
    assert "Täglich: 日报" in (home.manager.units / "dify-job-daily.service").read_text(encoding="utf-8")
    assert home("install", "--user", "--dry-run").code == 0


@pytest.mark.parametrize("stdout", ["closed", "full"])
def test_nasty_22_an_install_whose_words_nobody_gets_is_done_and_says_why_it_leaves_with_73(
    stdout: str, home: Home
) -> None:
    done = subprocess.run(
        [
            "sh",
            "-c",
            f'"$0" -c "$1" install --user {">&-" if stdout == "closed" else ">/dev/full"}',
            home.command[0],
            home.command[2],
        ],
        env=home.environ,
        cwd=home.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 73, done.stderr
    assert "standard output cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert home.manager.active() == {"dify-job-daily.timer"}


@pytest.mark.parametrize(
    "table",
    [
        b"0 0 * * * a\r\nMAILTO=x\r\n",
        b"0 0 * * * a",
        b"0 0 * * * \0 b\n",
        b"# \xff\xfe\n\xe9 0 * * *\n",
        b"".join(b"%d 1 * * * x\n" % (number % 60) for number in range(10_000)),
        b"SHELL=/usr/bin/fish\nPATH=/x\nMAILTO=me\n0 0 * * * a\n",
        b"CRON_TZ=Asia/Tokyo\n0 0 * * * a\n",
        b'SHELL=/bin/false\nMAILTO=""\n0 0 * * * a\n',
    ],
    ids=["crlf", "no-last-newline", "nul", "not-utf8", "long", "fish", "cron-tz", "no-shell"],
)
def test_nasty_23_every_byte_of_a_strange_crontab_survives_install_and_uninstall(
    table: bytes, cron_home: Home
) -> None:
    cron_home.table.write_bytes(table)
    done = cron_home("install", "--user")
    assert done.code == 0, done.stderr
    installed = cron_home.table.read_bytes()
    block = re.search(rb"# Managed by dify-job.*# End of dify-job job daily\.\n", installed, re.DOTALL)
    assert block is not None
    end = b"" if table.endswith(b"\n") else b"\n"
    assert installed.replace(block[0], b"") == table + end
    if b"CRON_TZ" in table or b"/bin/false" in table:
        assert installed.startswith(block[0])
    assert cron_home("uninstall", "--user").code == 0
    assert cron_home.table.read_bytes() == table + end


@pytest.mark.parametrize("damage", ["doubled", "half deleted", "not ours"])
def test_nasty_23_marks_that_are_damaged_and_tables_of_others_are_refused_untouched(
    damage: str, cron_home: Home
) -> None:
    cron_home("install", "--user")
    table = cron_home.table.read_bytes()
    match damage:
        case "doubled":
            table += table
        case "half deleted":
            table = b"".join(table.splitlines(keepends=True)[:-1])
        case "not ours":
            table = b"# DO NOT EDIT: written by ansible\n0 0 * * * a\n"
    cron_home.table.write_bytes(table)
    done = cron_home("install", "--user", "--every", "3h")
    assert done.code == 78
    assert "crontab" in done.stderr
    assert cron_home.table.read_bytes() == table


def test_nasty_24_a_crontab_that_may_not_be_read_is_never_taken_for_empty(cron_home: Home) -> None:
    home = cron_home
    home.table.write_bytes(b"0 0 * * * mine\n")
    install_programs(
        home.path, home.path / "bin", refusal="You (maria) are not allowed to use this program (crontab)"
    )
    for command in (("install", "--user"), ("pause", "daily", "--user"), ("uninstall", "daily", "--user")):
        done = home(*command)
        assert done.code in (0, 78)
        assert home.table.read_bytes() == b"0 0 * * * mine\n"
    assert "cron.allow and cron.deny" in home("install", "--user").stderr


@pytest.fixture
def cron_d(tmp_path: Path) -> tuple[CronFiles, Path]:
    directory = tmp_path / "cron.d"
    directory.mkdir(mode=0o755)
    scheduler = CronFiles(directory)
    scheduler._base = tmp_path / "state"
    return scheduler, directory


def test_nasty_25_a_file_for_cron_has_a_name_that_no_cron_passes_over(cron_d: tuple[CronFiles, Path]) -> None:
    scheduler, directory = cron_d
    scheduler.install([plan("daily-report_2")], InstallOptions())
    (file,) = directory.iterdir()
    assert re.fullmatch("[A-Za-z0-9_-]+", file.name)  # Debian's rule, the strictest (cron(8))
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.read_bytes().endswith(b"\n")


def test_nasty_25_a_cron_d_that_others_can_write_and_a_cron_that_does_not_run_are_told(
    cron_d: tuple[CronFiles, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, directory = cron_d
    monkeypatch.setattr("dify_job.schedulers.crond.is_running", lambda: False)
    directory.chmod(0o775)
    (change,) = scheduler.install([plan()], InstallOptions())
    assert any("chmod go-w /etc/cron.d" in note for note in change.notes)
    assert any("the cron daemon does not run" in note for note in change.notes)
    (one,) = scheduler.status()
    assert (one.enabled, one.paused) == (False, False)
    assert "the cron daemon does not run" in one.problems[0]
    assert (change.enabled, change.arm) == (False, (crond.start_command(),))
    scheduler.pause("daily", paused=True)
    resumed = scheduler.pause("daily", paused=False)
    assert (resumed.enabled, resumed.arm) == (False, (crond.start_command(),))


@pytest.mark.parametrize(
    ("there", "booted", "command"),
    [
        ((), True, "apt-get install cron"),
        (("cron", "service"), False, "service cron start"),
        (("cron", "service"), True, "systemctl enable --now cron"),
        (("crond",), True, "systemctl enable --now crond"),
        (("crond",), False, "crond"),
    ],
)
def test_nasty_25_a_cron_that_does_not_run_is_started_as_this_machine_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], booted: bool, command: str
) -> None:
    for name in there:
        (tmp_path / name).touch()
    monkeypatch.setattr(crond, "_SBIN", (tmp_path,))
    monkeypatch.setattr("dify_job.system.subprocesses.found", lambda _: False)
    monkeypatch.setattr("dify_job.schedulers.systemctl.is_booted", lambda: booted)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert crond.start_command() == command
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert crond.start_command() == f"sudo {command}"


def test_nasty_05_state_that_cannot_be_purged_is_told(home: Home) -> None:
    home("install", "--user")
    state = home.path / "state/dify-job/daily"
    state.mkdir(parents=True, exist_ok=True)
    home.first = (
        "import errno, os, shutil\n"
        "def refuse(path): raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))\n"
        "shutil.rmtree = refuse"
    )
    done = home("uninstall", "--user", "--purge")
    assert done.code == 73
    assert f"{state} could not be removed: Read-only file system" in done.stderr
    assert "findmnt -T" in done.stderr


def test_nasty_05_a_cron_d_that_is_read_only_is_told_by_pause_and_uninstall_and_nothing_is_changed(
    cron_d: tuple[CronFiles, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cron, directory = cron_d
    cron.install([plan("daily"), plan("weekly")], InstallOptions())
    before = {file.name: file.read_bytes() for file in directory.iterdir()}
    real = os.unlink

    def refuse(*words: Any, **named: Any) -> None:
        if "daily" in str(words[0]):
            return real(*words, **named)
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(words[0]))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(JobError, match="Read-only file system; nothing was changed") as refused:
        cron.pause("weekly", paused=True)
    assert refused.value.outcome is Outcome.CANNOT_WRITE
    monkeypatch.undo()
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(JobError, match="Read-only file system; nothing was changed"):
        cron.uninstall(["daily", "weekly"])
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == before


def test_nasty_25_a_link_in_cron_d_is_neither_followed_nor_replaced(cron_d: tuple[CronFiles, Path]) -> None:
    scheduler, directory = cron_d
    target = directory.parent / "precious"
    target.write_text("precious")
    (directory / "dify-job-daily").symlink_to(target)
    with pytest.raises(JobError, match="exists and is not dify-job's"):
        scheduler.install([plan()], InstallOptions())
    scheduler.uninstall(["daily"])
    assert target.read_text() == "precious"
    assert (directory / "dify-job-daily").is_symlink()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--cron", "*/90 * * * *"), 65, 'you may mean every = "90min"'),
        (("--cron", "0 0 30 2 *"), 65, "never comes"),
        (("--cron", "@reboot"), 65, "start a run at each boot"),
        (("--calendar", "2020-01-01"), 65, "never"),
        (("--every", "7h"), 0, "exact without that: 6h or 8h"),
        (("--cron", "0 9 1,15 * 5"), 0, "daily is armed"),
        (("--calendar", "02:30", "--timezone", "Europe/Berlin"), 0, "clocks go forward in Europe/Berlin"),
        (("--calendar", "07:00", "--timezone", "Europe/Kiev"), 0, "daily is armed"),
        (("--calendar", "07:00", "--timezone", "Europe/Nowhere"), 64, "is not a time zone of this machine"),
    ],
)
def test_nasty_26_a_schedule_is_kept_or_refused_with_what_to_do(
    words: tuple[str, ...], code: int, told: str, home: Home
) -> None:
    done = home("install", "--user", *words)
    assert done.code == code, done.stderr
    assert told in done.stdout + done.stderr
    if words[1] == "0 9 1,15 * 5":
        assert (home.manager.units / "dify-job-daily.timer").read_text().count("OnCalendar=") == 2


def test_nasty_26_a_machine_without_zone_data_says_that_it_lacks_the_zone(home: Home) -> None:
    home.env = {"PYTHONTZPATH": "/nowhere"}
    done = home("install", "--user", "--calendar", "07:00", "--timezone", "Asia/Shanghai")
    assert done.code == 64
    assert "'Asia/Shanghai' is not a time zone of this machine" in done.stderr
    assert home("install", "--user").code == 0


@pytest.mark.parametrize("fault", ["others", "foreign", "directory"])
def test_nasty_28_root_does_not_install_what_others_can_change(fault: str, home: Home) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root refuses it")
    config = home.path / "config/dify-job/config.toml"
    match fault:
        case "others":
            config.chmod(0o666)
        case "foreign":
            os.chown(config, 65_534, 65_534)
        case "directory":
            config.parent.chmod(0o777)
    done = home("install", "--user")
    assert done.code == 78
    assert "root does not run what others can change" in done.stderr
    assert not home.manager.units.exists()


def test_the_thirty_nasty_cases_have_a_test_each() -> None:
    named = {
        int(number)
        for file in Path(__file__).parents[1].rglob("test_*.py")
        for number in re.findall(r"def test_nasty_(\d\d)_", file.read_text())
    }
    assert named == set(range(1, 31))
