"""Addresses and units of the HTTP socket."""

from dataclasses import replace
from pathlib import Path

import pytest

from dify_job.messages.errors import JobError
from dify_job.schedulers.http_socket import HttpSocketConfig, address_of, render_http_socket
from dify_job.schedulers.model import Scope
from dify_job.schedulers.systemctl import SystemdPaths

PLACES = SystemdPaths(Path("/etc/systemd/system"), Path("/var/lib/systemd/timers"))


CONFIG = HttpSocketConfig(
    listen="127.0.0.1:8000", jobs=["daily"], config_path=Path("/etc/dify-job/config.toml"),
    python=Path("/opt/dify-job/bin/python"), uid=1000,
)  # fmt: skip


@pytest.mark.parametrize(
    "listen", ["", "nine", "localhost:8000", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "::1:80"]
)
def test_invalid_address_is_rejected(listen: str) -> None:
    with pytest.raises(JobError, match="not an address"):
        address_of(listen)


def test_valid_addresses_are_accepted() -> None:
    assert address_of("8000") == ("127.0.0.1", 8000)
    assert address_of("[::1]:8000") == ("::1", 8000)


@pytest.mark.parametrize("listen", ["0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000", "[2001:db8::1]:8000"])
def test_non_loopback_address_without_token_is_rejected(listen: str) -> None:
    with pytest.raises(JobError, match="needs a token"):
        render_http_socket(replace(CONFIG, listen=listen), Scope.SYSTEM, 252, PLACES)
    with_token = replace(CONFIG, listen=listen, token_file=Path("/etc/dify-job/http.token"))
    text = render_http_socket(with_token, Scope.SYSTEM, 252, PLACES)[0].text
    assert listen in text


def test_units_sandbox_the_handler() -> None:
    socket_unit, service = (
        artifact.text for artifact in render_http_socket(CONFIG, Scope.SYSTEM, 252, PLACES)
    )
    assert "ListenStream=127.0.0.1:8000\n" in socket_unit
    assert "Accept=no\n" in socket_unit
    assert "CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_CHOWN\n" in service
    assert "RestrictAddressFamilies=AF_UNIX\n" in service
    assert "dify_job http --config /etc/dify-job/config.toml --allow-uid 1000 -- daily\n" in service
    assert "# jobs: daily\n" in service


@pytest.mark.parametrize(
    ("token", "protect"),
    [("/root/http.token", "read-only"), ("/home/dana/t", "read-only"), ("/etc/dify-job/t", "yes")],
)
def test_token_file_below_a_home_can_be_read_by_the_service(token: str, protect: str) -> None:
    config = replace(CONFIG, token_file=Path(token))
    service = render_http_socket(config, Scope.SYSTEM, 252, PLACES)[1].text
    assert f"ProtectHome={protect}\n" in service


def test_token_file_hidden_from_the_service_is_rejected() -> None:
    for path in ("/tmp/http.token", "/var/tmp/t"):
        with pytest.raises(JobError, match="has a private /tmp"):
            render_http_socket(replace(CONFIG, token_file=Path(path)), Scope.SYSTEM, 252, PLACES)


def test_http_socket_and_service_have_no_start_limit() -> None:
    socket_unit, service = (one.text for one in render_http_socket(CONFIG, Scope.SYSTEM, 252, PLACES))
    assert "TriggerLimitIntervalSec=0\n" in socket_unit
    assert "StartLimitIntervalSec=0\n" in service
    assert "StandardInput=socket\n" in service
