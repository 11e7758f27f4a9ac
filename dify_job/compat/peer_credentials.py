"""The owner of the socket at the other end of a loopback connection, from /proc/self/net/tcp."""

import errno
import ipaddress
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from ..messages.message import msg
from .auth import Peer

_TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_ESTABLISHED = "01"  # in other states a socket can have lost its owner, and the table shows 0, which is root


def peer_of(connection: socket.socket) -> Peer:
    """Return the other end of a TCP connection.

    Args:
        connection: A connected socket.

    Raises:
        OSError: It is no TCP connection, or the peer closed it.
    """
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        raise OSError(errno.EPROTONOSUPPORT, msg("the connection is not TCP"))
    there, here = connection.getpeername()[:2], connection.getsockname()[:2]
    peer = Peer(str(there[0]))
    if not peer.local:
        return peer
    lines = [line for table in _TABLES for line in _lines(table)]
    return Peer(peer.address, owner_of(lines, _end(*there), _end(*here)))


def owner_of(lines: Iterable[str], local: tuple[bytes, int], remote: tuple[bytes, int]) -> int | None:
    """Return the user of an established socket; None if no process or several users hold it.

    Args:
        lines: The lines of /proc/net/tcp and tcp6.
        local: Address and port of the socket.
        remote: Address and port of its peer.
    """
    owners = set()
    for line in lines:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _ESTABLISHED or fields[9] == "0":
            continue
        try:
            if (_read(fields[1]), _read(fields[2])) == (local, remote):
                owners.add(int(fields[7]))
        except ValueError:
            continue
    return owners.pop() if len(owners) == 1 else None


def _lines(table: Path) -> list[str]:
    try:
        return table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return []


def _end(address: str, port: int) -> tuple[bytes, int]:
    return _one_family(ipaddress.ip_address(address).packed), port


def _read(text: str) -> tuple[bytes, int]:
    """Parse `0100007F:1F40`: each 32 bits of the address are in the machine's byte order (proc(5))."""
    address, port = text.split(":")
    raw = bytes.fromhex(address)
    if len(raw) not in (4, 16):
        raise ValueError(text)
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    return _one_family(b"".join(word.to_bytes(4, sys.byteorder) for word in words)), int(port, 16)


def _one_family(packed: bytes) -> bytes:
    """Return an IPv4-mapped IPv6 address as IPv4."""
    return packed[12:] if packed.startswith(bytes(10) + b"\xff\xff") and len(packed) == 16 else packed
