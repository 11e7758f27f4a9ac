"""No install, edit, reload or reinstall starts a run that nobody requested."""

import itertools
import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from .conftest import Host

EDITS = ("unchanged", "earlier", "later", "interval")
STEPS = ("install twice", "edit", "daemon-reload", "uninstall and reinstall")
TWO_DAYS = 2 * 86400


def _times(edit: str) -> tuple[str, str]:
    """Return the schedule before and after an edit; each time elapsed yesterday or earlier."""
    now = datetime.now(UTC)
    past, future = now - timedelta(hours=2), now + timedelta(hours=2)
    before = f'calendar = "*-*-* {past:%H:%M}:00 UTC"'
    after = {
        "unchanged": before,
        "earlier": f'calendar = "*-*-* {past - timedelta(hours=1):%H:%M}:00 UTC"',
        "later": f'calendar = "*-*-* {future:%H:%M}:00 UTC"',
        "interval": 'calendar = "*-02-01"',
    }
    return before, after[edit]


@pytest.mark.parametrize("catch_up", [False, True], ids=["no-catch-up", "catch-up"])
def test_no_sequence_of_installs_edits_and_reloads_starts_a_run(host: Host, catch_up: bool) -> None:
    names = [f"{e}-{s}".replace(" ", "-") for e, s in itertools.product(EDITS, STEPS)]
    edits = dict(zip(names, (e for e, _ in itertools.product(EDITS, STEPS)), strict=True))
    tail = f"catch_up = {str(catch_up).lower()}\n"

    def write(*, edited: bool) -> None:
        host.configure(
            "".join(
                f'[jobs.{name}]\napi_key_file = "/etc/dify-job/credentials/{name}.key"\n'
                f"{_times(edits[name])[edited]}\n{tail}"
                for name in names
            ),
            jobs=tuple(names),
        )

    def age_stamps(which: list[str]) -> None:
        when = time.time() - TWO_DAYS
        for name in which:
            stamp = host.machine.root / f"var/lib/systemd/timers/stamp-dify-job-{name}.timer"
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.touch()
            host.run("touch", "-d", f"@{when:.0f}", f"/var/lib/systemd/timers/stamp-dify-job-{name}.timer")

    def of(step: str) -> list[str]:
        return [name for name in names if name.endswith(step.replace(" ", "-"))]

    write(edited=False)
    age_stamps(names)
    host("install", *names)
    if not catch_up:  # with catch_up, the running timer holds the stamp in memory too
        age_stamps(names)
    write(edited=True)
    host("install", *of("install twice"))
    host("install", *of("install twice"))
    host("install", *of("edit"))
    host("install", *of("daemon-reload"))
    host.run("systemctl", "daemon-reload")
    host("uninstall", *of("uninstall and reinstall"))
    age_stamps(of("uninstall and reinstall"))
    host("install", *of("uninstall and reinstall"))
    host.run("systemctl", "daemon-reload")
    time.sleep(3)
    assert host.server.runs == []
    assert [r for r in host.server.received if r.path.endswith("/workflows/run")] == []
    for name in names:
        assert host.show(f"dify-job-{name}.timer", "ActiveState") == "active"
        assert host.show(f"dify-job-{name}.service", "ExecMainStartTimestamp") == ""


def test_missed_run_is_caught_up_once_after_a_reboot(host: Host) -> None:
    past = datetime.now(UTC) - timedelta(hours=2)
    host.job(f'calendar = "*-*-* {past:%H:%M}:00 UTC"\ncatch_up = true')
    host("install")
    host.machine.stop()
    stamp = host.machine.root / "var/lib/systemd/timers/stamp-dify-job-daily.timer"
    when = time.time() - TWO_DAYS

    os.utime(stamp, (when, when))
    host.machine.start()
    host.wait(lambda: host.server.runs)
    time.sleep(2)
    assert len(host.server.runs) == 1
