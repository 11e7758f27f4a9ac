"""Documented jobs write only to directories that their user can write to."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "README.zh-CN.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def written(job: dict[str, Any]) -> list[str]:
    """Return the paths that a job writes, as in its config."""
    places = (job.get("output", {}).get("file"), job.get("metrics", {}).get("textfile"), job.get("log_file"))
    return [place for place in places if place]


def documented() -> list[tuple[str, dict[str, Any]]]:
    return [
        (str(page.relative_to(ROOT)), job)
        for page in PAGES
        for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
        for job in tomllib.loads(block).get("jobs", {}).values()
    ]


def test_documents_contain_jobs_that_write() -> None:
    assert len([page for page, job in documented() if written(job)]) >= 4


@pytest.mark.parametrize(("page", "job"), documented())
def test_documented_job_writes_to_directories_of_its_user(page: str, job: dict[str, Any]) -> None:
    outside = [place for place in written(job) if place.startswith("/")]
    assert not outside or "run_as" in job, f"{page}: a dynamic user cannot write {outside}"


def test_example_of_init_writes_to_the_state_directory() -> None:
    assert not re.search(r'file = "/', (ROOT / "deploy/config/job.toml.j2").read_text())


@pytest.mark.parametrize("page", ["docs/monitoring.md", "docs/zh-CN/monitoring.md"])
def test_documented_metrics_directory_belongs_to_the_user_of_the_job(page: str) -> None:
    text = (ROOT / page).read_text()
    [job] = [job for where, job in documented() if where == page and written(job)]
    directory = Path(job["metrics"]["textfile"]).parent
    assert f"useradd --system {job['run_as']}" in text
    assert f"install -d -o {job['run_as']} {directory}" in text
    assert f"--collector.textfile.directory={directory}" in text
