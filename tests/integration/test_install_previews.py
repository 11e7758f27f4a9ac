"""--check, --diff and --dry-run say what install does, in every state of the host and with every option."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.campaign import Campaign
from tests.support.home import CONFIG, Home

pytestmark = pytest.mark.timeout(1200)  # on a loaded machine
TIMER, SERVICE = "dify-job-daily.timer", "dify-job-daily.service"
BOTH = CONFIG + CONFIG.replace("daily", "weekly")
SAMPLE = 10
# Kills the process before its N-th operation that changes the host.
KILL = """
import os, sys
left = [{step}]
def count(event, args, os=os, left=left):
    verbs = {{"enable", "disable", "start", "stop", "daemon-reload"}}
    changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate")
    changes |= event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT != 0
    changes |= event == "subprocess.Popen" and bool(verbs & {{*args[1]}} or "crontab" in str(args[0]))
    left[0] -= changes
    if changes and left[0] == 0:
        os.kill(os.getpid(), 9)
sys.addaudithook(count)
"""
OPTIONS: tuple[tuple[str, ...], ...] = (
    (),
    ("daily",),
    ("nosuch",),
    ("--start",),
    ("--no-start",),
    ("--overwrite-edits",),
    ("--installed",),
    ("--prune",),
    ("--prune", "--installed"),
    ("--overwrite-edits", "--start", "--prune"),
    ("daily", "--every", "3h"),
)


def unit(name: str, change: Callable[[bytes], bytes | None]) -> Callable[[Home], None]:
    """Return a change of an installed unit, or of the crontab; None removes the unit."""

    def changed(home: Home) -> None:
        path = home.manager.units / name
        path = path if path.exists() else home.table
        after = change(path.read_bytes())
        if after is None and path != home.table:
            path.unlink()
        elif after is not None:
            path.write_bytes(after)

    return changed


def mask(name: str) -> Callable[[Home], None]:
    def masked(home: Home) -> None:
        path = home.manager.units / name
        if path.exists():
            home.manager.main(["stop", TIMER])
            path.unlink()
            path.symlink_to("/dev/null")

    return masked


def edit(content: bytes) -> bytes:
    return content.replace(b"\n", b"\n# mine\n", 1)


def missing_file(home: Home) -> None:
    home.configure(CONFIG + 'files = { x = "/nowhere/x" }\n')


def record(home: Home) -> None:
    path = home.path / "state/dify-job/install-unfinished.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"enable": [TIMER], "start": [TIMER]}))


# Changes after an install of both jobs.
CHANGES: dict[str, tuple[Callable[[Home], object], ...]] = {
    "nothing": (),
    "paused": (lambda home: home("pause", "daily", "--user"),),
    "paused, with a record": (lambda home: home("pause", "daily", "--user"), record),
    "a record": (record,),
    "other times": (lambda home: home.configure(BOTH.replace("2h", "3h")),),
    "a job less": (lambda home: home.configure(CONFIG),),
    "uninstalled": (lambda home: home("uninstall", "--all", "--user"),),
    "edited timer": (unit(TIMER, edit),),
    "edited service": (unit(SERVICE, edit),),
    "foreign": (unit(TIMER, lambda _: b"[Timer]\nOnCalendar=daily\n"),),
    "no timer": (unit(TIMER, lambda _: None),),
    "masked timer": (mask(TIMER),),
    "masked service": (mask(SERVICE),),
    "no key": (lambda home: (home.path / "key").unlink(),),
    "no key, edited": (unit(TIMER, edit), lambda home: (home.path / "key").unlink()),
    "no file": (missing_file,),
    "no file, edited": (unit(TIMER, edit), missing_file),
    "broken": (lambda home: home.configure("[jobs.daily\n"),),
}


def state_of(home: Home) -> dict[str, object]:
    """Everything that install can change but its record, and the stamps of timers that it started again."""
    files = {
        path: content
        for path, content in home.all_files().items()
        if "/stamp-" not in path and not path.endswith(("install-unfinished.json", "install.lock"))
    }
    return {"files": files, "active": home.manager.active(), "enabled": home.manager.enabled()}


def check_previews(home: Home, words: tuple[str, ...], what: object) -> None:
    runs, before = home.manager.runs(), state_of(home)
    shown = {flag: home(*words, flag) for flag in ("--check", "--diff", "--dry-run")}
    assert state_of(home) == before, what
    unread = bool(home.manager.unread())
    done = home(*words)
    changed = state_of(home) != before
    if done.code:
        assert {one.code for one in shown.values()} == {done.code}, what
        assert {one.stderr for one in shown.values()} == {done.stderr}, what
        assert not changed, what
    else:
        assert (shown["--diff"].code, shown["--dry-run"].code) == (0, 0), what
        assert shown["--check"].code == (changed or unread), (what, shown["--check"])
        assert bool(shown["--diff"].stdout) is (changed or unread), what
        assert home(*words, "--check").code == 0, (what, "again")
    assert home.manager.runs() == runs, what


def words_of(backend: str, options: tuple[str, ...]) -> tuple[str, ...]:
    chosen = () if "--installed" in options else ("--backend", backend)
    return ("install", "--user", *chosen, *options)


@pytest.mark.parametrize("backend", ["systemd", "cron"])
def test_previews_say_what_install_does(backend: str, tmp_path: Path, campaign: Campaign) -> None:
    cases = [*itertools.product(CHANGES, OPTIONS)]
    for number, (change, options) in enumerate(campaign.pick(cases, SAMPLE)):
        here = Home(tmp_path / str(number))
        here.configure(BOTH)
        assert here("install", "--user", "--backend", backend).code == 0
        for step in CHANGES[change]:
            step(here)
        check_previews(here, words_of(backend, options), (change, options))


@pytest.mark.parametrize("backend", ["systemd", "cron"])
def test_previews_say_what_install_does_after_a_kill(
    backend: str, tmp_path: Path, campaign: Campaign
) -> None:
    cases = [
        *itertools.product(
            ("install", "other times", "uninstall"), range(1, 30, 2), ((), ("--no-start",), ("--installed",))
        )
    ]
    for number, (what, step, options) in enumerate(campaign.pick(cases, SAMPLE)):
        here = Home(tmp_path / str(number))
        here.configure(BOTH)
        if what != "install":
            assert here("install", "--user", "--backend", backend).code == 0
        if what == "other times":
            here.configure(BOTH.replace("2h", "3h"))
        here.first = KILL.format(step=step)
        here(*(("uninstall", "--all", "--user") if what == "uninstall" else words_of(backend, ())))
        here.first = ""
        check_previews(here, words_of(backend, options), (what, step, options))
