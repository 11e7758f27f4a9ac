"""Fetching a file that a workflow returned: its address is signed, and the key is never sent there."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import requests

from ..messages.message import msg
from . import transport
from .client import ConnectionLost, Message, PendingCall, Reply
from .download_hosts import DownloadHosts

_CHUNK = 65536
_SILENCE = 30.0  # seconds without a byte


def download(
    url: str,
    file: BinaryIO,
    *,
    tell: Callable[[PendingCall, Message], None],
    largest: int,
    hosts: DownloadHosts,
    ca_file: Path | None,
    connect_timeout: float,
    headers: Mapping[str, str] | None = None,
) -> PendingCall:
    """GET an address into a file; tells Reply (200: the file is whole) or Broken. largest: bytes.

    ca_file and headers: for this address alone, not for where it redirects to.
    """

    def exchange(call: PendingCall) -> Iterator[Message]:
        with transport.session(call.witness, None) as session:
            response = _get(session, url, hosts, call.witness, ca_file, connect_timeout, dict(headers or {}))
            if isinstance(response, ConnectionLost):
                yield response
                return
            with response:
                if response.status_code != requests.codes.ok:
                    yield Reply(response.status_code, response.headers, b"")
                    return
                yield _receive(call, response, file, largest)

    return PendingCall(tell, exchange)


def _get(
    session: requests.Session,
    url: str,
    hosts: DownloadHosts,
    tracker: transport.ConnectionTracker,
    ca_file: Path | None,
    connect_timeout: float,
    headers: dict[str, str],
) -> requests.Response | ConnectionLost:
    """Follow a few redirects, each to http or https, and never from https to http."""
    for _ in range(transport.REDIRECTS):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return ConnectionLost(sent=False, reason=msg("its address is neither http nor https"))
        host = parts.hostname
        if not hosts.allows_host(host):
            return ConnectionLost(sent=False, reason=_on_private_network(host))
        by_proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)) is not None
        tracker.allows_peer = None if by_proxy else partial(hosts.allows_peer, host)
        response = transport.send(
            session, "GET", url, ca_file=ca_file, timeout=(connect_timeout, _SILENCE), headers=headers
        )
        location = response.headers.get("Location")
        if response.status_code not in transport.REDIRECT or not location:
            return response
        response.close()
        session.close()  # as in client
        target = urljoin(url, location)
        if parts.scheme == "https" and urlsplit(target).scheme != "https":
            return ConnectionLost(sent=True, reason=msg("its address redirects from https to what is not"))
        url, ca_file, headers = target, None, {}
    return ConnectionLost(
        sent=True,
        reason=msg("its address redirects more than {redirects} times", redirects=transport.REDIRECTS),
    )


def _on_private_network(host: str) -> str:
    return msg(
        "its host {host} is on a private network or this machine; if that is meant, name it in "
        "output.download_hosts",
        host=host,
    )


def _receive(call: PendingCall, response: requests.Response, file: BinaryIO, largest: int) -> Message:
    got = 0
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        got += len(chunk)
        if got > largest:
            call.hang_up()
            return ConnectionLost(
                sent=True, reason=msg("it has more than max_size = {largest} bytes", largest=largest)
            )
        file.write(chunk)
    data = response.headers.get("Content-Length", "")
    if data.isdecimal() and "Content-Encoding" not in response.headers and int(data) != got:
        return ConnectionLost(
            sent=True, reason=msg("it was cut off after {got} of {told} bytes", got=got, told=data)
        )
    return Reply(response.status_code, response.headers, b"")
