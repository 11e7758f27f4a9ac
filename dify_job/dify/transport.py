"""HTTP transport with requests: track whether a byte was sent, close sockets, describe errors."""

import contextlib
import ctypes
import errno
import http.client
import ipaddress
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection

from .. import __version__
from ..messages.message import msg
from .chunked import Chunks
from .models import Failure, FailureCause

# ValueError: requests and http.client raise it for a malformed Location or Content-Length.
ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)
REDIRECTS = 5  # of one call
REDIRECT = frozenset({301, 302, 303, 307, 308})
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")  # HTTPConnection._tunnel
_MAX_CONNECT = 86400.0  # poll(2) accepts at most 24 days
_SWITCHING_PROTOCOLS = 101  # not an interim answer: another protocol follows
_LARGE = 1024 * 1024  # bytes
_MAX_SIZE = 256 * 1024 * 1024  # bytes of one answer or event; 16 MB are recorded (`big-16mb-blocking`)
_M_MMAP_THRESHOLD = -3  # malloc.h
_KEEP_ALIVE = (  # keeps idle connections alive in routers, and detects lost ones
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


class UnreadableFileError(Exception):
    """A file to send cannot be read; the text is the reason."""


class ConnectionTracker:
    """The state of the connection of a call.

    Until it is established (TCP, proxy tunnel and TLS included), not a byte of the request has left, so the
    call provably started nothing. Afterwards, this is unknown.

    Attributes:
        connected: True once the connection is established.
        since: Monotonic time at which it was established.
        allows_peer: Called with the address before anything is sent; False ends the call.
        certificate: The certificate of the server.
    """

    def __init__(self) -> None:
        self.connected = False
        self.allows_peer: Callable[[str], bool] | None = None
        self.since = 0.0
        self.certificate: dict[str, Any] | None = None
        self._socket: socket.socket | None = None
        self._shut = False

    def established(self, sock: Any) -> None:
        """Record the connection, which calls this before anything is sent."""
        if self.allows_peer is not None and not self.allows_peer(sock.getpeername()[0]):
            sock.close()
            raise OSError(errno.EACCES, msg("the host is on a private network"))
        self.since = time.monotonic()
        self.connected = True
        if isinstance(sock, ssl.SSLSocket):
            self.certificate = sock.getpeercert()
        self._socket = getattr(sock, "socket", sock)  # TLS through a TLS proxy wraps the socket twice
        if self._shut:
            self.shut_down()

    @property
    def age(self) -> float:
        """Seconds since the connection was established; 0 before."""
        return time.monotonic() - self.since if self.connected else 0.0

    def shut_down(self) -> None:
        """Close the connection while another thread reads from it."""
        self._shut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown, which removes the TLS state while another thread reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Response(http.client.HTTPResponse):
    """An answer without interim heads, whose chunks can be read as they arrive.

    http.client skips only 100, but 102 and 103 also precede an answer (RFC 9110, section 15.2).
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._chunks = Chunks()

    def begin(self) -> None:
        super().begin()
        while self.status < 200 and self.status != _SWITCHING_PROTOCOLS:
            vars(self)["headers"] = None  # begin() reads a head only if there is none
            super().begin()

    def read1(self, n: int = -1) -> bytes:
        if self.fp is None or not self.chunked:
            return super().read1(n)
        body = b""
        while not body and not self._chunks.ended:
            data = self.fp.read1(n)
            if not data:
                raise http.client.IncompleteRead(b"")
            try:
                body = self._chunks.feed(data)
            except ValueError:
                raise http.client.IncompleteRead(b"") from None
        if self._chunks.ended:
            self.close()
        return body


class _Adapter(HTTPAdapter):
    """An adapter whose connections report to the tracker (urllib3's ConnectionCls)."""

    # requests before 2.32.2 has another hook; this line then fails, since no call may lack the tracker.
    overridden = HTTPAdapter.get_connection_with_tls_context

    def __init__(self, tracker: ConnectionTracker) -> None:
        super().__init__(max_retries=0)

        class Http(HTTPConnection):
            response_class = _Response
            default_socket_options = (*HTTPConnection.default_socket_options, *_KEEP_ALIVE)

            def connect(self) -> None:
                super().connect()
                tracker.established(self.sock)

        class Https(Http, HTTPSConnection):
            pass

        self._http, self._https = Http, Https

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = self._https if pool.scheme == "https" else self._http
        return pool

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        # No parameter is used, and requests before 2.34 fails at one without a value.
        resp.headers["Content-Type"] = resp.headers.get("Content-Type", "").partition(";")[0]
        return super().build_response(req, resp)


class _Auth(AuthBase):
    """Authentication with the key, or none.

    Without it, requests would use an entry of ~/.netrc for the host.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class _Session(requests.Session):
    """A session that reads neither the body nor the target of a redirect, even if it follows none."""

    def get_redirect_target(self, _resp: requests.Response) -> None:
        return None


def session(tracker: ConnectionTracker, key: str | None) -> requests.Session:
    """Return a session for one call on a new connection.

    The server closes idle connections after 2 s, which would make the outcome unknown
    (`keepalive-idle-table`).

    Args:
        tracker: The tracker of the connection.
        key: The app's API key; None if it must not be sent.
    """
    made = _Session()
    adapter = _Adapter(tracker)
    made.mount("http://", adapter)
    made.mount("https://", adapter)
    made.auth = _Auth(key)
    made.headers.update(
        {
            "User-Agent": f"dify-job/{__version__}",
            "Accept-Encoding": "identity",  # no proxy may buffer a stream to compress it
            "Connection": "close",
        }
    )
    return made


def prepare_memory(size: int) -> None:
    """Prepare for an answer or event of this size in memory.

    Raises:
        OSError: The size exceeds the limit (EFBIG).
    """
    if size > _MAX_SIZE:
        raise OSError(errno.EFBIG, msg("the response is larger than any response of Dify"))
    if size > _LARGE:
        _return_large_blocks()


@cache
def _return_large_blocks() -> None:
    """Make malloc return large blocks to the system when they are freed.

    glibc raises the threshold to the largest freed block (mallopt(3)): without this call, an event of 20 MB
    costs 6 times its size, with it 3 times.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError):  # a Python without ctypes, another libc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def send(
    session: requests.Session,
    method: str,
    url: str,
    *,
    ca_file: Path | None,
    timeout: tuple[float, float | None],
    data: Any = None,
    headers: dict[str, str] | None = None,
) -> requests.Response:
    """Send one request. The answer is streamed, and the caller follows redirects.

    Args:
        session: The result of `session`.
        method: GET or POST.
        url: The address.
        ca_file: Certificates to trust instead of the usual ones.
        timeout: Seconds to connect to each address, and seconds without a byte of the answer.
        data: The body.
        headers: Extra request headers.
    """
    connect, read = timeout
    try:
        return session.request(
            method,
            url,
            data=data,
            headers=headers,
            timeout=(min(connect, _MAX_CONNECT), read),
            # Per request, because REQUESTS_CA_BUNDLE overrides the session's; None: the default certificates.
            verify=str(ca_file) if ca_file is not None else ca_file_of_openssl(),
            proxies={"no_proxy": "*"} if bypasses_proxy(url) else {},
            allow_redirects=False,
            stream=True,
        )
    except (*ERRORS, UnreadableFileError, MemoryError):
        raise
    except Exception as error:  # a fault of a library at an answer must not become an internal error
        raise http.client.HTTPException(type(error).__name__) from error


