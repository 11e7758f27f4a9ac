"""Each end of a unit is reported exactly once: by the run, or by the failure handler if the run cannot."""

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
class NotifyingJob:
    """An installed job that notifies a receiver."""

    host: Host
    receiver: Receiver
    text: str = ""

    def install(self, key: str = CANARY, more: str = "") -> None:
        urls = "".join(f"json://{self.receiver.address}/hook/{name}\n" for name in ("any",))
        self.host.run("mkdir", "-p", "/etc/dify-job")
        self.host.machine.write(URLS, urls, 0o600)
        lists = "".join(f', on_{name} = ["apprise-url-from-file:{URLS}"]' for name in ("failure", "recovery"))
        self.text = (
            f'calendar = "yearly"\nnotify = {{ healthchecks = "{self.receiver.check}"{lists} }}\n{more}'
        )
        self.host.job(self.text, key=key)
        self.host("install")

    def drop_in(self, text: str) -> None:
        self.host.drop_in(SERVICE, f"[Service]\n{text}\n")

    def start(self, *, wait: bool = True) -> None:
        how = () if wait else ("--no-block",)
        self.host.run("systemctl", "start", *how, SERVICE, check=False)

    def start_and_reach_dify(self) -> None:
        """Start the job, and wait until its in-flight record has the run's ID."""
        self.start(wait=False)
        record = ("cat", "/var/lib/dify-job/daily/in-flight.json")

        def has_id() -> bool:
            runs = self.host.server.runs
            return bool(runs) and runs[-1].run_id in self.host.run(*record, check=False).stdout

        self.host.wait(lambda: has_id() and self.receiver.pings, 40)

    def settle(self) -> None:
        """Wait until the service and its failure handler have ended."""

        def settled() -> bool:
            ended = all(
                self.host.show(u, "ActiveState") in ("failed", "inactive") for u in (SERVICE, HANDLER)
            )
            return ended and "No jobs" in self.host.run("systemctl", "list-jobs").stdout

        self.host.wait(settled, 40)

    @property
    def handled(self) -> bool:
        """True if the failure handler has started since the job was installed."""
        return bool(self.host.show(HANDLER, "ExecMainStartTimestamp"))

    def history(self) -> list[str]:
        rows = self.host.run("cat", "/var/lib/dify-job/daily/history.jsonl", check=False).stdout
        return rows.splitlines()


@pytest.fixture
def job(host: Host) -> Iterator[NotifyingJob]:
    with Receiver() as receiver:
        yield NotifyingJob(host, receiver)


OOMD = (  # like systemd-oomd: marks the control group and kills its processes
    "import os; group = '/sys/fs/cgroup/system.slice/{unit}'; "
    "[os.setxattr(group, f'user.oomd_{{what}}', b'1') for what in ('ooms', 'kill')]; "
    "[os.kill(int(pid), 9) for pid in open(group + '/cgroup.procs').read().split()]"
)


def by_oom(job: NotifyingJob) -> None:
    """By the kernel's OOM killer where cgroup v2 has the memory controller, else like systemd-oomd."""
    if "memory" in job.host.run("cat", "/sys/fs/cgroup/cgroup.controllers").stdout:
        job.drop_in("MemoryMax=6M\nMemorySwapMax=0")
        job.start()
        return
    job.start_and_reach_dify()
    job.host.run("python3", "-c", OOMD.format(unit=SERVICE))


def by_kill(job: NotifyingJob) -> None:
    job.start_and_reach_dify()
    job.host.run("systemctl", "kill", "-s", "KILL", SERVICE)


def by_hanging(job: NotifyingJob) -> None:
    deaf = "/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'"
    job.drop_in(f"ExecStart=\nExecStart={deaf}\nTimeoutStartSec=2s\nTimeoutStopSec=1s")
    job.start()


def by_interpreter(job: NotifyingJob) -> None:
    job.drop_in("ExecStart=\nExecStart=/opt/gone/bin/python -P -m dify_job run")
    job.start()


def by_key_file(job: NotifyingJob) -> None:
    job.host.run("rm", "/etc/dify-job/credentials/daily.key")
    job.start()


