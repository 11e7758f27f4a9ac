"""Installing on hosts that lack something or have an unusual configuration."""

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

import pytest

import dify_job
from dify_job.checks.user_access import denied_access
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from dify_job.schedulers import access, systemctl, units
from dify_job.schedulers.model import Scope
from dify_job.schedulers.systemd import Systemd
from tests.support.command import KEY
from tests.support.fake_dify.server import FakeDify
from tests.support.fake_manager import install_programs
from tests.support.home import CONFIG, Home
from tests.support.job_specs import install, job_spec


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
def test_invalid_job_name_is_rejected_with_the_pattern(name: str, home: Home) -> None:
    home.configure(CONFIG.replace("daily", f'"{name}"'))
    done = home("install", "--user")
    assert done.code == 78
    assert "use at most 48 characters of a-z, 0-9, - and _" in done.stderr
    assert not home.manager.units.exists()


@pytest.mark.parametrize("name", ["a b", "100%", "$HOME", "a'b", 'a"b', "a\\b", "a;b", "a\nb", "ü"])
def test_unusual_config_path_is_quoted_for_systemd_and_rejected_for_cron(name: str, home: Home) -> None:
    config = home.path / name / "config.toml"
    config.parent.mkdir()
    config.write_text(CONFIG.replace("{home}", str(home.path)))
    done = home("--config", str(config), "install", "--user")
    assert done.code == 0, done.stderr
    unit = (home.manager.units / "dify-job-daily.service").read_text()
    assert (
        f" --config {units.quoted(str(config))} daily\n" in unit
    )  # tests/unit/schedulers/test_units.py unquotes it like systemd
    (row,) = home("--config", str(config), "status", "--user", "--json").result["jobs"]
    assert (row["sync"], row["config"]) == ("as configured", str(config))
    home("uninstall", "--all", "--user")
    refused = home("--config", str(config), "install", "--user", "--backend", "cron")
    assert refused.code == 78
    assert "a crontab line cannot contain" in refused.stderr
    assert not home.table.exists()


def test_config_path_that_is_not_utf8_is_rejected_by_both(home: Home) -> None:
    config = os.fsencode(home.path) + b"/\xff.toml"
    with open(config, "w") as file:  # noqa: PTH123 - a name of bytes
        file.write(CONFIG.replace("{home}", str(home.path)))
    for backend in ("systemd", "cron"):
        done = home("--config", os.fsdecode(config), "install", "--user", "--backend", backend)
        assert done.code == 78, done.stderr
        words = "cannot be used in a unit" if backend == "systemd" else "a crontab line cannot contain"
        assert words in done.stderr


def test_input_values_reach_dify_unchanged_and_are_in_no_unit(home: Home, server: FakeDify) -> None:
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


