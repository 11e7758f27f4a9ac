"""What a server says of a key's app, without starting anything: `GET /info` and `GET /parameters`."""

import re
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..messages.message import msg
from .client import ConnectionLost, DifyClient, Reply
from .event_queue import EventQueue
from .form import Parameters, read_parameters
from .models import ApiError, json_object, read_date, read_error

_VERSION = re.compile(r"[0-9A-Za-z.+_-]{1,40}")
CALL_LIMIT = 10.0  # seconds for one request, DNS and handshake included


class NoAnswer(NamedTuple):
    """No whole answer came, and why."""

    reason: str


class ForeignAnswer(NamedTuple):
    """An answer with status 200 that is not Dify's."""


ProbeFailure = NoAnswer | ForeignAnswer | ApiError


class AppProbe(NamedTuple):
    """What is known of a server and an app.

    Attributes:
        version: Of the server.
        name: Of the app.
        mode: Of the app; None where an old server does not say.
        parameters: The app's input form.
        failure: What ended the probe; what comes after it is not known.
        clock_ahead: Seconds that this machine's clock is ahead of the server's.
        certificate_ends: When the server's certificate expires.
    """

    version: str | None = None
    name: str = ""
    mode: str | None = None
    parameters: Parameters | None = None
    failure: ProbeFailure | None = None
    clock_ahead: float | None = None
    certificate_ends: datetime | None = None


def probe_app(
    base_url: str,
    key: str,
    *,
    ca_file: Path | None = None,
    headers: Mapping[str, str] | None = None,
    limit: float = CALL_LIMIT,
) -> AppProbe:
    """Ask for the app of a key and its input form, without starting anything.

    Args:
        base_url: The server, ending in /v1.
        key: The app's key.
        ca_file: Certificates to trust instead of the usual ones.
        headers: Extra request headers.
        limit: Seconds for each question.
    """
    events = EventQueue()
    client = DifyClient(
        base_url, key, on_event=events.put, ca_file=ca_file, headers=headers, connect_timeout=limit
    )
    probe = AppProbe()
    for path in ("/info", "/parameters"):
        call = client.get(path)
        answer = events.answer_of(call, time.monotonic() + limit)
        if answer is None:
            call.close()
            reason = msg("the server did not answer within {limit:.0f} s", limit=limit)
            return probe._replace(failure=NoAnswer(reason))
        if isinstance(answer, ConnectionLost):
            return probe._replace(failure=NoAnswer(answer.reason))
        if not isinstance(answer, Reply):
            return probe._replace(failure=ForeignAnswer())
        probe = probe._replace(
            version=_version(answer.headers.get("X-Version")) or probe.version,
            clock_ahead=_clock_ahead(answer.headers.get("Date")),
            certificate_ends=_end_of(call.tracker.certificate),
        )
        if answer.status == 404 and path == "/info" and probe.version is not None:
            continue  # a version of Dify without /info
        if answer.status != 200:
            return probe._replace(failure=read_error(answer.status, answer.headers, answer.body, answer.url))
        probe = _with_info(probe, answer.body) if path == "/info" else _with_form(probe, answer.body)
        if probe.failure is not None:
            break
    return probe


def _with_info(probe: AppProbe, body: bytes) -> AppProbe:
    info = json_object(body)
    if info is None or not isinstance(info.get("name"), str):
        return probe._replace(failure=ForeignAnswer())
    mode = info.get("mode")
    return probe._replace(name=info["name"], mode=mode if isinstance(mode, str) else None)


def _with_form(probe: AppProbe, body: bytes) -> AppProbe:
    parameters = read_parameters(body)
    return probe._replace(parameters=parameters, failure=ForeignAnswer() if parameters is None else None)


def _version(text: str | None) -> str | None:
    return text if text is not None and _VERSION.fullmatch(text) else None


def _clock_ahead(date: str | None) -> float | None:
    server = read_date(date or "")
    return None if server is None else time.time() - server.timestamp()


def _end_of(certificate: dict[str, Any] | None) -> datetime | None:
    end = (certificate or {}).get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) if isinstance(end, str) else None