def by_config(job: NotifyingJob) -> None:
    job.host.machine.write("/etc/dify-job/config.toml", "[jobs.daily\n")
    job.start()


@pytest.mark.since(251)  # an older handler queries the manager, and a dynamic user may have no bus
@pytest.mark.parametrize(
    ("end_by", "key", "ping", "words"),
    [
        (by_oom, "app-slow", "fail", "the system killed the run, because no memory was left"),
        (by_kill, "app-slow", "fail", "the process of the run was killed by SIGKILL"),
        (by_hanging, "app-slow", "fail", "did not end in time"),
        (by_interpreter, CANARY, "203", "the interpreter in ExecStart= is missing"),
        (by_key_file, CANARY, "243", "LoadCredential="),
        (by_config, CANARY, "78", "config.toml is not TOML"),
        (NotifyingJob.start, "app-off", "78", "the app's API is disabled"),
    ],
)
def test_failure_handler_reports_what_the_run_could_not(
    job: NotifyingJob, end_by: Callable[[NotifyingJob], None], key: str, ping: str, words: str
) -> None:
    job.install(key)
    end_by(job)
    job.settle()
    assert [end.what for end in job.receiver.ends] == [ping]
    assert words in job.receiver.ends[0].body
    [message] = job.receiver.messages("any")
    assert words in message["message"]
    assert len({one.rid for one in job.receiver.pings}) == 1
    assert UUID(job.receiver.ends[0].rid).hex == job.host.show(SERVICE, "InvocationID") or ping == "fail"
    assert job.handled
    assert len(job.history()) == 1
    last = job.host.status()
    assert words in last["last"]["message"], last
    assert last["failures_in_a_row"] == 1


@pytest.mark.parametrize("end_by", [by_kill, by_interpreter, by_key_file])
def test_failure_that_the_run_could_not_report_is_reported_once(
    job: NotifyingJob, end_by: Callable[[NotifyingJob], None]
) -> None:
    job.install("app-slow")
    end_by(job)
    job.settle()
    assert len(job.receiver.ends) == len(job.receiver.messages("any")) == len(job.history()) == 1
    assert job.receiver.ends[0].what in ("fail", "203", "243")


@pytest.mark.parametrize(
    ("key", "ping"), [("app-fails", "80"), ("app-wrong", "77"), ("app-unpublished", "78")]
)
def test_failure_that_the_run_can_report_is_reported_once(job: NotifyingJob, key: str, ping: str) -> None:
    job.install(key)
    job.start()
    job.settle()
    assert [one.what for one in job.receiver.pings] == ["start", ping]
    assert len(job.receiver.messages("any")) == 1


def test_run_reports_stop_and_timeout(job: NotifyingJob) -> None:
    job.install("app-slow")
    job.start_and_reach_dify()
    job.host.run("systemctl", "stop", SERVICE)
    job.settle()
    assert [end.what for end in job.receiver.ends] == ["143"]
    assert not job.receiver.messages("any")[1:]
    assert not job.handled, "a stop is no failure to systemd"
    job.receiver.pings.clear()
    job.receiver.hooks.clear()
    job.drop_in("TimeoutStartSec=3s")
    job.start()
    job.settle()
    assert job.handled
    assert job.host.show(SERVICE, "Result") == "timeout"
    assert [end.what for end in job.receiver.ends] == ["143"]
    assert len(job.receiver.messages("any")) == 1


def test_success_after_a_kill_is_a_recovery(job: NotifyingJob) -> None:
    job.install("app-slow")
    by_oom(job)
    job.settle()
    job.drop_in("")
    # The killed run may go on in Dify, so it blocks the next one; here a person has checked that it ended.
    job.host.run("rm", "/var/lib/dify-job/daily/in-flight.json")
    job.host.job(job.text, key=CANARY)
    job.start()
    assert [one.what for one in job.receiver.ends] == ["fail", "0"]
    assert [message["type"] for message in job.receiver.messages("any")] == ["failure", "success"]
    assert "succeeded after a failure" in job.receiver.messages("any")[1]["title"]


