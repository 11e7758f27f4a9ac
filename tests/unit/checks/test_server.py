"""Checks of server and app, from values in place of a server."""

from datetime import timedelta

import pytest

from dify_job.checks.finding import Severity
from dify_job.checks.server import check_transport
from dify_job.config.model import Origin, Source
from dify_job.dify.app_info import AppProbe
from tests.support.host_contexts import NOW, context_of, make_job


@pytest.mark.parametrize(
    ("base_url", "level"),
    [
        ("http://localhost/v1", Severity.OK),
        ("http://127.0.0.2:5001/v1", Severity.OK),
        ("http://[::1]:5001/v1", Severity.OK),
        ("http://dify.example.com/v1", Severity.WARN),
        ("http://127.evil.example.com/v1", Severity.WARN),
        ("https://dify.example.com/v1", Severity.OK),
    ],
)
def test_unencrypted_key_to_another_machine_is_a_warning(base_url: str, level: Severity) -> None:
    assert check_transport(context_of(make_job(base_url))).severity is level


@pytest.mark.parametrize(
    ("days", "level"), [(400, Severity.OK), (15, Severity.OK), (13, Severity.WARN), (0, Severity.WARN)]
)
def test_certificate_expiring_within_two_weeks_is_a_warning(days: int, level: Severity) -> None:
    seen = AppProbe(certificate_ends=NOW + timedelta(days=days, hours=1))
    check = check_transport(context_of(make_job(), seen))
    assert check.severity is level
    assert f"{NOW + timedelta(days=days, hours=1):%Y-%m-%d}" in check.message


def test_fix_for_unencrypted_transport_names_the_origin_of_base_url() -> None:
    origins = {"base_url": Origin(Source.FILE, "/etc/x.toml", 7)}
    found = check_transport(context_of(make_job("http://far.example.com/v1", origins=origins)))
    assert found.fix == "set base_url to an https:// address in /etc/x.toml:7"
