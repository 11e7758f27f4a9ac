"""Each end of a unit is reported exactly once: by the run if it can, else by the failure handler."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

import pytest

from tests.support.receivers import Receiver

from .conftest import CANARY, Host

SERVICE = "dify-job-daily.service"
HANDLER = f"dify-job-notify@{SERVICE}.service"
URLS = "/etc/dify-job/notify.urls"


@dataclass
class Told:
    """An installed job that tells a receiver, and what is done to it."""

    host: Host
    receiver: Receiver
    text: str = ""

    def install(self, key: str = CANARY, more: str = "") -> None:
        urls = "".join(f"json://{self.receiver.address}/hook/{name}\n" for name in ("any",))
        self.host.run("mkdir", "-p", "/etc/dify-job")
        self.host.machine.write(URLS, urls, 0o600)
        lists = "".join(f', on_{name} = ["apprise-url-from-file:{URLS}"]' for name in ("failure", "recovery"))
        self.text = f'every = "1h"\nnotify = {{ healthchecks = "{self.receiver.check}"{lists} }}\n{more}'
        self.host.job(self.text, key=key)
        self.host("install")

    def drop_in(self, text: str) -> None:
        self.host.run("mkdir", "-p", f"/etc/systemd/system/{SERVICE}.d")
        self.host.machine.write(f"/etc/systemd/system/{SERVICE}.d/test.conf", f"[Service]\n{text}\n")
        self.host.run("systemctl", "daemon-reload")

    def start(self, *, wait: bool = True) -> None:
        how = () if wait else ("--no-block",)
        self.host.run("systemctl", "start", *how, SERVICE, check=False)

    def start_and_reach_dify(self) -> None:
        """Start the job, and wait until its run is on record with its id."""
        self.start(wait=False)
        record = ("cat", "/var/lib/dify-job/daily/in-flight.json")

        def has_id() -> bool:
            runs = self.host.server.runs
            return bool(runs) and runs[-1].run_id in self.host.run(*record, check=False).stdout

        self.host.wait(lambda: has_id() and self.receiver.pings, 40)

    def settle(self) -> None:
        """Until the service and its handler, which is queued in the moment of the failure, have ended."""

        def settled() -> bool:
            ended = all(
                self.host.show(u, "ActiveState") in ("failed", "inactive") for u in (SERVICE, HANDLER)
            )
            return ended and "No jobs" in self.host.run("systemctl", "list-jobs").stdout

        self.host.wait(settled, 40)

    @property
    def handled(self) -> bool:
        """Whether the handler was started since the job was installed."""
        return bool(self.host.show(HANDLER, "ExecMainStartTimestamp"))

    def history(self) -> list[str]:
        rows = self.host.run("cat", "/var/lib/dify-job/daily/history.jsonl", check=False).stdout
        return rows.splitlines()


@pytest.fixture
def told(host: Host) -> Iterator[Told]:
    with Receiver() as receiver:
        yield Told(host, receiver)


OOMD = (  # what systemd-oomd does: it marks the control group, and kills what is in it
    "import os; group = '/sys/fs/cgroup/system.slice/{unit}'; "
    "[os.setxattr(group, f'user.oomd_{{what}}', b'1') for what in ('ooms', 'kill')]; "
    "[os.kill(int(pid), 9) for pid in open(group + '/cgroup.procs').read().split()]"
)


def by_oom(told: Told) -> None:
    """By the kernel where the memory controller is ours to use, as cgroup v2 has it; else as systemd-oomd."""
    if "memory" in told.host.run("cat", "/sys/fs/cgroup/cgroup.controllers").stdout:
        told.drop_in("MemoryMax=6M\nMemorySwapMax=0")
        told.start()
        return
    told.start_and_reach_dify()
    told.host.run("python3", "-c", OOMD.format(unit=SERVICE))


def by_kill(told: Told) -> None:
    told.start_and_reach_dify()
    told.host.run("systemctl", "kill", "-s", "KILL", SERVICE)


def by_hanging(told: Told) -> None:
    deaf = "/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'"
    told.drop_in(f"ExecStart=\nExecStart={deaf}\nTimeoutStartSec=2s\nTimeoutStopSec=1s")
    told.start()


def by_interpreter(told: Told) -> None:
    told.drop_in("ExecStart=\nExecStart=/opt/gone/bin/python -P -m dify_job run")
    told.start()


def by_key_file(told: Told) -> None:
    told.host.run("rm", "/etc/dify-job/credentials/daily.key")
    told.start()


def by_config(told: Told) -> None:
    told.host.machine.write("/etc/dify-job/config.toml", "[jobs.daily\n")
    told.start()


@pytest.mark.since(251)  # before it, a handler must ask, and a dynamic user has no bus everywhere
@pytest.mark.parametrize(
    ("come_to", "key", "ping", "words"),
    [
        (by_oom, "app-slow", "fail", "no memory left"),
        (by_kill, "app-slow", "fail", "killed by SIGKILL"),
        (by_hanging, "app-slow", "fail", "did not end in time"),
        (by_interpreter, CANARY, "203", "the interpreter in ExecStart= is missing"),
        (by_key_file, CANARY, "243", "LoadCredential="),
        (by_config, CANARY, "78", "config.toml is not TOML"),
        (Told.start, "app-off", "78", "switched off"),
    ],
)
def test_failure_handler_reports_what_the_run_could_not(
    told: Told, come_to: Callable[[Told], None], key: str, ping: str, words: str
) -> None:
    told.install(key)
    come_to(told)
    told.settle()
    assert [end.what for end in told.receiver.ends] == [ping]
    assert words in told.receiver.ends[0].body
    [message] = told.receiver.told("any")
    assert words in message["message"]
    assert len({one.rid for one in told.receiver.pings}) == 1
    assert UUID(told.receiver.ends[0].rid).hex == told.host.show(SERVICE, "InvocationID") or ping == "fail"
    assert told.handled
    assert len(told.history()) == 1
    last = told.host.status()
    assert words in last["last"]["message"], last
    assert last["failures_in_a_row"] == 1


@pytest.mark.parametrize("come_to", [by_kill, by_interpreter, by_key_file])
def test_failure_that_the_run_could_not_report_is_reported_once(
    told: Told, come_to: Callable[[Told], None]
) -> None:
    told.install("app-slow")
    come_to(told)
    told.settle()
    assert len(told.receiver.ends) == len(told.receiver.told("any")) == len(told.history()) == 1
    assert told.receiver.ends[0].what in ("fail", "203", "243")


@pytest.mark.parametrize(
    ("key", "ping"), [("app-fails", "80"), ("app-wrong", "77"), ("app-unpublished", "78")]
)
def test_failure_that_the_run_can_report_is_reported_once(told: Told, key: str, ping: str) -> None:
    told.install(key)
    told.start()
    told.settle()
    assert [one.what for one in told.receiver.pings] == ["start", ping]
    assert len(told.receiver.told("any")) == 1


def test_stop_and_timeout_are_reported_by_the_run(told: Told) -> None:
    told.install("app-slow")
    told.start_and_reach_dify()
    told.host.run("systemctl", "stop", SERVICE)
    told.settle()
    assert [end.what for end in told.receiver.ends] == ["143"]
    assert not told.receiver.told("any")[1:]
    assert not told.handled, "a stop is no failure to systemd"
    told.receiver.pings.clear()
    told.receiver.hooks.clear()
    told.drop_in("TimeoutStartSec=3s")
    told.start()
    told.settle()
    assert told.handled
    assert told.host.show(SERVICE, "Result") == "timeout"
    assert [end.what for end in told.receiver.ends] == ["143"]
    assert len(told.receiver.told("any")) == 1


def test_success_after_a_kill_is_a_recovery(told: Told) -> None:
    told.install("app-slow")
    by_oom(told)
    told.settle()
    told.drop_in("")
    # The killed run may go on in Dify and blocks the next; a person has looked and found it ended.
    told.host.run("rm", "/var/lib/dify-job/daily/in-flight.json")
    told.host.job(told.text, key=CANARY)
    told.start()
    assert [one.what for one in told.receiver.ends] == ["fail", "0"]
    assert [message["type"] for message in told.receiver.told("any")] == ["failure", "success"]
    assert "succeeded after a failure" in told.receiver.told("any")[1]["title"]


@pytest.mark.since(251)
@pytest.mark.parametrize(("come_to", "result"), [(by_oom, "oom-kill"), (by_hanging, "timeout")])
def test_doctor_reports_a_run_ended_by_systemd_until_the_next_success(
    told: Told, come_to: Callable[[Told], None], result: str
) -> None:
    told.install("app-slow")
    come_to(told)
    told.settle()
    told.drop_in("")

    def last_run() -> tuple[str, str]:
        [job] = json.loads(told.host("doctor", "daily", "--json", check=False).stdout)["jobs"]
        [line] = [line for line in job["checks"] if line["check"] == "last-run"]
        return line["level"], line["message"]

    level, said = last_run()
    assert (level, f"systemd says {result}" in said) == ("warn", True), said
    told.host.run("rm", "-f", "/var/lib/dify-job/daily/in-flight.json")  # it blocks while the run may go on
    told.host.job(told.text, key=CANARY)
    told.start()
    level, said = last_run()
    assert level == "ok", said


@pytest.mark.since(251)
def test_failure_handler_asks_the_manager_without_the_variables_of_251(told: Told) -> None:
    told.install()
    told.host.machine.write("/etc/systemd/system/" + HANDLER + ".d/old.conf", "[Service]\n")
    by_interpreter(told)
    told.settle()
    told.receiver.pings.clear()
    told.host.run("systemctl", "start", HANDLER)  # by hand it gets no MONITOR_ variables
    assert [one.what for one in told.receiver.pings] == ["203"]
    told.drop_in("")
    told.host("install")
    told.start()
    told.receiver.pings.clear()
    told.host.run("systemctl", "start", HANDLER)
    assert not told.receiver.pings, "what the run has told is not told again"


def test_failure_handler_is_installed_with_notify_and_removed_without(told: Told) -> None:
    units = told.host.machine.root / "etc/systemd/system"
    told.install()
    assert {path.name for path in units.glob("dify-job-*")} >= {SERVICE, HANDLER}
    assert "unchanged" in told.host("install").stdout
    score = told.host.run("systemd-analyze", "security", HANDLER, check=False).stdout.splitlines()[-1]
    assert float(score.split(": ")[1].split()[0]) <= 1.5, score
    told.host.run("rm", f"/etc/systemd/system/{HANDLER}")
    assert "the unit that reports its failures is missing" in told.host("status", check=False).stdout
    told.host("install")
    assert told.host.status()["sync"] == "as configured"
    told.host.job('every = "1h"')
    assert told.host.status()["sync"] == "outdated"
    told.host("install")
    assert not (units / HANDLER).exists()
    assert "OnFailure" not in (units / SERVICE).read_text()
    told.install()
    told.host("uninstall", "--all", "--purge")
    assert not list(units.glob("dify-job-*"))
    assert told.host.show(HANDLER, "LoadState") == "not-found"


def test_missing_notify_file_is_refused_before_anything_is_written(told: Told) -> None:
    told.host.job(f'every = "1h"\nnotify = {{ on_failure = ["apprise-url-from-file:{URLS}"] }}')
    refused = told.host("install", check=False)
    assert refused.code == 78
    assert f"the notify file {URLS} cannot be read: No such file or directory" in refused.stderr
    assert not told.host.machine.exists(f"/etc/systemd/system/{SERVICE}")


def test_unit_writes_metrics_to_the_directory_of_the_collector(told: Told) -> None:
    figures = "/srv/figures"
    told.host.run("install", "-d", "-m", "1777", figures)
    told.install(more=f'metrics = {{ textfile = "{figures}/daily.prom" }}')
    told.start()
    assert (
        'dify_job_last_run_success{job="daily"} 1.0' in told.host.run("cat", f"{figures}/daily.prom").stdout
    )
    by_interpreter(told)
    told.settle()
    shown = told.host.run("cat", f"{figures}/daily.prom").stdout
    assert 'outcome="not-started"' in shown
    assert 'dify_job_failures_in_a_row{job="daily"} 1' in shown
    told.host.run("rm", "-r", figures)