@pytest.mark.since(251)
@pytest.mark.parametrize(("end_by", "result"), [(by_oom, "oom-kill"), (by_hanging, "timeout")])
def test_doctor_reports_a_run_ended_by_systemd_until_the_next_success(
    job: NotifyingJob, end_by: Callable[[NotifyingJob], None], result: str
) -> None:
    job.install("app-slow")
    end_by(job)
    job.settle()
    job.drop_in("")

    def last_run() -> tuple[str, str]:
        [row] = json.loads(job.host("doctor", "daily", "--json", check=False).stdout)["jobs"]
        [line] = [line for line in row["checks"] if line["check"] == "last-run"]
        return line["level"], line["message"]

    level, text = last_run()
    assert (level, f"systemd reports {result}" in text) == ("warn", True), text
    job.host.run("rm", "-f", "/var/lib/dify-job/daily/in-flight.json")  # it blocks while the run may go on
    job.host.job(job.text, key=CANARY)
    job.start()
    level, text = last_run()
    assert level == "ok", text


@pytest.mark.since(251)
def test_failure_handler_without_monitor_variables_queries_the_manager(job: NotifyingJob) -> None:
    job.install()
    job.host.machine.write("/etc/systemd/system/" + HANDLER + ".d/old.conf", "[Service]\n")
    by_interpreter(job)
    job.settle()
    job.receiver.pings.clear()
    job.host.run("systemctl", "start", HANDLER)  # started by hand, it gets no MONITOR_ variables
    assert [one.what for one in job.receiver.pings] == ["203"]
    job.drop_in("")
    job.host("install")
    job.start()
    job.receiver.pings.clear()
    job.host.run("systemctl", "start", HANDLER)
    assert not job.receiver.pings, "the handler repeats no report of the run"


def test_failure_handler_is_installed_with_notify_and_removed_without(job: NotifyingJob) -> None:
    units = job.host.machine.root / "etc/systemd/system"
    job.install()
    assert {path.name for path in units.glob("dify-job-*")} >= {SERVICE, HANDLER}
    assert "unchanged" in job.host("install").stdout
    score = job.host.run("systemd-analyze", "security", HANDLER, check=False).stdout.splitlines()[-1]
    assert float(score.split(": ")[1].split()[0]) <= 1.5, score
    job.host.run("rm", f"/etc/systemd/system/{HANDLER}")
    assert "the unit that reports failed runs is missing" in job.host("status", check=False).stdout
    job.host("install")
    assert job.host.status()["sync"] == "as configured"
    job.host.job('calendar = "yearly"')
    assert job.host.status()["sync"] == "outdated"
    job.host("install")
    assert not (units / HANDLER).exists()
    assert "OnFailure" not in (units / SERVICE).read_text()
    job.install()
    job.host("uninstall", "--all", "--purge")
    assert not list(units.glob("dify-job-*"))
    assert job.host.show(HANDLER, "LoadState") == "not-found"


def test_missing_notify_file_is_refused_before_anything_is_written(job: NotifyingJob) -> None:
    job.host.job(f'calendar = "yearly"\nnotify = {{ on_failure = ["apprise-url-from-file:{URLS}"] }}')
    refused = job.host("install", check=False)
    assert refused.code == 78
    assert f"the notify file {URLS} cannot be read: No such file or directory" in refused.stderr
    assert not job.host.machine.exists(f"/etc/systemd/system/{SERVICE}")


def test_unit_writes_metrics_to_the_directory_of_the_collector(job: NotifyingJob) -> None:
    figures = "/srv/figures"
    job.host.run("install", "-d", "-m", "1777", figures)
    job.install(more=f'metrics = {{ textfile = "{figures}/daily.prom" }}')
    job.start()
    assert 'dify_job_last_run_success{job="daily"} 1.0' in job.host.run("cat", f"{figures}/daily.prom").stdout
    by_interpreter(job)
    job.settle()
    shown = job.host.run("cat", f"{figures}/daily.prom").stdout
    assert 'outcome="not-started"' in shown
    assert 'dify_job_failures_in_a_row{job="daily"} 1' in shown
    job.host.run("rm", "-r", figures)
