import socket
from typing import Any

import pytest

from dify_job.dify.download import DownloadHosts

NAMES = {
    "dify.example.com": "93.184.215.14",
    "files.example.com": "93.184.215.15",
    "inside.example.com": "10.0.0.7",
    "here.example.com": "127.0.0.1",
    "dify.internal": "192.168.1.5",
    "minio.internal": "192.168.1.6",
}


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        address = NAMES.get(host, host)
        if not address.replace(".", "").isdigit() and ":" not in address:
            raise socket.gaierror
        return [(0, 0, 0, "", (address, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize(
    ("server", "host", "allowed"),
    [
        ("dify.example.com", "files.example.com", True),
        ("dify.example.com", "inside.example.com", False),
        ("dify.example.com", "here.example.com", False),
        ("dify.example.com", "10.1.2.3", False),
        ("dify.example.com", "100.64.0.1", False),
        ("dify.example.com", "0.0.0.0", False),
        ("dify.example.com", "::1", False),
        ("dify.example.com", "::ffff:127.0.0.1", False),
        ("dify.example.com", "64:ff9b::7f00:1", False),
        ("dify.example.com", "fd00::1", False),
        ("dify.example.com", "169.254.169.254", False),
        ("dify.internal", "minio.internal", True),
        ("dify.internal", "here.example.com", False),
        ("dify.internal", "169.254.169.254", False),
        ("127.0.0.1", "localhost.example.com", True),
        ("127.0.0.1", "127.0.0.2", True),
        ("127.0.0.1", "minio.internal", True),
        ("127.0.0.1", "169.254.169.254", False),
        ("dify.internal", "dify.internal", True),
    ],
)
def test_allowed_hosts_of_downloads(server: str, host: str, allowed: bool) -> None:
    hosts = DownloadHosts(f"https://{server}/v1", ())
    assert hosts.allows_host(host) is allowed
    assert DownloadHosts(f"https://{server}/v1", (host,)).allows_host(host)


def test_address_of_the_connection_is_checked() -> None:
    hosts = DownloadHosts("https://dify.example.com/v1", ("inside.example.com",))
    assert hosts.allows_peer("files.example.com", "93.184.215.15")
    assert not hosts.allows_peer("files.example.com", "127.0.0.1")
    assert not hosts.allows_peer("files.example.com", "fe80::1%eth0")
    assert hosts.allows_peer("inside.example.com", "10.0.0.7")
