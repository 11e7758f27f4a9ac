"""Checks of doctor about the environment of a job: the caller's shell, other scopes, the machine."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.fake_dify.apps import App
from tests.support.fixes import command_in
from tests.support.socket_server import SocketServer, read_request

from .conftest import Host
from .test_doctor import SERVICE, TIMER, WITHOUT_SYSTEMD, DoctorCase, _reset_host, archive, case, cron_case  # noqa: F401 - fixtures
from .test_user_units import Login, alice  # noqa: F401 - a fixture


class Proxy(SocketServer):
    """An HTTP proxy: forwards plain http requests, which name the whole URL."""

    def __init__(self) -> None:
        super().__init__()
        self.url = self.base_url.removesuffix("/v1")
        self.seen: list[str] = []

    def serve(self, client: socket.socket, number: int) -> None:  # noqa: ARG002 - of the contract
        request = read_request(client)
        line, _, rest = request.partition(b"\r\n")
        method, url, _ = line.decode().split()
        self.seen.append(f"{method} {url}")
        with socket.create_connection(("127.0.0.1", urlsplit(url).port)) as server:
            server.sendall(f"{method} {urlsplit(url).path} HTTP/1.1\r\n".encode() + rest)
            while part := server.recv(65536):
                client.sendall(part)


@pytest.fixture
def named(case: DoctorCase) -> Iterator[str]:  # noqa: F811
    """URL of the server by a name that does not mean loopback, so that proxies and TLS matter."""
    hosts = case.host.machine.read("/etc/hosts")
    case.host.machine.write("/etc/hosts", hosts + "127.0.0.1 dify.test\n")
    yield case.host.server.base_url.replace("127.0.0.1", "dify.test")
    case.host.machine.write("/etc/hosts", hosts)


def set_base_url(case: DoctorCase, url: str) -> None:  # noqa: F811
    """Set base_url in the config."""
    text = case.host.machine.read("/etc/dify-job/config.toml").splitlines()
    text[1] = f'base_url = "{url}"'
    case.host.machine.write("/etc/dify-job/config.toml", "\n".join(text) + "\n")


def test_interpreter_of_the_unit_without_apprise(case: DoctorCase) -> None:  # noqa: F811
    """doctor's own interpreter has apprise, but the job was installed from another one."""
    other, urls = "/opt/other/bin/python", "/etc/dify-job/notify.urls"
    case.host.machine.write(urls, "json://127.0.0.1:9\n", 0o600)
    case.host.job(f'calendar = "yearly"\nnotify = {{ on_failure = ["apprise-url-from-file:{urls}"] }}')
    case.host("install")
    case.host.run("sh", "-ec", (
        "/opt/dify-job/bin/python -m venv --without-pip /opt/other; "
        "cd /opt/other/lib/python3*/site-packages; "
        f"for each in {case.site}/*; do case $each in *apprise*) ;; *) ln -s $each .; esac; done; "
        "cd $(python3 -c 'import site; print(site.getsitepackages()[0])'); "
        "ls /opt/test-wheels/pip-*.whl >pip-of-tests.pth"
    ))  # fmt: skip
    case.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/opt/test-wheels"}
    install = case.sh(f"{other} -P -m dify_job install daily")
    fix = case.assert_found_and_fixed(
        "notify",
        "warn",
        f"nobody will be notified: the Python environment of {other} does not contain apprise",
        install,
    )
    assert fix == f"python3 -m pip --python {other} install apprise"
    case.host("uninstall", "--all")
    case.host.run("rm", "-r", "/opt/other")


def test_doctor_of_another_installation_checks_the_interpreter_of_the_unit(case: DoctorCase) -> None:  # noqa: F811
    """Only root can read doctor's interpreter; the job's user can read that of the unit."""
    case.host.run("sh", "-ec", (
        "mkdir -m 700 /root/own; /opt/dify-job/bin/python -m venv --without-pip /root/own/venv; "
        f"cd /root/own/venv/lib/python3*/site-packages; ln -s {case.site}/* ."
    ))  # fmt: skip
    ran = case.host.run("/root/own/venv/bin/python", "-m", "dify_job", "doctor", "daily")
    assert "/opt/dify-job/bin/python, dify-job" in ran.stdout
    assert "; this command runs with /root/own/venv/bin/python" in ran.stdout
    case.host.run("rm", "-r", "/root/own")


