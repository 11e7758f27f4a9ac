"""Every last line is found under its unit, however short the run and busy the machine."""

import json
from dataclasses import replace

from dify_job.journal import MESSAGE_IDS

from ..integration.conftest import APPS, KEY
from .conftest import Host

SHORT, ROUNDS, LONG = 48, 10, 20
TEN_SECONDS = "app-ten-seconds"


def test_the_last_line_is_found_under_its_unit_500_times_of_500(host: Host) -> None:
    slow = next(app for app in APPS if app.key == "app-two-seconds")
    nodes = tuple(replace(node, seconds=node.seconds * 5) for node in slow.nodes)
    host.server.apps[TEN_SECONDS] = replace(slow, key=TEN_SECONDS, nodes=nodes)
    short = [f"short-{number}" for number in range(SHORT)]
    long = [f"long-{number}" for number in range(LONG)]
    jobs = (*short, *long)
    host.configure(
        "".join(
            f'[jobs.{j}]\napi_key_file = "/etc/dify-job/credentials/{j}.key"\nevery = "1d"\n' for j in jobs
        )
    )
    for job in jobs:
        key = KEY if job in short else TEN_SECONDS
        host.machine.write(f"/etc/dify-job/credentials/{job}.key", key, 0o600)
    host.run("chmod", "700", "/etc/dify-job/credentials")
    host("install", "--no-start", timeout=120)
    busy = [f"busy-{core}" for core in range(2)]
    for name in busy:
        host.run("systemd-run", "-q", f"--unit={name}", "sh", "-c", "while :; do :; done")

    def units(names: list[str]) -> list[str]:
        return [f"dify-job-{name}.service" for name in names]

    for round_ in range(ROUNDS):
        if round_ % (ROUNDS // 2) == 0:  # the ten seconds of these overlap with the short ones
            host.wait(lambda: host.run("systemctl", "is-active", *units(long), check=False).code != 0, 120)
            host.run("systemctl", "start", "--no-block", *units(long))
        host.run("systemctl", "start", *units(short), timeout=120)
    wanted = SHORT * ROUNDS + LONG * 2
    host.wait(lambda: sum(run.over for run in host.server.runs) == wanted, 120)
    host.wait(
        lambda: "activating" not in host.run("systemctl", "is-active", *units(long), check=False).stdout
    )
    host.run("systemctl", "stop", *busy)

    host.run("journalctl", "--sync")
    matches = [match for unit in units([*short, *long]) for match in ("-u", unit)]
    told = host.run(
        "journalctl", "-q", "-o", "json", "--no-pager", *matches, f"MESSAGE_ID={MESSAGE_IDS['finished']}"
    ).stdout
    entries = [json.loads(line) for line in told.splitlines()]
    units_of_entries = {(entry["_SYSTEMD_UNIT"], entry["DIFY_JOB"]) for entry in entries}
    assert {unit for unit, _ in units_of_entries} == set(units([*short, *long]))
    assert all(unit == f"dify-job-{job}.service" for unit, job in units_of_entries)
    found = [entry["DIFY_WORKFLOW_RUN_ID"] for entry in entries if entry["DIFY_EXIT_CODE"] == "0"]
    assert len(found) == wanted >= 500
    assert set(found) == {run.run_id for run in host.server.runs}
    assert len({entry["_UID"] for entry in entries}) > 1, "each unit has a dynamic user of its own"
