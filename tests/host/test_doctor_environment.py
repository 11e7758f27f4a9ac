"""Checks of doctor about what surrounds a job: the shell of the caller, other scopes, the machine."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.accepting import Accepting, read_request
from tests.support.fake_dify.apps import App
from tests.support.fixes import command_in

from .conftest import Host
from .test_doctor import SERVICE, TIMER, WITHOUT_SYSTEMD, Ward, _tidy, archive, by_cron, ward  # noqa: F401 - fixtures
from .test_user_units import Login, alice  # noqa: F401 - a fixture


class Proxy(Accepting):
    """Passes plain http on, as a proxy is asked for it: by the whole URL."""

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
def named(ward: Ward) -> Iterator[str]:  # noqa: F811
    """The server by a name that is not loopback's, to which a run would go directly and in the clear."""
    hosts = ward.host.machine.read("/etc/hosts")
    ward.host.machine.write("/etc/hosts", hosts + "127.0.0.1 dify.test\n")
    yield ward.host.server.base_url.replace("127.0.0.1", "dify.test")
    ward.host.machine.write("/etc/hosts", hosts)


def call_it(ward: Ward, url: str) -> None:  # noqa: F811
    """Write that address into the config."""
    text = ward.host.machine.read("/etc/dify-job/config.toml").splitlines()
    text[1] = f'base_url = "{url}"'
    ward.host.machine.write("/etc/dify-job/config.toml", "\n".join(text) + "\n")


def test_interpreter_of_the_unit_without_apprise(ward: Ward) -> None:  # noqa: F811
    """doctor's own interpreter has it, and the job was installed from another."""
    other, urls = "/opt/other/bin/python", "/etc/dify-job/notify.urls"
    ward.host.machine.write(urls, "json://127.0.0.1:9\n", 0o600)
    ward.host.job(f'every = "1h"\nnotify = {{ on_failure = ["apprise-url-from-file:{urls}"] }}')
    ward.host("install")
    ward.host.run("sh", "-ec", (
        "/opt/dify-job/bin/python -m venv --without-pip /opt/other; "
        "cd /opt/other/lib/python3*/site-packages; "
        f"for each in {ward.site}/*; do case $each in *apprise*) ;; *) ln -s $each .; esac; done; "
        "cd $(python3 -c 'import site; print(site.getsitepackages()[0])'); "
        "ls /opt/of-tests/pip-*.whl >pip-of-tests.pth"
    ))  # fmt: skip
    ward.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/opt/of-tests"}
    install = ward.sh(f"{other} -P -m dify_job install daily")
    told = ward.sees("notify", "warn", f"nobody will be notified: {other} has no apprise", install)
    assert told == f"python3 -m pip --python {other} install apprise"
    ward.host("uninstall", "--all")
    ward.host.run("rm", "-r", "/opt/other")


def test_doctor_of_another_installation_checks_the_interpreter_of_the_unit(ward: Ward) -> None:  # noqa: F811
    """Its own interpreter is root's alone; the unit's is where its user gets to it."""
    ward.host.run("sh", "-ec", (
        "mkdir -m 700 /root/own; /opt/dify-job/bin/python -m venv --without-pip /root/own/venv; "
        f"cd /root/own/venv/lib/python3*/site-packages; ln -s {ward.site}/* ."
    ))  # fmt: skip
    ran = ward.host.run("/root/own/venv/bin/python", "-m", "dify_job", "doctor", "daily")
    assert "/opt/dify-job/bin/python, dify-job" in ran.stdout
    assert "; this is /root/own/venv/bin/python" in ran.stdout
    ward.host.run("rm", "-r", "/root/own")