@pytest.mark.parametrize(
    ("run_as", "line", "check", "why"),
    [
        (
            "alice",
            'output = {{ file = "{}/r.json" }}',
            "output",
            "systemd gives the service a private /tmp, so the service does not see this path",
        ),
        (
            "alice",
            'files = {{ doc = "{}/in" }}',
            "files",
            "systemd gives the service a private /tmp, so the service does not see this path",
        ),
        ("root", 'output = {{ file = "{}/r.json" }}', "output", "belongs to alice"),
    ],
)
def test_paths_that_the_sandbox_hides_are_refused_and_reported(
    case: DoctorCase,  # noqa: F811
    run_as: str,
    line: str,
    check: str,
    why: str,
) -> None:
    """The unit has PrivateTmp= and a root user without capabilities; cron has neither."""
    place = "/tmp/of-alice" if run_as == "alice" else "/srv/out/of-alice"
    case.host.run("sh", "-ec", f"install -d -o alice {place}; echo x >{place}/in")
    case.host.server.apps["app-doc"] = App("app-doc", form=({"file": {"variable": "doc"}},))
    case.host("uninstall", "--all")
    case.host.job(f'calendar = "yearly"\nrun_as = "{run_as}"\n{line.format(place)}', key="app-doc")
    refused = case.host("install", check=False)
    assert refused.code in (73, 78)
    assert why in refused.stderr
    if run_as == "alice":
        assert "such as one below /srv" in refused.stderr
    level, message, _ = case.doctor()[check]
    assert (level, why in message) == ("fail", True), message
    keys = "/etc/dify-job/credentials"  # a job under cron reads them itself
    case.host.run("sh", "-ec", f"chmod 755 {keys}; chown {run_as} {keys}/*")
    case.host("install", "--backend", "cron")
    assert why not in case.doctor().get(check, ("", ""))[1]
    case.host.run("rm", "-r", place)


def test_proxy_that_only_the_shell_of_the_caller_has(case: DoctorCase, named: str) -> None:  # noqa: F811
    set_base_url(case, named)
    with Proxy() as proxy:
        case.assert_found_and_fixed(
            "environment",
            "warn",
            "scheduled runs do not get the environment variable HTTP_PROXY, even if your shell sets it",
            lambda: case.env.update(HTTP_PROXY=proxy.url),
        )
        case.host.run("systemctl", "start", SERVICE)
        assert proxy.seen[-1] == f"POST {named}/workflows/run"
    case.host.run("rm", "-r", f"/etc/systemd/system/{SERVICE}.d")


def test_key_sent_unencrypted(case: DoctorCase, named: str) -> None:  # noqa: F811
    """The fix names the line of the config to edit."""
    before = case.host.server.base_url
    fix = case.assert_found_and_fixed(
        "tls",
        "warn",
        "the API key is sent to dify.test without encryption",
        lambda: set_base_url(case, named),
        edit=lambda: set_base_url(case, before),
    )
    assert fix == "set base_url to an https:// address in /etc/dify-job/config.toml:2"


def test_host_not_booted_with_systemd_uses_cron(case: DoctorCase) -> None:  # noqa: F811
    case.inside = WITHOUT_SYSTEMD
    level, message, fix = case.doctor()["backend"]
    assert (level, message) == (
        "fail",
        "this machine was not booted with systemd",
    )
    case.paste(command_in(fix))
    after = case.doctor()
    assert (after["backend"][0], after["enabled"][1]) == ("ok", "cron starts the job")
    assert not case.host.machine.exists(f"/etc/systemd/system/{TIMER}"), (
        "a second installation would run it twice"
    )


SYSLOG = """\
import os, socket
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
os.path.lexists("/dev/log") and os.unlink("/dev/log")
log.bind("/dev/log")
if os.fork() == 0:
    os.setsid()
    [os.close(n) for n in (0, 1, 2)]
    while True:
        with open("/var/log/of-tests", "ab") as file:
            file.write(log.recv(9000) + bytes((10,)))
"""


def test_no_journal_and_no_syslog(cron_case: DoctorCase) -> None:  # noqa: F811
    """Start the run like cron does; it logs to the file that doctor names."""
    machine, cron_case.inside = cron_case.host.machine, WITHOUT_SYSTEMD
    machine.write("/srv/syslog.py", SYSLOG)
    daemon = "/opt/dify-job/bin/python /srv/syslog.py"
    starts = f"printf '#!/bin/sh\\n{daemon}\\n' >DEBIAN/postinst; chmod +x DEBIAN/postinst"
    archive(cron_case, "rsyslog", starts, "srv")
    tick = machine.read("/etc/cron.d/dify-job-daily").splitlines()[-1].partition(" root ")[2]

    def logs_to(path: str) -> None:
        cron_case.host.run(*WITHOUT_SYSTEMD, "sh", "-c", tick)
        cron_case.host.wait(lambda: "workflow succeeded" in machine.read(path))

    level, message, fix = cron_case.doctor()["journal"]
    assert (level, message) == (
        "warn",
        "this machine has neither a journal nor syslog, so the log of each run is lost",
    )
    cron_case.paste(command_in(fix))
    assert cron_case.doctor()["journal"][:2] == ("ok", "this machine has no journal; the log goes to syslog")
    logs_to("/var/log/of-tests")
    cron_case.host.run("pkill", "-f", daemon)
    assert cron_case.doctor()["journal"][0] == "warn", "nobody reads the socket that a daemon left behind"
    cron_case.host.job('calendar = "yearly"\nlog_file = "/srv/logs/daily.log"')
    level, _, fix = cron_case.doctor()["journal"]
    assert (level, fix) == ("warn", "mkdir -p /srv/logs")
    cron_case.paste(command_in(fix))
    assert cron_case.doctor()["journal"][0] == "ok"
    logs_to("/srv/logs/daily.log")
    back = "dpkg --purge rsyslog; ln -sfn /run/systemd/journal/dev-log /dev/log; rm /var/log/of-tests"
    cron_case.host.run("sh", "-ec", back)