@pytest.mark.parametrize(
    "where", ["the Python interpreter", "the Python environment", "the configuration file"]
)
def test_path_that_the_service_user_cannot_access_is_reported(
    where: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    top = Path(tempfile.mkdtemp())  # other users can enter it, unlike tmp_path
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
    monkeypatch.setattr(access, "PRIVATE_TMP", ())
    monkeypatch.setattr(sys, "prefix", str(closed if where == "the Python environment" else "/usr"))
    python = program if where == "the Python interpreter" else Path("/usr/bin/python3")
    monkeypatch.setattr(sys, "executable", str(python))
    config_path = config if where == "the configuration file" else Path("/etc/hostname")
    denied = denied_access(job_spec(python=python, config_path=config_path), account, key_by_manager=True)
    assert denied is not None
    assert f"reports has no access to {where}" in denied.message
    assert f"{closed} has mode 0750" in denied.message
    assert "run_as" in (denied.fix or "")


def test_status_reports_a_missing_interpreter(home: Home) -> None:
    python = home.path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    home("install", "--user")
    unit = home.manager.units / "dify-job-daily.service"
    unit.write_text(unit.read_text().replace(sys.executable, str(python)))
    assert "no longer exists" not in home("status", "--user").stdout
    python.unlink()
    assert (
        f"the job cannot start, because its Python interpreter {python} no longer exists"
        in home("status", "--user").stdout
    )


def test_read_only_file_system_is_reported_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(systemctl.Manager, "unavailable_reason", lambda _: None)
    real = os.rename

    def refuse(old: str, new: str, **directories: int) -> None:
        if Path(new).suffix in (".service", ".timer"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(new))
        real(old, new, **directories)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(JobError, match=r"Read-only file system; nothing was changed") as refused:
        install(Systemd(Scope.USER), job_spec())
    assert refused.value.outcome is Outcome.CANNOT_WRITE
    assert not list(home.manager.units.glob("dify-job-*"))
    assert home.manager.active() == home.manager.enabled() == set()


def test_missing_systemd_and_cron_is_reported_with_alternatives(cron_home: Home) -> None:
    (cron_home.path / "bin/systemctl").unlink()
    (cron_home.path / "bin/crontab").unlink()
    cron_home.env = {"PATH": str(cron_home.path / "bin")}
    done = cron_home("install", "--user")
    assert done.code == 78
    assert "this machine has no crontab command" in done.stderr
    assert "Traceback" not in done.stderr
    forced = cron_home("install", "--user", "--backend", "systemd")
    assert (forced.code, "systemd is not installed on this machine" in forced.stderr) == (78, True)
    assert cron_home("status", "--user").code == 1


def test_systemctl_without_a_running_systemd_is_not_used(cron_home: Home) -> None:
    assert (cron_home.path / "bin/systemctl").exists()
    done = cron_home("install", "--user")
    assert done.code == 0, done.stderr
    assert cron_home.table.exists()
    assert not cron_home.manager.units.exists()


@pytest.mark.parametrize("state", ["degraded", "starting", "maintenance"])
def test_degraded_system_can_be_installed_to(state: str, home: Home) -> None:
    wrapper = home.path / "bin/systemctl"
    real = wrapper.rename(home.path / "bin/systemctl.real")
    wrapper.write_text(
        f'#!/bin/sh\n[ "$2" = is-system-running ] && {{ echo {state}; exit 1; }}\n'
        f'exec {shlex.quote(str(real))} "$@"\n'
    )
    wrapper.chmod(0o755)
    assert home("install", "--user").code == 0
    assert home.manager.active() == {"dify-job-daily.timer"}


def test_systemd_239_gets_no_newer_directive(home: Home) -> None:
    install_programs(home.path, home.path / "bin", version=239)
    home.configure(CONFIG + 'jitter = "5min"\nmax_late = "10min"\n')
    output = home("install", "--user").stdout
    assert "systemd 239 has no FixedRandomDelay=" in output
    assert "run now    dify-job run daily" in output
    text = "".join(path.read_text() for path in home.manager.units.glob("dify-job-*"))
    for newer in ("LoadCredential", "FixedRandomDelay", "ProtectClock", "RestrictSUIDSGID", "Restart=on"):
        assert newer not in text
    assert home("status", "--user", "--json").result["jobs"][0]["enabled"] is True
    verbs = {line.split()[0] for line in home.manager.log()}
    assert verbs <= {"show", "enable", "daemon-reload", "start"}  # no JSON output, no --machine


def test_install_without_systemd_analyze_warns(home: Home) -> None:
    (home.path / "bin/systemd-analyze").unlink()
    (home.path / "bin/python3").symlink_to("/usr/bin/python3")
    home.env = {"PATH": str(home.path / "bin")}
    done = home("install", "--user")
    assert done.code == 0, done.stderr
    assert "systemd-analyze is not installed, so only dify-job itself checked the units" in done.stdout
    refused = home("install", "--user", "--calendar", "*-02-30")
    assert (refused.code, "no time in the future" in refused.stderr) == (65, True)


def test_systemctl_output_is_parsed_in_english_and_warnings_are_no_failures(home: Home) -> None:
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
def test_any_umask_gives_units_0644_and_keys_0600(umask: int, home: Home) -> None:
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
def test_description_is_written_as_utf8_in_every_locale(env: dict[str, str], home: Home) -> None:
    home.configure(CONFIG + 'description = "Täglich: 日报"\n')
    home.env = env
    assert home("install", "--user").code == 0
    assert "Täglich: 日报" in (home.manager.units / "dify-job-daily.service").read_text(encoding="utf-8")
    assert home("install", "--user", "--dry-run").code == 0


@pytest.mark.parametrize("stdout", ["closed", "full"])
def test_install_with_unwritable_stdout_completes_and_exits_with_73(stdout: str, home: Home) -> None:
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


def test_purge_continues_after_a_failed_removal(home: Home) -> None:
    figures = {job: home.path / f"{job}.prom" for job in ("a", "b", "c")}
    home.configure(
        "".join(
            CONFIG.replace("daily", job) + f'metrics = {{ textfile = "{path}" }}\n'
            for job, path in figures.items()
        )
    )
    home("install", "--user")
    state = home.path / "state/dify-job"
    for job, path in figures.items():
        (state / job).mkdir(parents=True, exist_ok=True)
        (state / job / "history.jsonl").touch()
        path.write_text(f'# HELP dify_job_last_run_success x\ndify_job_last_run_success{{job="{job}"}} 1.0\n')
    home.first = (
        "import errno, os\n"
        "unlink = os.unlink\n"
        "def refuse(path, *, dir_fd=None):\n"
        "    directory = os.readlink(f'/proc/self/fd/{dir_fd}') if dir_fd is not None else ''\n"
        "    where = os.path.join(directory, path)\n"
        "    if where.endswith(('/a/history.jsonl', '/b.prom')):\n"
        "        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)\n"
        "    unlink(path, dir_fd=dir_fd)\n"
        "os.unlink = refuse\n"
    )
    done = home("uninstall", "--all", "--user", "--purge")
    assert done.code == 73
    # from 3.13 on shutil.rmtree names the directory of the file
    assert re.search(r"/a(/history.jsonl)? could not be removed: Read-only file system", done.stderr)
    assert f"{figures['b']} could not be removed: Read-only file system" in done.stderr
    assert "findmnt -T" in done.stderr
    assert [job for job in figures if (state / job).exists()] == ["a"]
    assert [job for job, path in figures.items() if path.exists()] == ["b"]
    home.first = ""
    assert home("uninstall", "a", "b", "--user", "--purge").code == 0
    assert [path for path in (state, *figures.values()) if path.exists()] == []


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("--cron", "*/90 * * * *"), 65, 'perhaps you mean every = "90min"'),
        (("--cron", "0 0 30 2 *"), 65, "day 30 does not exist in month 2"),
        (("--cron", "@reboot"), 65, "@reboot is not supported"),
        (("--calendar", "2020-01-01"), 65, "no time in the future"),
        (("--every", "7h"), 0, "intervals that divide a day evenly: 6h or 8h"),
        (("--cron", "0 9 1,15 * 5"), 0, "daily is enabled"),
        (("--calendar", "02:30", "--timezone", "Europe/Berlin"), 0, "clocks go forward in Europe/Berlin"),
        (("--calendar", "07:00", "--timezone", "Europe/Kiev"), 0, "daily is enabled"),
        (
            ("--calendar", "07:00", "--timezone", "Europe/Nowhere"),
            64,
            "a time zone that this machine does not have",
        ),
    ],
)
def test_schedule_is_installed_or_rejected_with_a_hint(
    words: tuple[str, ...], code: int, expected: str, home: Home
) -> None:
    done = home("install", "--user", *words)
    assert done.code == code, done.stderr
    assert expected in done.stdout + done.stderr
    if words[1] == "0 9 1,15 * 5":
        assert (home.manager.units / "dify-job-daily.timer").read_text().count("OnCalendar=") == 2


