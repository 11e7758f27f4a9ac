"""Jobs of a user without root: the user manager, its journal and files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.command_result import CommandResult
from tests.support.receivers import Receiver

from .conftest import CANARY, Host

SERVICE = "dify-job-default.service"


@dataclass
class Login:
    """A user with a running user manager; commands start in the home directory with cron's environment."""

    host: Host
    name: str
    uid: int

    def __call__(self, *args: str, check: bool = True, **env: str) -> CommandResult:
        argv = ("env", "-C", f"/home/{self.name}", "/opt/dify-job/bin/dify-job", *args)
        return self.host.run(*argv, user=self.name, env=env, check=check)

    def run(self, *argv: str, check: bool = True) -> CommandResult:
        bus = {"XDG_RUNTIME_DIR": f"/run/user/{self.uid}"}
        return self.host.run(*argv, user=self.name, env=bus, check=check)

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "--user", "show", "--value", f"--property={name}", unit).stdout.strip()

    def configure(self, *lines: str, key: str = CANARY) -> None:
        """Write the .env of the original system to the home directory."""
        content = (f"DIFY_API_KEY={key}", f"DIFY_BASE_URL={self.host.server.base_url}", *lines)
        self.host.machine.write(f"/home/{self.name}/.env", "\n".join(content) + "\n", 0o600, self.name)


@pytest.fixture
def alice(host: Host) -> Iterator[Login]:
    uid = int(host.run("id", "-u", "alice").stdout)
    host.run("loginctl", "enable-linger", "alice")
    host.wait(lambda: host.run("systemctl", "is-active", f"user@{uid}.service", check=False).code == 0)
    yield Login(host, "alice", uid)
    host("uninstall", "--all", "--purge", user="alice", check=False)
    host.run("loginctl", "disable-linger", "alice")
    host.run("systemctl", "stop", f"user@{uid}.service")
    host.run("crontab", "-u", "alice", "-r", check=False)


@pytest.fixture
def mallory(host: Host) -> Iterator[Login]:
    """A user with a manager as during a login session, without lingering."""
    uid = int(host.run("id", "-u", "mallory").stdout)
    host.run("systemctl", "start", f"user@{uid}.service")
    yield Login(host, "mallory", uid)
    host("uninstall", "--all", "--purge", user="mallory", check=False)
    host.run("systemctl", "stop", f"user@{uid}.service")


def test_user_installs_a_job_from_an_env_file(alice: Login) -> None:
    alice.configure("SCHEDULER_INTERVAL_HOURS=3")
    output = alice("install", "--every", "2h", "--env-file", ".env").stdout
    assert "default: installed, every 2h, enabled" in output
    assert "the API key is stored in /home/alice/.config/dify-job/credentials/default.key" in output
    assert "systemctl --user start dify-job-default.service" in output
    assert "enable-linger" not in output
    assert output.splitlines()[-1] == "default is enabled"
    home = alice.host.machine.root / "home/alice"
    assert (home / ".config/dify-job/credentials/default.key").stat().st_mode & 0o777 == 0o600
    assert alice.host.server.runs == []
    assert "dify-job-default.timer" in alice.run("systemctl", "--user", "list-timers", "--no-pager").stdout
    alice.run("systemctl", "--user", "start", SERVICE)
    [run] = alice.host.server.runs
    alice.host.run("journalctl", "--sync")
    for match in (
        ("--user", "-u", SERVICE),
        (f"--user-unit={SERVICE}",),
        (f"DIFY_WORKFLOW_RUN_ID={run.run_id}",),
    ):
        found = alice.run(
            "journalctl", "-q", "-o", "json", "--no-pager", "DIFY_OUTCOME=succeeded", *match
        ).stdout
        assert run.run_id in found, match
    status = alice.host.status(user="alice")
    assert (status["scope"], status["sync"], status["enabled"]) == ("user", "as configured", True)
    assert status["last"]["outcome"] == "succeeded"
    assert "default: unchanged" in alice("install").stdout
    alice.host.run("rm", "/home/alice/.env")  # the job no longer needs it
    alice.run("systemctl", "--user", "start", SERVICE)
    assert len(alice.host.server.runs) == 2


def test_user_files_belong_to_the_user_and_uninstall_leaves_none(alice: Login) -> None:
    home = alice.host.machine.root / "home/alice"
    before = {str(path) for path in home.rglob("*")}
    alice.configure()
    alice("install", "--env-file", ".env")
    alice.run("systemctl", "--user", "start", SERVICE)
    assert {path.lstat().st_uid for path in home.rglob("*")} == {alice.uid}
    output = alice("uninstall", "--all", "--purge").stdout
    assert "default: uninstalled (systemd)" in output
    alice.host.run("rm", "/home/alice/.env")
    left = {str(path) for path in home.rglob("*") if path.is_file()} - before
    assert left == set()
    assert alice.show(SERVICE, "LoadState") == "not-found"


