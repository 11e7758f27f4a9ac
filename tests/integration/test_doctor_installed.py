"""Findings of doctor about an installed job: each fault changes one finding, and the fix restores it."""

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fixes import command_in
from tests.support.home import CONFIG, Home

SERVICE, TIMER = "dify-job-daily.service", "dify-job-daily.timer"
Findings = dict[str, tuple[str, str, str | None]]
Break = Callable[[Home, Path], object]  # the home, and the directory of its units


def doctor(home: Home) -> Findings:
    """Return level, message and fix of each check."""
    [job] = home("doctor", "daily", "--user", "--json").result["jobs"]
    return {one["check"]: (one["level"], one["message"], one["fix"]) for one in job["checks"]}


def run_fix(home: Home, fix: str | None) -> None:
    """Run the commands of a suggested fix."""
    for one in command_in(fix).split(" && "):
        program, *words = shlex.split(one)
        if program == "dify-job":
            done = home(*words)
            assert done.code == 0, done.stderr
        else:
            subprocess.run([program, *words], env=home.environ, check=True)


def reload(home: Home) -> None:
    home.manager.main(["daemon-reload"])


def edit_timer(home: Home, units: Path) -> None:
    (units / TIMER).write_text((units / TIMER).read_text() + "# by hand\n")
    reload(home)


def forget(home: Home) -> None:
    """Let the manager have another text of the timer than the disk."""
    state = home.manager._read()
    home.manager._write(state | {"loaded": state["loaded"] | {TIMER: ""}})


def add_drop_in(home: Home, units: Path, text: str) -> None:
    place = units / f"{SERVICE}.d"
    place.mkdir()
    (place / "x.conf").write_text(text)
    reload(home)


@pytest.mark.parametrize(
    ("break_it", "check", "level", "message"),
    [
        (lambda _, units: (units / TIMER).unlink(), "units", "fail", f"{TIMER} is missing"),
        (lambda home, _: home("uninstall", "daily", "--user"), "units", "warn", "the job is not installed"),
        (
            lambda home, _: forget(home),
            "units",
            "warn",
            "the unit files changed on disk since systemd read them",
        ),
        (
            edit_timer,
            "units",
            "warn",
            "install does not change what was edited by hand",
        ),
        (
            lambda home, _: home.configure(CONFIG.replace('"2h"', '"3h"')),
            "units",
            "warn",
            "the configuration changed since the job was installed",
        ),
        (
            lambda home, units: add_drop_in(home, units, "[Service]\nTimeoutStartSec=1s\n"),
            "override",
            "warn",
            "TimeoutStartSec",
        ),
        (lambda home, _: home("pause", "daily", "--user"), "enabled", "warn", "the job is paused"),
        (
            lambda home, _: home.manager.main(["disable", TIMER]),
            "enabled",
            "warn",
            "will not run after the next boot",
        ),
    ],
    ids=["missing", "not-installed", "unread", "edited", "config", "drop-in", "paused", "disabled"],
)
def test_fix_of_a_fault_of_units_restores_the_finding(
    home: Home, break_it: Break, check: str, level: str, message: str
) -> None:
    assert home("install", "--user").code == 0
    before = doctor(home)
    assert before[check][0] == "ok", before[check]
    break_it(home, home.path / "config/systemd/user")
    found = doctor(home)[check]
    assert (found[0], message in found[1]) == (level, True), found
    run_fix(home, found[2])
    after = doctor(home)
    assert {name: one[0] for name, one in after.items()} == {name: one[0] for name, one in before.items()}


def test_harmless_drop_in_is_no_fault(home: Home) -> None:
    home("install", "--user")
    add_drop_in(home, home.path / "config/systemd/user", "[Service]\nNice=5\n")
    level, message, _ = doctor(home)["override"]
    assert (level, "changes no setting that the job needs" in message) == ("ok", True)


def test_masked_timer_is_a_failure(home: Home) -> None:
    home("install", "--user")
    timer = home.path / "config/systemd/user" / TIMER
    timer.unlink()
    timer.symlink_to("/dev/null")
    level, message, fix = doctor(home)["units"]
    assert (level, message) == ("fail", f"the unit {TIMER} is masked by the administrator")
    assert fix is not None
    assert fix.startswith("systemctl --user unmask ")


def test_job_in_two_schedulers_runs_twice(home: Home) -> None:
    assert home("install", "--user").code == 0
    units = home.path / "config/systemd/user"
    saved = {path: path.read_text() for path in units.glob("dify-job-*")}
    assert home("uninstall", "daily", "--user").code == 0
    assert home("install", "--user", "--backend", "cron").code == 0
    for path, text in saved.items():
        path.write_text(text)
    level, message, fix = doctor(home)["units"]
    assert (level, message.startswith("the job is installed twice (")) == ("fail", True)
    assert fix is not None
    assert fix.startswith("dify-job uninstall daily --backend ")
    run_fix(home, fix)
    assert "the job is installed twice" not in doctor(home)["units"][1]


def test_crontab_that_mails_nobody_is_a_warning(cron_home: Home) -> None:
    cron_home.first = "cron.is_running = lambda: True"
    assert cron_home("install", "--user").code == 0
    mailer = cron_home.path / "bin/sendmail"
    shutil.copy("/bin/true", mailer)
    assert doctor(cron_home)["mail"][:2] == ("ok", "cron can send mail about failed runs")
    lines = cron_home.table.read_bytes()
    cron_home.table.write_bytes(b'MAILTO=""\n' + lines)
    level, message, fix = doctor(cron_home)["mail"]
    assert (level, "because MAILTO is empty above the job's crontab lines" in message) == ("warn", True)
    assert fix is not None
    assert fix.endswith(": crontab -e")


def test_variable_that_only_the_shell_has_is_reported(home: Home) -> None:
    home.configure(CONFIG + 'env = ["REGION"]\n')
    assert home("install", "--user").code == 0
    home.env = {"REGION": "50% south"}
    level, message, fix = doctor(home)["environment"]
    assert (level, message.startswith("scheduled runs do not get the environment variable REGION")) == (
        "warn",
        True,
    )
    assert fix is not None
    assert "south" not in fix, "a value can be a secret"


@pytest.mark.parametrize("backend", ["systemd", "cron"])
def test_edit_is_reported_in_the_same_words_by_install_doctor_and_status(home: Home, backend: str) -> None:
    words = ("--user", "--backend", backend)
    assert home("install", *words).code == 0
    timer = home.manager.units / "dify-job-daily.timer"
    file = timer if backend == "systemd" else home.table
    file.write_bytes(file.read_bytes().replace(b"\n", b"\n# mine\n", 1))
    home.manager.main(["daemon-reload"])
    where = timer if backend == "systemd" else "the block of job daily in your crontab"
    text = f"install does not change what was edited by hand: {where}"
    assert home("install", *words).stderr.startswith(f"dify-job: {text}\n")
    checks = home("doctor", "--user", "--json").result["jobs"][0]["checks"]
    assert text in [each["message"] for each in checks]
    shown = " ".join(home("status", "--user", env={"COLUMNS": "500"}).stdout.split())
    assert text in shown, shown