def test_missing_zone_data_is_reported(home: Home) -> None:
    home.env = {"PYTHONTZPATH": "/nowhere"}
    done = home("install", "--user", "--calendar", "07:00", "--timezone", "Asia/Shanghai")
    assert done.code == 64
    assert "'Asia/Shanghai', a time zone that this machine does not have" in done.stderr
    assert home("install", "--user").code == 0


@pytest.mark.parametrize("fault", ["others", "foreign", "directory"])
def test_root_does_not_install_files_that_others_can_change(fault: str, home: Home) -> None:
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
    assert "root does not use the configuration file " in done.stderr
    assert not home.manager.units.exists()


@pytest.mark.parametrize("backend", ["systemd", "cron"])
def test_interpreter_that_needs_variables_of_the_shell_is_rejected(
    backend: str, home: Home, tmp_path_factory: pytest.TempPathFactory
) -> None:
    python = tmp_path_factory.mktemp("venv") / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True)
    places = [
        str(Path(dify_job.__file__).parents[1]),
        *(path for path in sys.path if "site-packages" in path),
    ]
    command = [str(python), *home.command[1:], "install", "--user", "--backend", backend]
    env = home.environ | {"PYTHONPATH": os.pathsep.join(places)}
    done = subprocess.run(command, env=env, cwd=home.path, capture_output=True, text=True, check=False)
    assert done.returncode == 78, done.stderr
    assert f"{python} does not find dify-job without the variables" in done.stderr
    assert not home.table.exists()
    assert not home.manager.units.exists()


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        ("run", (69, 73)),
        ("install --user", (73,)),
        ("doctor", (1, 2, 73)),
        ("status", (0, 1)),
        ("uninstall --all --purge --user", (0, 73)),
    ],
)
def test_home_on_a_broken_file_system_is_no_internal_error(
    command: str, codes: tuple[int, ...], home: Home
) -> None:
    """A path that is too long fails like a file system that does not work, whatever is called."""
    places = dict.fromkeys(("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"), "/a" * 3000)
    variables = {"DIFY_API_KEY": "app-canary-0123456789", "XDG_CONFIG_HOME": "/a" * 3000}
    done = home(*command.split(), env=places | variables)
    assert done.code in codes, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["/dev/null", "closed"])
