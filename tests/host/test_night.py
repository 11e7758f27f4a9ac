"""status, history and logs on a host with ten jobs, of which three failed last night."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from dify_job.report.text import columns_of
from tests.support.command import KEY
from tests.support.fake_dify.apps import App, Node
from tests.support.histories import JOBS, hourly

from .conftest import Host

CONFIG = "/etc/dify-job/config.toml"
BROKEN = "/etc/dify-job/config.d/crawl.toml"
FAILS = App(
    "app-summarise",
    nodes=(Node("Start"), Node("Summarise", node_type="llm", error="[Errno 111] Connection refused")),
)
IN_THE_NIGHT = {"invoices": FAILS.key, "translate-mails": FAILS.key}
IN_THE_MORNING = {"translate-mails": KEY, "summaries": "app-slow"}
UNREACHABLE = "http://127.0.0.1:9/v1"
REASON = 'workflow failed at "Summarise" (llm): [Errno 111] Connection refused'


def night(host: Host) -> None:
    """Install ten timers: invoices and daily-report fail, translate-mails failed once, summaries runs,
    `paused` is paused, and the config file of crawl was broken after its installation.
    """
    host.server.apps[FAILS.key] = FAILS
    table = '[jobs.{job}]\napi_key_file = "/etc/dify-job/credentials/{job}.key"\ncalendar = "yearly"\n'
    first = "".join(
        table.format(job=job) + (f'base_url = "{UNREACHABLE}"\n' if job == "daily-report" else "")
        for job in JOBS
        if job != "crawl"
    )
    host.configure(first)
    host.machine.write(BROKEN, table.format(job="crawl"))
    for job in JOBS:
        _store_key(host, job, IN_THE_NIGHT.get(job, KEY))
    uid = host.run("id", "-u", "alice").stdout.strip()
    host("install", "--http", env={"SUDO_UID": uid, "SUDO_USER": "alice"}, timeout=120)
    host.run("systemctl", "start", *(f"dify-job-{job}.service" for job in JOBS), check=False, timeout=120)
    for job, key in IN_THE_MORNING.items():
        _store_key(host, job, key)
    earlier = datetime.now(UTC) - timedelta(hours=1)
    past = "".join(json.dumps(each) + "\n" for each in hourly(earlier, 30, lambda _: "succeeded"))
    for job in JOBS:
        file = host.machine.root / "var/lib/private/dify-job" / job / "history.jsonl"
        file.write_text(past + file.read_text())
    host.run("systemctl", "start", "dify-job-translate-mails.service")
    host.run("systemctl", "start", "--no-block", "dify-job-summaries.service")
    host.wait(lambda: any(not run.over for run in host.server.runs))
    host("pause", "paused")
    host.machine.write(BROKEN, '[jobs.crawl]\nevery = "1h\n')


def _store_key(host: Host, job: str, key: str) -> None:
    host.machine.write(f"/etc/dify-job/credentials/{job}.key", key + "\n", 0o600)


@pytest.mark.usefixtures("port_8000")
def test_status_and_history_show_failures_reasons_and_next_runs(host: Host) -> None:
    night(host)
    for language in ("C.UTF-8", "zh_CN.UTF-8"):
        for words in ((), ("history", "--failed", "--since", "yesterday"), ("next",)):
            env = {"LANG": language, "COLUMNS": "80"}
            lines = host(*words or ("status",), env=env, check=False).stdout.splitlines()
            assert lines
            assert [line for line in lines if columns_of(line) > 80] == [], words

    seen = host("status", check=False)
    assert seen.code == 1
    lines = seen.stdout.splitlines()
    assert (
        f"! the configuration has an error: the configuration file {BROKEN} is not TOML"
        in seen.stdout.replace("\n  ", " ")
    )
    [totals] = [line for line in lines if line.startswith("10 jobs: ")]
    assert totals.startswith("10 jobs: 2 failing, 2 with problems, 1 running, 4 ok, 1 paused"), seen.stdout
    order = [line.split()[1] for line in lines if line[:2] in ("✗ ", "! ", "> ", "- ")][1:]
    assert order == ["daily-report", "invoices", "crawl", "translate-mails", "summaries", "paused"]
    below = {line.split()[1]: lines[at + 1 :] for at, line in enumerate(lines) if line[:2] in ("✗ ", "! ")}
    assert below["invoices"][0].strip() == REASON
    assert (
        "the server could not be reached: 127.0.0.1:9: the server refused the connection"
        in below["daily-report"][0]
    )
    assert below["daily-report"][1].startswith("    check that Dify is running; to check base_url, run: ")
    assert below["crawl"][0].strip() == "the job's configuration has an error (shown above)"
    assert "a run failed at" in below["translate-mails"][0]
    assert any(line.startswith("    running for ") for line in lines)
    assert "http: 127.0.0.1:8000 serves 10 jobs" in lines

    failed = json.loads(host("history", "--failed", "--since", "yesterday", "--json").stdout)["runs"]
    assert {one["job"] for one in failed} == {"invoices", "daily-report", "translate-mails"}
    upcoming = host("next").stdout
    assert "these jobs are not shown, because their configuration has an error: crawl" in upcoming
    assert "these jobs will not run, because they are paused: paused" in upcoming

    # A start that fails before it can read its job is an error in the journal, with the name of the job.
    host.run("systemctl", "start", "dify-job-crawl.service", check=False)
    host.run("journalctl", "--sync")
    errors = host.run("journalctl", "-t", "dify-job", "-p", "err", "--since", "yesterday", "-o", "cat").stdout
    begun = sorted(line.partition(": ")[0] for line in errors.splitlines())
    assert begun == ["crawl", "daily-report", "invoices", "translate-mails"]
    assert f"invoices: {REASON}\n" in errors
    assert f"crawl: the configuration file {BROKEN} is not TOML" in errors
    assert (
        errors == host("logs", "--failed", "--since", "yesterday", "--", "-t", "dify-job", "-o", "cat").stdout
    )

    page = host("report").stdout
    assert page == page.replace("<script", "")
    assert page.count("Connection refused") > 1
    for user, code in (("root", 200), ("alice", 200), ("mallory", 403)):
        argv = ("curl", "-s", "-w", "%{http_code}", "http://localhost:8000/")
        answer = host.run(*argv, user=user).stdout
        assert answer.endswith(str(code))
        assert ("Connection refused" in answer) == (code == 200)

    # A user without permission sees that results are missing, and the command that shows them.
    seen = host("status", user="mallory", check=False)
    assert seen.stdout.endswith(
        "you have no permission to read some results; to read them, run: sudo dify-job status\n"
    )
    denied = host("history", "--failed", "--since", "2026-01-01", user="mallory", check=False)
    assert (denied.code, denied.stdout) == (77, "")
    assert "you have no permission to read the histories of 10 jobs" in denied.stderr
    assert "sudo dify-job history --failed --since '2026-01-01 00:00'" in denied.stderr
    page = host("report", user="mallory").stdout
    assert (
        "no permission to read the runs of 10 of 10 jobs; "
        "to read them, run: sudo dify-job report --output report.html" in page
    )
    assert "No run failed" not in page


def test_logs_before_the_first_run_are_empty(host: Host) -> None:
    host.job('calendar = "yearly"')
    host("install")
    assert host("logs").code == 0