def normalised(url: str) -> str:
    r"""Return a URL as requests sends it, so that every parser finds the same host in it.

    Of `http://a\@b`, urlsplit reads the host b, and urllib3 connects to a.

    Raises:
        ValueError: It is no URL.
    """
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    return str(prepared.url)


def check_encoding(response: requests.Response) -> None:
    """Check that the content of an answer can be decompressed; dify-job asks for no compression.

    Raises:
        OSError: It cannot, for example without the brotli package.
    """
    named = {name.strip().lower() for name in response.headers.get("Content-Encoding", "").split(",")}
    unknown = named - {"", "identity", "none", *urllib3.HTTPResponse.CONTENT_DECODERS}
    if unknown:
        reason = msg("a proxy compressed the answer with {names}", names=", ".join(sorted(unknown)))
        raise OSError(errno.EPROTONOSUPPORT, reason)


def ca_file_of_openssl() -> str | None:
    """Return SSL_CERT_FILE, which requests ignores; None leaves the choice to requests."""
    given = os.environ.get("SSL_CERT_FILE")
    if any(os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")):
        return None
    return given if given and os.access(given, os.R_OK) else None


def bypasses_proxy(url: str) -> bool:
    """Return whether requests to a URL use no proxy, even if the environment names one.

    Loopback addresses bypass the proxy, which has a loopback of its own and would receive the key
    unencrypted. This also supports forms of NO_PROXY that curl(1) or Go know and requests does not:
    `10.0.0.1:8443`, `[fd00::1]`, `fd00::/8`, `0.0.0.0/0`, `*.example.com`.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").partition("%")[0].rstrip(".")
    if re.fullmatch(r"localhost|127\.[\d.]+|(0\.){3}0", host) is not None:
        return True
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return _is_listed(host, port, os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "")


def _is_listed(host: str, port: int, listed: str) -> bool:
    """Return True for a loopback address and for an address in a NO_PROXY list."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return any(host == name or host.endswith(f".{name}") for name in _entries(listed, port))
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback or address.is_unspecified:
        return True
    for name in _entries(listed, port):
        with contextlib.suppress(ValueError):
            if address in ipaddress.ip_network(name, strict=False):
                return True
    return False


def _entries(listed: str, port: int) -> Iterator[str]:
    """Yield the names, addresses and networks of a NO_PROXY list that apply to a port."""
    for entry in listed.lower().split(","):
        form = re.fullmatch(r"\s*(?:\[([^\]]*)\](/\d+)?|([^\s:]+|[\da-f:.]+(?:/\d+)?))(?::(\d+))?\s*", entry)
        if form is not None and form[4] in (None, str(port)):
            name = form[3] or f"{form[1]}{form[2] or ''}"
            yield name.removeprefix("*").strip(".")


def reason_of(error: BaseException) -> Failure:
    """Describe an error with the server's host and port, but without URLs: a proxy's can hold a password."""
    causes = _causes(error)
    words = next((words for one in causes if (words := _description(one))), type(error).__name__)
    if isinstance(error, requests.exceptions.ProxyError):
        status = next((found[1] for one in causes if (found := _TUNNEL.match(str(one)))), "")
        cause = FailureCause.PROXY_LOGIN if status == "407" else FailureCause.PROXY
        words = f"HTTP {status}" if status else words
        return Failure.of(msg("proxy: {words}", words=words), cause)
    untrusted = next((one for one in causes if isinstance(one, ssl.SSLCertVerificationError)), None)
    cause = FailureCause.OTHER
    if untrusted is not None:
        cause = _CERTIFICATE_CAUSES.get(untrusted.verify_code, FailureCause.CERTIFICATE_UNTRUSTED)
    request = getattr(error, "request", None)
    if request is not None:
        host = urlsplit(request.url).netloc.rpartition("@")[2]
        words = msg("{host}: {words}", host=host, words=words)
    return Failure.of(words, cause)


def started_nothing(error: BaseException) -> bool:
    """Return True if the server ended TLS before it read the request (TLS 1.3 reports this afterwards)."""
    return any(
        isinstance(cause, ssl.SSLError) and cause.reason == _CLIENT_CERTIFICATE for cause in _causes(error)
    )


def _description(cause: BaseException) -> str | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return msg(
            "the TLS certificate is not trusted ({verify_message})", verify_message=cause.verify_message
        )
    if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return msg("the server does not use TLS: use http:// in the address")
    if isinstance(cause, ssl.SSLError) and cause.reason == _CLIENT_CERTIFICATE:
        return msg("the server requires a TLS client certificate, which dify-job cannot send")
    if isinstance(cause, ssl.SSLError):
        reason = cause.reason or cause.strerror or msg("no reason was given")
        return msg("the TLS connection failed ({reason})", reason=reason)
    for kind, words in _DESCRIPTIONS:
        if isinstance(cause, kind):
            return words
    return cause.strerror if isinstance(cause, OSError) else None


_CLIENT_CERTIFICATE = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
_CERTIFICATE_CAUSES = {
    10: FailureCause.CERTIFICATE_EXPIRED,  # X509_V_ERR_CERT_HAS_EXPIRED (x509_vfy.h)
    62: FailureCause.CERTIFICATE_NAME,  # X509_V_ERR_HOSTNAME_MISMATCH
    64: FailureCause.CERTIFICATE_NAME,  # X509_V_ERR_IP_ADDRESS_MISMATCH
}
_DESCRIPTIONS: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, msg("the host name cannot be resolved")),
    (ConnectionRefusedError, msg("the server refused the connection")),
    (UnicodeError, msg("the host name is not valid")),
    (http.client.RemoteDisconnected, msg("the server closed the connection without an answer")),
    (ConnectionResetError, msg("the server reset the connection")),
    (http.client.IncompleteRead, msg("the answer of the server was cut off")),
    (http.client.BadStatusLine, msg("the server at this address does not use HTTP")),
    (http.client.HTTPException, msg("the server's response is not valid HTTP")),
    (urllib3.exceptions.DecodeError, msg("the server's response cannot be decompressed")),
    (
        urllib3.exceptions.ConnectTimeoutError,
        msg("the server did not accept the connection within the connect timeout"),
    ),
    (urllib3.exceptions.ReadTimeoutError, msg("the server did not answer in time")),
    (TimeoutError, msg("the server did not answer in time")),
    (
        requests.exceptions.InvalidSchema,
        msg("a SOCKS proxy needs another package: pip install 'requests[socks]'"),
    ),
    (
        requests.exceptions.InvalidProxyURL,
        msg("the address of the proxy in the environment variables is malformed"),
    ),
    (requests.exceptions.InvalidURL, msg("the address is not valid")),
    (ValueError, msg("the server's response is not valid HTTP")),
)


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and its causes, innermost first."""
    found: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        cause = queue.pop()
        if isinstance(cause, BaseException) and cause not in found:
            found.insert(0, cause)
            queue += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
    return found