@pytest.mark.parametrize(
    ("run_as", "line", "check", "why"),
    [
        ("alice", 'output = {{ file = "{}/r.json" }}', "output", "a service has a /tmp of its own"),
        ("alice", 'files = {{ doc = "{}/in" }}', "files", "a service has a /tmp of its own"),
        ("root", 'output = {{ file = "{}/r.json" }}', "output", "belongs to alice"),
    ],
)
def test_paths_that_the_sandbox_hides_are_refused_and_reported(
    ward: Ward,  # noqa: F811
    run_as: str,
    line: str,
    check: str,
    why: str,
) -> None:
    """PrivateTmp=, and root without capabilities; cron keeps neither."""
    place = "/tmp/of-alice" if run_as == "alice" else "/srv/out/of-alice"
    ward.host.run("sh", "-ec", f"install -d -o alice {place}; echo x >{place}/in")
    ward.host.server.apps["app-doc"] = App("app-doc", form=({"file": {"variable": "doc"}},))
    ward.host("uninstall", "--all")
    ward.host.job(f'every = "1h"\nrun_as = "{run_as}"\n{line.format(place)}', key="app-doc")
    refused = ward.host("install", check=False)
    assert refused.code in (73, 78)
    assert why in refused.stderr
    if run_as == "alice":
        assert "put it elsewhere" in refused.stderr
    level, said, _ = ward.doctor()[check]
    assert (level, why in said) == ("fail", True), said
    keys = "/etc/dify-job/credentials"  # which cron's job reads itself
    ward.host.run("sh", "-ec", f"chmod 755 {keys}; chown {run_as} {keys}/*")
    ward.host("install", "--backend", "cron")
    assert why not in ward.doctor().get(check, ("", ""))[1]
    ward.host.run("rm", "-r", place)


def test_proxy_that_only_the_shell_of_the_caller_has(ward: Ward, named: str) -> None:  # noqa: F811
    call_it(ward, named)
    with Proxy() as proxy:
        ward.sees(
            "environment",
            "warn",
            "HTTP_PROXY: your shell may set it, but nothing sets it",
            lambda: ward.env.update(HTTP_PROXY=proxy.url),
        )
        ward.host.run("systemctl", "start", SERVICE)
        assert proxy.seen[-1] == f"POST {named}/workflows/run"
    ward.host.run("rm", "-r", f"/etc/systemd/system/{SERVICE}.d")


def test_key_sent_unencrypted(ward: Ward, named: str) -> None:  # noqa: F811
    """The line names the place in the config, where a person writes another address."""
    before = ward.host.server.base_url
    told = ward.sees(
        "tls",
        "warn",
        "the key goes to dify.test unencrypted",
        lambda: call_it(ward, named),
        edit=lambda: call_it(ward, before),
    )
    assert told == "set base_url to https:// (/etc/dify-job/config.toml:2)"


def test_host_not_booted_with_systemd_uses_cron(ward: Ward) -> None:  # noqa: F811
    ward.inside = WITHOUT_SYSTEMD
    level, said, mend = ward.doctor()["backend"]
    assert (level, said) == ("fail", "systemd is not the service manager that this machine was booted with")
    ward.paste(command_in(mend))
    after = ward.doctor()
    assert (after["backend"][0], after["armed"][1]) == ("ok", "by cron")
    assert not ward.host.machine.exists(f"/etc/systemd/system/{TIMER}"), "with both it would run twice"


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


def test_no_journal_and_no_syslog(by_cron: Ward) -> None:  # noqa: F811
    """The run is as cron starts it, and logs where doctor says."""
    machine, by_cron.inside = by_cron.host.machine, WITHOUT_SYSTEMD
    machine.write("/srv/syslog.py", SYSLOG)
    daemon = "/opt/dify-job/bin/python /srv/syslog.py"
    starts = f"printf '#!/bin/sh\\n{daemon}\\n' >DEBIAN/postinst; chmod +x DEBIAN/postinst"
    archive(by_cron, "rsyslog", starts, "srv")
    tick = machine.read("/etc/cron.d/dify-job-daily").splitlines()[-1].partition(" root ")[2]

    def logs_to(path: str) -> None:
        by_cron.host.run(*WITHOUT_SYSTEMD, "sh", "-c", tick)
        by_cron.host.wait(lambda: "workflow succeeded" in machine.read(path))

    level, said, mend = by_cron.doctor()["journal"]
    assert (level, said) == ("warn", "there is neither a journal nor a syslog: the log of a run goes nowhere")
    by_cron.paste(command_in(mend))
    assert by_cron.doctor()["journal"][:2] == ("ok", "none here; the log goes to syslog")
    logs_to("/var/log/of-tests")
    by_cron.host.run("pkill", "-f", daemon)
    assert by_cron.doctor()["journal"][0] == "warn", "a socket that a daemon left behind takes nothing"
    by_cron.host.job('every = "1h"\nlog_file = "/srv/logs/daily.log"')
    level, _, mend = by_cron.doctor()["journal"]
    assert (level, mend) == ("warn", "mkdir -p /srv/logs")
    by_cron.paste(command_in(mend))
    assert by_cron.doctor()["journal"][0] == "ok"
    logs_to("/srv/logs/daily.log")
    back = "dpkg --purge rsyslog; ln -sfn /run/systemd/journal/dev-log /dev/log; rm /var/log/of-tests"
    by_cron.host.run("sh", "-ec", back)


