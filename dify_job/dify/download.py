"""Download a file that a workflow returned. Its address is signed, so the key is never sent."""

import errno
import ipaddress
import socket
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import requests

from ..messages.message import msg
from . import transport
from .client import CallEvent, OnEvent, PendingCall, Reply

_CHUNK = 65536
_IDLE_TIMEOUT = 30.0  # seconds without a byte

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class DownloadHosts:
    """The hosts from which a job may download files.

    Public addresses and the server's host are always allowed. Private addresses are allowed if the server has
    one or runs on this machine; loopback, if the server runs on it; other hosts, if output.download_hosts has
    them.
    """

    def __init__(self, base_url: str, named: Collection[str]) -> None:
        """Resolve nothing yet.

        Args:
            base_url: Of the job's server.
            named: The hosts of output.download_hosts.
        """
        self._server = (urlsplit(base_url).hostname or "").lower()
        self._named = {name.lower() for name in named} | {self._server}

    def allows_host(self, host: str) -> bool:
        """Resolve a host; return False if one of its addresses is not allowed."""
        return host.lower() in self._named or all(map(self._allows, _addresses(host)))

    def allows_peer(self, host: str, address: str) -> bool:
        """Return False if the connection to a host has an address that is not allowed.

        Args:
            host: The host.
            address: Of the connection.
        """
        return host.lower() in self._named or self._allows(_unwrapped(address))

    def _allows(self, address: _Address) -> bool:
        return _kind(address) in self._kinds

    @cached_property
    def _kinds(self) -> set[str]:
        server = {_kind(one) for one in _addresses(self._server)}
        private = {"private"} if server & {"private", "loopback"} else set()
        return {"public"} | (server & {"loopback"}) | private


def download(
    url: str,
    file: BinaryIO,
    *,
    on_event: OnEvent,
    largest: int,
    hosts: DownloadHosts,
    ca_file: Path | None,
    connect_timeout: float,
    headers: Mapping[str, str] | None = None,
) -> PendingCall:
    """GET an address into a file. The call reports a Reply (200: the file is complete) or ConnectionLost.

    Args:
        url: The address.
        file: Receives the content.
        on_event: Called like that of DifyClient.
        largest: The maximum size of the file in bytes.
        hosts: The allowed hosts.
        ca_file: Certificates to trust at this address, but not after a redirect.
        connect_timeout: Seconds for each address tried.
        headers: Extra request headers for this address, but not after a redirect.
    """

    def exchange(call: PendingCall) -> Iterator[CallEvent]:
        with transport.session(call.tracker, None) as session:
            response = _get(session, url, hosts, call.tracker, ca_file, connect_timeout, dict(headers or {}))
            with response:
                if response.status_code == requests.codes.ok:
                    _receive(call, response, file, largest)
                yield Reply(response.status_code, response.headers, b"")

    return PendingCall(on_event, exchange)


def _get(
    session: requests.Session,
    url: str,
    hosts: DownloadHosts,
    tracker: transport.ConnectionTracker,
    ca_file: Path | None,
    connect_timeout: float,
    headers: dict[str, str],
) -> requests.Response:
    """Follow a few redirects, each to http or https, and never from https to http. Raises OSError."""
    for _ in range(transport.REDIRECTS):
        url = transport.normalised(url)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OSError(errno.EPERM, msg("the file's URL is neither http nor https"))
        host = parts.hostname
        if not hosts.allows_host(host):
            reason = msg(
                "the file's host {host} is on a private network or on this machine. To allow it, "
                "add it to output.download_hosts",
                host=host,
            )
            raise OSError(errno.EPERM, reason)
        by_proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)) is not None
        tracker.allows_peer = None if by_proxy else partial(hosts.allows_peer, host)
        response = transport.send(
            session, "GET", url, ca_file=ca_file, timeout=(connect_timeout, _IDLE_TIMEOUT), headers=headers
        )
        location = response.headers.get("Location")
        if response.status_code not in transport.REDIRECT or not location:
            return response
        response.close()
        session.close()  # as in client
        target = urljoin(url, location)
        if parts.scheme == "https" and urlsplit(target).scheme != "https":
            raise OSError(errno.EPERM, msg("the file's URL redirects from https to another protocol"))
        url, ca_file, headers = target, None, {}
    reason = msg("the file's URL redirects more than {redirects} times", redirects=transport.REDIRECTS)
    raise OSError(errno.ELOOP, reason)


def _receive(call: PendingCall, response: requests.Response, file: BinaryIO, largest: int) -> None:
    """Write the content to the file. Raises OSError if it is incomplete or too large."""
    got = 0
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        got += len(chunk)
        if got > largest:
            call.close()
            raise OSError(errno.EFBIG, msg("it has more than {largest} bytes (max_size)", largest=largest))
        file.write(chunk)
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and "Content-Encoding" not in response.headers and int(length) != got:
        reason = msg("the download was cut off after {got} of {length} bytes", got=got, length=length)
        raise OSError(errno.EIO, reason)


def _addresses(host: str) -> list[_Address]:
    """Return the addresses of a host; empty if it cannot be resolved, for example behind a proxy."""
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
