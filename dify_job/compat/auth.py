"""Authorization of HTTP requests: by token or by socket owner; requests of web pages are denied. Pure."""

import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass

from ..messages.message import msg
from .http_request import HttpError, Request

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?)(:\d{1,5})?")
_OWN_PAGES = ("same-origin", "none")


@dataclass(frozen=True, slots=True)
class Peer:
    """The peer of a connection. uid: the owner of its socket; None if unknown."""

    address: str
    uid: int | None = None

    @property
    def local(self) -> bool:
        """True for a connection from this machine over loopback."""
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback


@dataclass(frozen=True, slots=True)
class Guard:
    """The access rule. token: the token that each request must have; None if only `users` have access."""

    users: frozenset[int]
    token: bytes | None = None

    def admit(self, peer: Peer) -> None:
        """Check the owner of a socket before anything is read from it.

        Args:
            peer: The other end.

        Raises:
            HttpError: (403) The owner has no access.
        """
        if self.token is None and (not peer.local or peer.uid is None or peer.uid not in self.users):
            raise HttpError(
                403,
                msg("permission denied: only root and the user who ran install can use the HTTP interface"),
            )

    def check(self, request: Request) -> None:
        """Check the token and the origin of a request.

        Args:
            request: The head of the request.

        Raises:
            HttpError: (400, 401, 403) The request has no valid token, or a web page sent it.
        """
        if self.token is not None:
            _check_token(request.fields.get("authorization"), self.token)
        name = _host_name(request)
        if self.token is None and name not in ("localhost", "127.0.0.1", "[::1]"):
            raise HttpError(
                403,
                msg(
                    "the Host header names {name}, but only loopback addresses of this machine are allowed",
                    name=name,
                ),
            )
        _check_page(request)


def _check_token(given: str | None, token: bytes) -> None:
    scheme, _, word = (given or "").partition(" ")
    known = scheme.lower() == "bearer"
    # Digests have equal lengths, so compare_digest does not reveal the length of the token.
    same = hmac.compare_digest(_digest(word.strip().encode("latin-1", errors="replace")), _digest(token))
    if not (known and same):
        raise HttpError(401, msg("the request needs a bearer token: Authorization: Bearer ..."))


def _host_name(request: Request) -> str:
    """Return the host in the request; after DNS rebinding, a page sends its own host."""
    host = _HOST.fullmatch(request.fields.get("host", ""))
    if host is None:
        raise HttpError(400, msg("the Host header is missing or malformed"))
    return host[1].lower()


def _check_page(request: Request) -> None:
    """Reject requests of web pages: browsers send Origin with each POST, and Sec-Fetch-Site always."""
    host = request.fields["host"].lower()
    origin = request.fields.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
        raise HttpError(403, msg("requests from web pages of another origin are not allowed"))
    if request.fields.get("sec-fetch-site", "none") not in _OWN_PAGES:
        raise HttpError(403, msg("requests from web pages of another site are not allowed"))


def _digest(word: bytes) -> bytes:
    return hashlib.sha256(word).digest()