@pytest.mark.parametrize("command", ["run", "install --user", "doctor", "status", "uninstall --all --user"])
def test_home_that_the_caller_cannot_use_is_no_internal_error(command: str, place: str, home: Home) -> None:
    if place == "closed":
        home.first = (
            "import os, pathlib\n"
            "def stat(path, *, follow_symlinks=True, plain=pathlib.Path.stat):\n"
            "    if 'closed' in path.parts: raise PermissionError(13, 'Permission denied', str(path))\n"
            "    return plain(path, follow_symlinks=follow_symlinks)\n"
            "pathlib.Path.stat = stat"
        )
    env = dict.fromkeys(
        ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), f"/{place}".replace("//", "/")
    )
    done = home(*command.split(), env=env | {"DIFY_API_KEY": "app-canary-0123456789"})
    assert done.code != 70, done.stderr
    assert "Traceback" not in done.stderr
    assert "chmod go-w /dev/null" not in done.stderr
    assert "mv /dev/null" not in done.stderr


def test_home_that_is_not_utf8_is_rejected(home: Home) -> None:
    config = home.path / os.fsdecode(b"\xff")
    config.mkdir()
    env = {"DIFY_API_KEY": "app-canary-0123456789", "XDG_CONFIG_HOME": str(config)}
    for backend in ("systemd", "cron"):
        done = home("install", "--user", "--backend", backend, env=env)
        assert done.code == 78, done.stderr
        assert "Traceback" not in done.stderr
    assert list(config.iterdir()) == []


def test_host_without_a_temporary_directory_is_reported(cron_home: Home) -> None:
    cron_home.first = (
        "import tempfile; tempfile.tempdir = None; tempfile._candidate_tempdir_list = lambda: ['/dev/null/x']"
    )
    done = cron_home("install", "--user")
    assert done.code == 73, done.stderr
    assert "no temporary file can be created: No usable temporary directory found" in done.stderr
    assert "set the environment variable TMPDIR" in done.stderr
