"""From which addresses a file may be fetched: public ones, and those that the job's own server is among."""

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class DownloadHosts:
    """The hosts that a job may fetch files from.

    Always: public addresses, and the host of the server itself. Private addresses where the server has one or
    is on this machine; this machine where the server is on it. All else where output.download_hosts names it.
    """

    def __init__(self, base_url: str, named: Collection[str]) -> None:
        self._server = (urlsplit(base_url).hostname or "").lower()
        self._named = {name.lower() for name in named} | {self._server}
        self._kinds: set[str] | None = None

    def allows_host(self, host: str) -> bool:
        """Resolve a host; return False where one of its addresses is not allowed."""
        return host.lower() in self._named or all(map(self._allows, _addresses(host)))

    def allows_peer(self, host: str, address: str) -> bool:
        """Return False where a connection to a host came out at an address that is not allowed."""
        return host.lower() in self._named or self._allows(_unwrapped(address))

    def _allows(self, address: _Address) -> bool:
        kind = _kind(address)
        return kind == "public" or kind in self._allowed_kinds()

    def _allowed_kinds(self) -> set[str]:
        if self._kinds is None:
            server = {_kind(address) for address in _addresses(self._server)}
            self._kinds = {"private"} if server & {"private", "loopback"} else set()
            self._kinds |= server & {"loopback"}
        return self._kinds


def _addresses(host: str) -> list[_Address]:
    """Return the addresses of a host; none where it cannot be resolved, as behind a proxy."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [_unwrapped(str(one[4][0])) for one in found]


def _unwrapped(text: str) -> _Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _kind(address: _Address) -> str:
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if address.is_link_local or address.is_multicast:
        return "local"
    return "public" if address.is_global else "private"