def test_systemctl_user_stop_stops_the_run_on_the_server(alice: Login) -> None:
    alice.configure(key="app-slow")
    alice("install", "--env-file", ".env")
    alice.run("systemctl", "--user", "start", "--no-block", SERVICE)
    alice.host.wait(lambda: alice.host.server.runs and alice.host.server.runs[0].past)
    alice.run("systemctl", "--user", "stop", SERVICE)
    assert alice.host.server.runs[0].status == "stopped"
    assert alice.show(SERVICE, "ActiveState") == "inactive"
    assert alice.show(SERVICE, "ExecMainStatus") == "143"


def test_user_timer_runs_and_pause_survives_a_reboot_with_lingering(alice: Login) -> None:
    alice.configure()
    alice("install", "--calendar", "*:*:0/2", "--env-file", ".env")
    alice.host.wait(lambda: alice.host.server.runs)
    alice("pause", "default")
    alice.host.machine.stop()
    alice.host.machine.start()
    alice.host.wait(
        lambda: alice.host.run("systemctl", "is-active", f"user@{alice.uid}", check=False).code == 0
    )
    before = len(alice.host.server.runs)
    assert alice.host.status(user="alice")["paused"] is True
    alice("resume", "default")
    alice.host.wait(lambda: len(alice.host.server.runs) > before)


@pytest.mark.parametrize(
    "names",
    [
        ("XDG_CONFIG_HOME",),
        ("XDG_STATE_HOME",),
        ("XDG_DATA_HOME",),
        ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"),
    ],
)
def test_variables_of_the_shell_alone_move_neither_units_nor_state(
    names: tuple[str, ...], alice: Login
) -> None:
    alice.configure()
    shell: dict[str, Any] = {name: f"/home/alice/elsewhere/{name.lower()}" for name in names}
    done = alice("install", "--env-file", ".env", **shell)
    assert done.stdout.splitlines()[-1] == "default is enabled"
    assert alice.show("dify-job-default.timer", "ActiveState") == "active"
    assert alice.show(SERVICE, "FragmentPath") == f"/home/alice/.config/systemd/user/{SERVICE}"
    assert "default: unchanged" in alice("install", "--env-file", ".env", **shell).stdout
    assert alice("install", "--env-file", ".env", "--check", **shell).code == 0
    alice.run("systemctl", "--user", "start", SERVICE)
    [run] = alice.host.server.runs
    for env in (shell, {}):
        [row] = json.loads(alice("status", "--json", check=False, **env).stdout)["jobs"]
        assert (row["job"], row["enabled"], row["last"]["outcome"]) == ("default", True, "succeeded")
        assert run.run_id in alice("history", "default", "--json", **env).stdout
    alice.host.run("systemctl", "restart", f"user@{alice.uid}.service")
    assert alice.show("dify-job-default.timer", "ActiveState") == "active", "found after a new login"
    uninstalled = alice("uninstall", "default", "--purge", **shell).stdout
    assert "default: uninstalled (systemd)" in uninstalled
    home = alice.host.machine.root / "home/alice"
    left = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    assert [path for path in left if "dify-job" in path] == []
    assert alice.show(SERVICE, "LoadState") == "not-found"


def test_shell_with_other_variables_finds_the_run_that_the_timer_started(alice: Login) -> None:
    alice.configure(key="app-slow")
    alice("install", "--env-file", ".env", XDG_STATE_HOME="/home/alice/elsewhere/state")
    alice.run("systemctl", "--user", "start", "--no-block", SERVICE)
    alice.host.wait(lambda: alice.host.server.runs)
    for variables in (
        {"XDG_STATE_HOME": "/home/alice/elsewhere/state"},
        {"XDG_STATE_HOME": "/home/alice/x"},
        {},
    ):
        env: dict[str, Any] = variables
        assert alice("run", "default", check=False, **env).code == 75
    assert len(alice.host.server.runs) == 1
    alice.run("systemctl", "--user", "stop", SERVICE)


def test_install_without_lingering_warns_that_the_job_ends_with_the_login(mallory: Login) -> None:
    mallory.configure()
    output = mallory("install", "--env-file", ".env").stdout
    assert (
        "the job runs only while you are logged in. "
        "To let it run without a login, run: sudo loginctl enable-linger mallory" in output
    )