def test_journal_that_is_stopped_or_stores_nothing(case: DoctorCase) -> None:  # noqa: F811
    halt = "systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service"
    case.assert_found_and_fixed("journal", "warn", "journald is not running", case.sh(halt))
    drop_in = "/etc/systemd/journald.conf.d/none.conf"
    store_nothing = f"mkdir -p /etc/systemd/journald.conf.d; printf '[Journal]\\nStorage=none\\n' >{drop_in}"
    restart = "systemctl restart systemd-journald"
    case.assert_found_and_fixed(
        "journal", "warn", "journald stores no logs (Storage=none)", case.sh(f"{store_nothing}; {restart}")
    )
    case.host.run("sh", "-ec", f"rm -r /etc/systemd/journald.conf.d; {restart}")


def test_empty_mailto_in_a_crontab(host: Host, alice: Login) -> None:  # noqa: F811
    _reset_host(host)
    host.machine.write("/usr/sbin/sendmail", "#!/bin/sh\ncat >/dev/null\n", 0o755)
    alice.configure()
    host.run("crontab", "-u", "alice", "-", stdin='MAILTO=""\n1 1 1 1 * true\n')
    alice("install", "--backend", "cron", "--env-file", ".env")
    own = DoctorCase(host, "alice", job="default")
    level, message, fix = own.doctor()["mail"]
    assert (level, "because MAILTO is empty above" in message) == ("warn", True)
    editor = "#!/bin/sh\nsleep 1.1\nsed -i 's/^MAILTO=.*/MAILTO=alice/' \"$1\"\n"
    host.machine.write("/srv/editor", editor, 0o755)
    own.env["EDITOR"] = "/srv/editor"
    own.paste(command_in(fix))
    assert own.doctor()["mail"][0] == "ok"
    host.run("rm", "/usr/sbin/sendmail", "/srv/editor")


def test_job_installed_in_both_scopes(host: Host, alice: Login) -> None:  # noqa: F811
    """Both from one config; doctor reports it to the user, with the command for root."""
    _reset_host(host)
    host.job('calendar = "yearly"\nrun_as = "alice"')
    host.run("sh", "-ec", "cd /etc/dify-job/credentials; chmod 711 .; chown alice *")
    alice("--config", "/etc/dify-job/config.toml", "install")
    own = DoctorCase(host, "alice", flags=("--config", "/etc/dify-job/config.toml"))
    assert own.doctor()["enabled"][0] == "ok"
    host("install")
    level, message, fix = own.doctor()["units"]
    assert (level, message) == (
        "fail",
        "the job is installed twice (systemd (user) and systemd (system)), so it runs twice each time",
    )
    assert fix == "sudo dify-job uninstall daily --backend systemd --system"
    own.paste(fix)
    after = own.doctor()
    assert (after["units"][0], after["enabled"][0]) == ("ok", "ok")
    assert not host.machine.exists(f"/etc/systemd/system/{TIMER}")


def test_hanging_manager_delays_doctor_and_status_less_than_half_a_minute(case: DoctorCase) -> None:  # noqa: F811
    """SIGSTOP imitates a frozen PID 1; each query of nss-systemd(8) then waits 45 s."""
    case.host.job('calendar = "yearly"\nrun_as = "alice"')
    case.host.run("chown", "alice", "/etc/dify-job/credentials/daily.key")
    case.host("install")
    os.kill(case.host.machine.leader, signal.SIGSTOP)
    try:
        began = time.monotonic()
        level, message, _ = case.doctor()["backend"]
        assert (level, "does not respond" in message) == ("fail", True)
        assert time.monotonic() - began < 30
        began = time.monotonic()
        status = case.host("status", "daily", check=False)
        assert time.monotonic() - began < 30
    finally:
        os.kill(case.host.machine.leader, signal.SIGCONT)
    assert status.code == 1, status.stdout
    assert "the system service manager of systemd does not respond: " in status.stdout
    assert {line[0] for line in case.doctor().values()} == {"ok"}