def test_journal_that_is_stopped_or_stores_nothing(ward: Ward) -> None:  # noqa: F811
    halt = "systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service"
    ward.sees("journal", "warn", "journald does not run", ward.sh(halt))
    drop_in = "/etc/systemd/journald.conf.d/none.conf"
    nothing = f"mkdir -p /etc/systemd/journald.conf.d; printf '[Journal]\\nStorage=none\\n' >{drop_in}"
    restart = "systemctl restart systemd-journald"
    ward.sees("journal", "warn", "journald stores nothing", ward.sh(f"{nothing}; {restart}"))
    ward.host.run("sh", "-ec", f"rm -r /etc/systemd/journald.conf.d; {restart}")


def test_empty_mailto_in_a_crontab(host: Host, alice: Login) -> None:  # noqa: F811
    _tidy(host)
    host.machine.write("/usr/sbin/sendmail", "#!/bin/sh\ncat >/dev/null\n", 0o755)
    alice.configure()
    host.run("crontab", "-u", "alice", "-", stdin='MAILTO=""\n1 1 1 1 * true\n')
    alice("install", "--backend", "cron", "--env-file", ".env")
    own = Ward(host, "alice", job="default")
    level, said, mend = own.doctor()["mail"]
    assert (level, said.partition(":")[0]) == ("warn", "MAILTO is empty above its lines")
    editor = "#!/bin/sh\nsleep 1.1\nsed -i 's/^MAILTO=.*/MAILTO=alice/' \"$1\"\n"
    host.machine.write("/srv/editor", editor, 0o755)
    own.env["EDITOR"] = "/srv/editor"
    own.paste(command_in(mend))
    assert own.doctor()["mail"][0] == "ok"
    host.run("rm", "/usr/sbin/sendmail", "/srv/editor")


def test_job_installed_in_both_scopes(host: Host, alice: Login) -> None:  # noqa: F811
    """From one config; to its user doctor says so, and whose the command is."""
    _tidy(host)
    host.job('every = "1h"\nrun_as = "alice"')
    host.run("chown", "-R", "alice", "/etc/dify-job/credentials")
    alice("--config", "/etc/dify-job/config.toml", "install")
    own = Ward(host, "alice", flags=("--config", "/etc/dify-job/config.toml"))
    assert own.doctor()["armed"][0] == "ok"
    host("install")
    level, said, mend = own.doctor()["units"]
    assert (level, said) == ("fail", "installed twice, in systemd (user) and systemd (system): it runs twice")
    assert mend == "sudo dify-job uninstall daily --backend systemd --system"
    own.paste(mend)
    after = own.doctor()
    assert (after["units"][0], after["armed"][0]) == ("ok", "ok")
    assert not host.machine.exists(f"/etc/systemd/system/{TIMER}")


def test_hanging_manager_delays_doctor_and_status_less_than_half_a_minute(ward: Ward) -> None:  # noqa: F811
    """PID 1 of the host is stopped, as a frozen one is; each question to nss-systemd(8) waits 45 s for it."""
    ward.host.job('every = "1h"\nrun_as = "alice"')
    ward.host.run("chown", "alice", "/etc/dify-job/credentials/daily.key")
    ward.host("install")
    os.kill(ward.host.machine.leader, signal.SIGSTOP)
    try:
        began = time.monotonic()
        level, said, _ = ward.doctor()["backend"]
        assert (level, "does not answer" in said) == ("fail", True)
        assert time.monotonic() - began < 30
        began = time.monotonic()
        status = ward.host("status", "daily", check=False)
        assert time.monotonic() - began < 30
    finally:
        os.kill(ward.host.machine.leader, signal.SIGCONT)
    assert status.code == 1, status.stdout
    assert "the system manager of systemd does not answer: dify-job doctor daily" in status.stdout
    assert {line[0] for line in ward.doctor().values()} == {"ok"}
