"""The journal attributes a run's last log line to its unit, even for short runs on a busy machine."""

from dataclasses import replace

from dify_job.log.journal import MESSAGE_IDS
from tests.support.command import APPS, KEY

from .conftest import Host

JOBS, ROUNDS, LONG = 48, 10, 20
TEN_SECONDS = "app-ten-seconds"
# Stops journald now and then, as rotation or a slow disk does. Before dify-job waited for journald, 30 of 520
# lines lost their unit, because their process had exited before journald looked at it.
STUTTER = """
journald=$(systemctl show --value --property=MainPID systemd-journald)
trap 'kill -CONT $journald; exit' TERM
while :; do
    kill -STOP $journald; sleep 0.1; kill -CONT $journald; sleep 0.05
done
"""


def test_last_log_line_of_500_runs_is_attributed_to_its_unit(host: Host) -> None:
    slow = next(app for app in APPS if app.key == "app-two-seconds")
    nodes = tuple(replace(node, seconds=node.seconds * 5) for node in slow.nodes)
    host.server.apps[TEN_SECONDS] = replace(slow, key=TEN_SECONDS, nodes=nodes)
    short = [f"short-{number}" for number in range(JOBS)]
    long = [f"long-{number}" for number in range(LONG)]
    jobs = (*short, *long)
    host.configure(
        "".join(
            f'[jobs.{job}]\napi_key_file = "/etc/dify-job/credentials/{job}.key"\nevery = "1d"\n'
            for job in jobs
        )
    )
    for job in jobs:
        key = TEN_SECONDS if job in long else KEY
        host.machine.write(f"/etc/dify-job/credentials/{job}.key", key, 0o600)
    host.run("chmod", "700", "/etc/dify-job/credentials")
    host("install", "--no-start", timeout=120)
    for core in range(2):
        host.run("systemd-run", "-q", f"--unit=busy-{core}", "sh", "-c", "while :; do :; done")
    host.run("systemd-run", "-q", "--unit=stutter", "sh", "-c", STUTTER)

    def units(*names: str) -> list[str]:
        return [f"dify-job-{name}.service" for name in names]

    def long_runs_ended() -> bool:
        return "activating" not in host.run("systemctl", "is-active", *units(*long), check=False).stdout

    for round_ in range(ROUNDS):
        if round_ % (ROUNDS // 2) == 0:  # these ten-second runs overlap with the short ones
            host.wait(long_runs_ended, 120)
            host.run("systemctl", "start", "--no-block", *units(*long))
        host.run("systemctl", "start", *units(*short), timeout=120)
    runs = JOBS * ROUNDS + LONG * 2
    host.wait(lambda: sum(run.over for run in host.server.runs) == runs, 120)
    host.wait(long_runs_ended)
    host.run("systemctl", "stop", "stutter", "busy-0", "busy-1")

    match = [word for unit in units(*jobs) for word in ("-u", unit)]
    entries = host.journal(*match, f"MESSAGE_ID={MESSAGE_IDS['finished']}")
    assert len(entries) == runs >= 500
    assert all(entry["_SYSTEMD_UNIT"] == f"dify-job-{entry['DIFY_JOB']}.service" for entry in entries)
    assert {entry["DIFY_JOB"] for entry in entries} == set(jobs)
    assert {entry["DIFY_EXIT_CODE"] for entry in entries} == {"0"}
    assert all(entry["DIFY_OUTCOME"] and entry["DIFY_ELAPSED_MS"] for entry in entries)
    found = {entry["DIFY_WORKFLOW_RUN_ID"] for entry in entries}
    assert found == {run.run_id for run in host.server.runs}
    assert len({entry["_UID"] for entry in entries}) > 1, "each unit has a dynamic user of its own"
