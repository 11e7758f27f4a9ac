"""Hosts that bypass a proxy: this machine, and those of NO_PROXY in any form."""

import pytest

from dify_job.dify.transport import bypasses_proxy


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("http://localhost/v1", "", True),
        ("http://127.1.2.3:5001/v1", "", True),
        ("http://0.0.0.0/v1", "", True),
        ("http://[::1]/v1", "", True),
        ("http://[0:0:0:0:0:0:0:1]/v1", "", True),
        ("http://[::]:5001/v1", "", True),
        ("http://[::ffff:127.0.0.1]/v1", "", True),
        ("http://[fd00::1]/v1", "", False),
        ("http://[fd00::1]/v1", "[fd00::1]", True),
        ("http://[fd00::1]/v1", "fd00::1", True),
        ("http://[fd00:0::1]/v1", "x.example, fd00:0:0::1 ", True),
        ("http://[fd00::1]/v1", "[fd00::1]:80", True),
        ("http://[fd00::1]:8443/v1", "[fd00::1]:8443", True),
        ("http://[fd00::1]:8443/v1", "[fd00::1]:80", False),
        ("https://[fd00::1]/v1", "[fd00::1]:443", True),
        ("http://[fd00::1]/v1", "fd00::/8", True),
        ("http://[fd00::1]/v1", "[fd00::]/8", True),
        ("http://[fd00::1]/v1", "[fd00::/8]", True),
        ("http://[fd00::1]/v1", "fe80::/10,::/0", True),
        ("http://[fd00::1]/v1", "fe80::/10", False),
        ("http://[fe80::1%25eth0]/v1", "fe80::/10", True),
        ("http://[fd00::1]/v1", "fd00::/999,[],[/8],:,10.0.0.0/8", False),
        ("http://example.com/v1", "::/0", False),
        ("http://[::ffff:10.9.8.7]/v1", "10.9.8.0/24", True),
        ("http://10.9.8.7:8443/v1", "10.9.8.7:8443", True),
        ("http://10.9.8.7:8443/v1", "10.9.8.7:80,11.0.0.0/8,::/0", False),
        ("http://10.9.8.7/v1", "0.0.0.0/0", True),
        ("http://10.9.8.7/v1", "[10.9.8.7]:80", True),
        ("http://10.9.8.7/v1", "10.9.8,9.8.7", False),
        ("http://dify.example.com/v1", "*.example.com", True),
        ("http://Dify.Example.com./v1", "x, EXAMPLE.com. ", True),
        ("http://dify.example.com:8443/v1", "*.example.com:8443", True),
        ("http://dify.example.com/v1", "*.example.com:8443,ample.com,10.0.0.0/8,*.org", False),
    ],
)
def test_no_proxy_is_matched(url: str, no_proxy: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    assert bypasses_proxy(url) is direct
    monkeypatch.setenv("no_proxy", no_proxy)
    monkeypatch.setenv("NO_PROXY", "")
    assert bypasses_proxy(url) is direct