def test_missing_user_bus_is_reported_with_its_fix(alice: Login) -> None:
    alice.configure()
    for stale in ("/run/user/0", "/nowhere", ""):
        output = alice("install", "--env-file", ".env", XDG_RUNTIME_DIR=stale).stdout
        assert output.splitlines()[-1] == "default is enabled"
    # a user without a manager: su, cron, a container
    host = alice.host
    host.machine.write("/home/mallory/.env", f"DIFY_API_KEY={CANARY}\n", 0o600, "mallory")
    refused = host("install", "--env-file", "/home/mallory/.env", user="mallory", check=False)
    assert refused.code == 78
    assert "you have no user manager" in refused.stderr
    assert "loginctl enable-linger" in refused.stderr
    assert "--backend cron" in refused.stderr
    assert not host.machine.exists("/home/mallory/.config/systemd")
    assert not host.machine.exists("/home/mallory/.config/dify-job"), "a refused install leaves no files"
    assert host("status", user="mallory", check=False).code in (0, 1)


def test_sudo_install_user_is_refused_with_the_command(alice: Login) -> None:
    alice.configure()
    under_sudo = {"SUDO_USER": "alice", "HOME": "/home/alice"}
    env_file = ("--env-file", "/home/alice/.env")
    refused = alice.host("install", "--user", *env_file, env=under_sudo, check=False)
    assert refused.code == 64
    assert "run the command without sudo: dify-job install --user" in refused.stderr
    home = alice.host.machine.root / "home/alice"
    assert {path.lstat().st_uid for path in home.rglob("*")} == {alice.uid}
    # sudo that preserves HOME, without --user: a system job, and no file of root in the user's home
    refused = alice.host("install", *env_file, env=under_sudo, check=False)
    assert {path.lstat().st_uid for path in home.rglob("*")} == {alice.uid}, refused


def test_lingering_is_never_enabled_silently(mallory: Login) -> None:
    mallory.configure()
    for _ in range(2):
        output = mallory("install", "--env-file", ".env").stdout
        assert "sudo loginctl enable-linger mallory" in output
        assert not mallory.host.machine.exists("/var/lib/systemd/linger/mallory")


def test_status_distinguishes_system_and_user_jobs_of_one_name(alice: Login) -> None:
    alice.host.job('calendar = "yearly"')
    alice.host("install")
    argv = ("init", "daily", "--offline", "--base-url", "http://localhost", "--cron", "0 7 * * *")
    bus = {"XDG_RUNTIME_DIR": f"/run/user/{alice.uid}"}
    alice.host(*argv, user="alice", stdin=CANARY)

    def rows() -> list[tuple[str, str, str]]:
        output = alice.host("status", "--json", user="alice", env=bus, check=False).stdout
        found = [(row["scope"], row["sync"], row["schedule"]) for row in json.loads(output)["jobs"]]
        return sorted(found, key=lambda row: row[0] or "")

    roots = ("system", "as configured", "calendar yearly")
    assert rows() == [(None, "not installed", "cron 0 7 * * *"), roots]
    alice.host("install", user="alice", env=bus)
    assert rows() == [roots, ("user", "as configured", "cron 0 7 * * *")]
    alice.host("uninstall", "--all", user="alice", env=bus)
    alice.host.run("rm", "-rf", "/home/alice/.config/dify-job", "/home/alice/.local/state/dify-job")
    assert rows() == [roots]


def test_failure_handler_of_a_user_job_reports_what_the_run_could_not(alice: Login) -> None:
    home = "/home/alice/.config/dify-job"
    with Receiver() as receiver:
        config = (
            f'[jobs.daily]\nbase_url = "{alice.host.server.base_url}"\napi_key_file = "{home}/daily.key"\n'
            f'calendar = "yearly"\nnotify = {{ healthchecks = "{receiver.check}" }}\n'
        )
        alice.run("mkdir", "-p", home)
        alice.host.machine.write(f"{home}/config.toml", config, owner="alice")
        alice.host.machine.write(f"{home}/daily.key", "app-slow\n", 0o600, owner="alice")
        alice("install")
        alice.run("systemctl", "--user", "start", "--no-block", "dify-job-daily.service")
        alice.host.wait(lambda: alice.host.server.runs and receiver.pings, 40)
        alice.run("systemctl", "--user", "kill", "-s", "KILL", "dify-job-daily.service")
        alice.host.wait(lambda: receiver.ends, 40)
    assert [end.what for end in receiver.ends] == ["fail"]
    assert len({ping.rid for ping in receiver.pings}) == 1
    assert "killed" in alice("history", "daily").stdout
    alice("uninstall", "--all")
    units = alice.host.machine.root / "home/alice/.config/systemd/user"
    assert not list(units.glob("dify-job-*"))
