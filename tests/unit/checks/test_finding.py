"""Findings: their fixes and their JSON."""

import pytest

from dify_job.checks.finding import Finding, Severity, location_of
from dify_job.config.model import Origin, Source
from dify_job.messages.command import Reader, command
from dify_job.messages.message import msg
from tests.support.host_contexts import make_job


@pytest.mark.parametrize(
    ("origins", "key", "place"),
    [
        ({"inputs": Origin(Source.FILE, "/a.toml", 4)}, "inputs", "/a.toml:4"),
        ({"inputs": Origin(Source.FILE, "/a.toml", 4)}, "files", "the table [jobs.daily] of /a.toml"),
        ({"base_url": Origin(Source.ENVIRONMENT, "DIFY_BASE_URL")}, "base_url", "environment DIFY_BASE_URL"),
        ({}, "base_url", "the environment variable DIFY_BASE_URL"),
        ({}, "ca_file", "the table [jobs.daily] of a configuration file"),
    ],
)
def test_fix_names_the_file_and_line_of_a_setting(origins: dict[str, Origin], key: str, place: str) -> None:
    assert location_of(make_job(origins=origins), key) == place


def test_finding_in_json_is_english() -> None:
    finding = Finding("key", Severity.FAIL, msg("{path} is missing", path="/k"), command("dify-job", "init"))
    assert finding.for_reader(Reader(by_sudo=True)).as_json() == {
        "check": "key",
        "level": "fail",
        "message": "/k is missing",
        "fix": "sudo dify-job init",
    }
