"""What a server tells of a key's app, without starting anything: `GET /info` and `GET /parameters`."""

import queue
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..messages.message import msg
from ..system.values import dataclass, replace
from .client import ConnectionLost, DifyClient, InternalError, Message, PendingCall, Reply, Tell
from .form import Parameters, read_parameters
from .models import ApiError, json_object, read_refusal

_VERSION = re.compile(r"[0-9A-Za-z.+_-]{1,40}")
CALL_LIMIT = 10.0  # seconds for one question, DNS and handshake included


@dataclass(frozen=True, kw_only=True)
class AppProbe:
    """A server and its app as far as it told; what follows an obstacle was not asked.

    broken: why no whole answer came. refusal: the first answer that was none. strange: a 200 that is
    not Dify's. clock_ahead: seconds that this machine's clock is ahead of the server's.
    """

    version: str | None = None
    name: str = ""
    mode: str | None = None
    parameters: Parameters | None = None
    broken: str | None = None
    refusal: ApiError | None = None
    strange: bool = False
    clock_ahead: float | None = None
    certificate_ends: datetime | None = None


def look(
    base_url: str,
    key: str,
    *,
    ca_file: Path | None = None,
    headers: Mapping[str, str] | None = None,
    limit: float = CALL_LIMIT,
) -> AppProbe:
    """Ask for the app of a key, without starting anything.

    Args:
        base_url: The server, ending in /v1.
        key: The app's key.
        ca_file: Certificates to trust instead of the usual ones.
        headers: Extra request headers.
        limit: Seconds for each of the two questions.
    """

    def client(tell: Tell) -> DifyClient:
        return DifyClient(base_url, key, tell=tell, ca_file=ca_file, headers=headers, connect_timeout=limit)

    seen, reply = _ask(AppProbe(), client, "/info", limit)
    if reply is None:
        return seen
    if reply.status == 200:
        info = json_object(reply.body)
        if info is None or not isinstance(info.get("name"), str):
            return replace(seen, strange=True)
        mode = info.get("mode")  # old servers do not tell it
        seen = replace(seen, name=info["name"], mode=mode if isinstance(mode, str) else None)
    elif reply.status != 404 or seen.version is None:  # Dify, without /info
        return replace(seen, refusal=read_refusal(reply.status, reply.headers, reply.body, reply.url))
    return _ask_for_form(seen, client, limit)


def look_at_form(
    base_url: str,
    key: str,
    *,
    ca_file: Path | None = None,
    headers: Mapping[str, str] | None = None,
    limit: float = CALL_LIMIT,
) -> AppProbe:
    """Ask for the form of a key's app alone, without starting anything; the arguments are those of `look`."""

    def client(tell: Tell) -> DifyClient:
        return DifyClient(base_url, key, tell=tell, ca_file=ca_file, headers=headers, connect_timeout=limit)

    return _ask_for_form(AppProbe(), client, limit)


def _ask_for_form(seen: AppProbe, client: Callable[[Tell], DifyClient], limit: float) -> AppProbe:
    seen, reply = _ask(seen, client, "/parameters", limit)
    if reply is None:
        return seen
    if reply.status != 200:
        return replace(seen, refusal=read_refusal(reply.status, reply.headers, reply.body, reply.url))
    parameters = read_parameters(reply.body)
    return replace(seen, parameters=parameters, strange=parameters is None)


def _ask(
    seen: AppProbe, client: Callable[[Tell], DifyClient], path: str, limit: float
) -> tuple[AppProbe, Reply | None]:
    data: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def tell(_call: PendingCall, message: Message) -> None:
        data.put(message)

    call = client(tell).get(path)
    try:
        message = data.get(timeout=limit)
    except queue.Empty:
        call.hang_up()
        return replace(seen, broken=msg("no answer within {limit:.0f} s", limit=limit)), None
    if isinstance(message, InternalError):
        raise message.error
    if isinstance(message, ConnectionLost):
        return replace(seen, broken=message.reason), None
    if not isinstance(message, Reply):
        return replace(seen, strange=True), None
    version = _version(message.headers.get("X-Version")) or seen.version
    clock = _clock_ahead(message.headers.get("Date"))
    return replace(
        seen, version=version, clock_ahead=clock, certificate_ends=_end_of(call.witness.certificate)
    ), message


def _version(told: str | None) -> str | None:
    return told if told is not None and _VERSION.fullmatch(told) else None


def _clock_ahead(date: str | None) -> float | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - not on the way of a run

    try:
        return time.time() - parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError):
        return None


def _end_of(certificate: dict[str, Any] | None) -> datetime | None:
    from ssl import cert_time_to_seconds  # noqa: PLC0415 - not on the way of a run

    end = (certificate or {}).get("notAfter")
    return datetime.fromtimestamp(cert_time_to_seconds(end), UTC) if isinstance(end, str) else None
