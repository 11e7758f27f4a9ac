"""The overview page in Chromium: screenshots, contrast, labels, hostile text, no script, no network."""

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dify_job.report.page import render_page
from dify_job.report.status import HostStatus
from tests.support.histories import record
from tests.support.statuses import NOW, host, job_status

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("english")]

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MOST_DIFFERENT = 0.03  # share of pixels: allows another font version, not another layout
HOSTILE = (
    "<script>alert(1)</script>\"><img src=x onerror=alert(2)>'</title></style></svg><svg onload=alert(3)>"
    "{{ 7 * 7 }}{% for x in y %} \x1b[31mred\x07 \u202egnp.exe \ud800 javascript:alert(4)"
)
Look = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> Look:
    """Function that runs tasks of look.mjs, with the text of a page in place of its path."""
    if CHROMIUM is None or shutil.which("npm") is None:
        pytest.skip("needs Chromium, Node.js and npm: sudo apt-get install -y chromium nodejs npm")
    with (HERE / "package.json").open("rb") as lock:  # of several workers one installs
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (HERE / "node_modules/.package-lock.json").exists():  # npm writes it last
            subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE, check=True)
    directory = tmp_path_factory.mktemp("pages")

    def run(*tasks: dict[str, Any]) -> list[dict[str, Any]]:
        for number, task in enumerate(tasks):
            page = directory / f"{number}.html"
            page.write_text(task["html"], encoding="utf-8", errors="backslashreplace")
            task["html"] = str(page)
        done = subprocess.run(
            ["node", "look.mjs"],
            input=json.dumps(tasks),
            cwd=HERE,
            env=os.environ | {"CHROMIUM": str(CHROMIUM)},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return run


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def page_of(status: HostStatus) -> str:
    return render_page(status, host="reports.example.com")


@pytest.mark.parametrize(
    ("jobs", "width", "dark"),
    [
        (10, 1400, False),
        (10, 1400, True),
        (10, 400, False),
        (10, 400, True),
        (1, 1400, False),
        (100, 1400, False),
    ],
)
def test_page_equals_its_screenshot(
    look: Look, tmp_path: Path, request: pytest.FixtureRequest, jobs: int, width: int, dark: bool
) -> None:
    name = f"{jobs}-{width}-{'dark' if dark else 'light'}.png"
    expected, shot = HERE / "screenshots" / name, tmp_path / name
    (seen,) = look(
        {
            "html": page_of(host(jobs)),
            "width": width,
            "dark": dark,
            "clip": 1400,
            "shot": str(shot),
            "expected": str(expected),
        }
    )
    if request.config.getoption("--renew-contract"):
        expected.parent.mkdir(exist_ok=True)
        shutil.copy(shot, expected)
        return
    assert seen["size"][:2] == seen["size"][2:], f"another size than {expected}: {shot}"
    assert seen["different"] <= MOST_DIFFERENT, f"differs from {expected}: {shot}"


@pytest.mark.parametrize("language", ["C", "zh_CN.UTF-8"])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("jobs", [1, 10, 100])
def test_page_is_accessible(
    look: Look, monkeypatch: pytest.MonkeyPatch, jobs: int, dark: bool, language: str
) -> None:
    monkeypatch.setenv("LC_ALL", language)
    html = page_of(host(jobs, 60))
    for seen in look(*({"html": html, "width": width, "dark": dark, "axe": True} for width in (400, 1400))):
        assert seen["violations"] == []
        assert seen["overflow"] <= 0, "it scrolls to the side"
        assert seen["lang"] == ("zh-CN" if language.startswith("zh") else "en")
        assert seen["requests"] == seen["dialogs"] == seen["errors"] == []


def test_page_follows_the_preferred_colour_scheme(look: Look) -> None:
    html = page_of(host(1))
    light, dark = look(*({"html": html, "width": 1400, "dark": dark} for dark in (False, True)))
    assert light["background"] != dark["background"]


@pytest.mark.parametrize(("width", "height"), [(400, 800), (1400, 800)])
def test_reasons_of_failures_are_on_the_first_screen(look: Look, width: int, height: int) -> None:
    (seen,) = look({"html": page_of(host(100)), "width": width, "height": height})
    assert 'failed at "Summarise" (llm): [Errno 111] Connection refused' in seen["firstScreen"]
    assert any("could not be reached" in reason for reason in seen["firstScreen"])


def test_hostile_text_is_escaped(look: Look) -> None:
    node = {"title": HOSTILE, "type": HOSTILE, "error": HOSTILE}
    past = [
        record(NOW, "failed", message=HOSTILE, workflow_run_id=HOSTILE, failed_node=node, hint=HOSTILE),
        record(NOW, HOSTILE, message=HOSTILE),
    ]
    row = job_status(
        "daily", past, description=HOSTILE, schedule=HOSTILE, other_problems=(HOSTILE,), config_error=HOSTILE
    )
    assert row.history is not None
    row = replace(row, history=replace(row.history, console_url=f"javascript:alert(5)//{HOSTILE}"))
    (seen,) = look(
        {"html": render_page(HostStatus(at=NOW, jobs=(row,)), host=HOSTILE), "width": 1400, "axe": True}
    )
    assert seen["dialogs"] == seen["requests"] == seen["errors"] == seen["violations"] == []
    assert seen["scripts"] == 0
    assert [link for link in seen["links"] if not link.startswith("#")] == []
    assert "<script>alert(1)</script>" in seen["text"]
    assert "{{ 7 * 7 }}" in seen["text"]
    assert "\\x1b[31m" in seen["text"]
    assert "\u202e" not in seen["text"]
