"""The manual pages in docs/man equal those generated from the code."""

import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dify_job.config.schema import FIELDS

from .conftest import CompareSnapshot

ROOT = Path(__file__).parents[2]
PAGES = ("dify-job.1", "dify-job.toml.5")


def generator() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "packaging" / "man.py"))


@pytest.mark.parametrize("name", PAGES)
def test_page_equals_the_generated_one(name: str, compare_snapshot: CompareSnapshot) -> None:
    compare_snapshot(ROOT / "docs" / "man" / name, generator()["PAGES"][name]())


@pytest.mark.packaging
@pytest.mark.parametrize("name", PAGES)
def test_page_has_no_groff_warnings(name: str) -> None:
    command = ["groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-z", str(ROOT / "docs" / "man" / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_manual_documents_exactly_the_keys_of_a_job() -> None:
    assert list(generator()["KEYS"]) == list(FIELDS)
