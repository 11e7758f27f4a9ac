"""Parse answers and events of Dify 0.6 to 1.17 into one model.

The shapes and their versions: tests/data/recordings, and Dify's own api/core/app/entities.
"""

import codecs
import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum, auto
from http import HTTPStatus
from json import JSONDecodeError
from typing import Any, NamedTuple, Self

from ..messages.message import Message
from ..system.json_text import dumps, loads_answer
from .sse import ServerSentEvent

SUCCEEDED = "succeeded"
FAILED = "failed"
STOPPED = "stopped"
PARTIAL = "partial-succeeded"
PAUSED = "paused"
RUNNING = "running"
SCHEDULED = "scheduled"
ENDED = frozenset({SUCCEEDED, FAILED, STOPPED, PARTIAL})
UNDER_WAY = frozenset({RUNNING, SCHEDULED})

_IDENTIFIER = re.compile(r"[!-~]{1,255}")
_DIGITS = re.compile(r"[0-9]{1,6}")
_MAX_NUMBER = 1e18  # of seconds, tokens or steps; Python parses 1e999 as infinite
# Envoy answers 408 after its idle timeout; 499 is nginx's for a call that was given up.
_MAY_BE_PASSED_ON = frozenset({408, 499})
# A 503 of Envoy, which names the reason, and of Varnish, Fastly, Heroku, Azure Front Door and Cloud Run; most
# proxies give it before they pass a request on.
_PASSED_ON = re.compile(
    rb"disconnect/reset before headers"
    rb"(?!.*(?:connection failure|connection timeout|overflow|refused stream|overload))|Backend fetch failed"
    rb"|first byte timeout|between bytes timeout|backend (?:read|write) error|herokucdn\.com/error-pages"
    rb"|Our services aren't available right now|HTTP response was malformed or connection to the instance",
    re.DOTALL,
)
_PASSED_ON_HEADER = "Apigw-Requestid"  # AWS API Gateway answers 503 after its integration timeout of 30 s
_MAX_PAGE = 4096  # bytes of a proxy's page that are searched
_TERMINAL = frozenset({"workflow_finished", "workflow_paused", "error"})
# The server writes `event` first; a line that begins otherwise is decoded like any event.
_IRRELEVANT = tuple(
    prefix + name
    for prefix in (b'{"event": "', b'{"event":"')
    for name in (b'text_chunk"', b'tts_message"', b'tts_message_end"', b'reasoning_chunk"')
)
IRRELEVANT_LINES = tuple(b"data: " + beginning for beginning in _IRRELEVANT)


class FailureCause(Enum):
    """The cause of a call that could not be made, which determines the fix."""

    OTHER = auto()
    PROXY = auto()
    PROXY_LOGIN = auto()
    NO_THREAD = auto()
    CERTIFICATE_UNTRUSTED = auto()
    CERTIFICATE_EXPIRED = auto()
    CERTIFICATE_NAME = auto()
    LONG_LOG = auto()


class Failure(Message):
    """The reason of a call that could not be made, with its cause."""

    __slots__ = ("cause",)
    cause: FailureCause

    @classmethod
    def of(cls, text: str, cause: FailureCause = FailureCause.OTHER) -> Self:
        """Make a failure.

        Args:
            text: The reason as a message.
            cause: The cause.
        """
        failure = cls("{reason}", {"reason": text})
        failure.cause = cause
        return failure


class FailedNode(NamedTuple):
    """A node at which a run failed or was stopped: its title, its type (llm, code, ...) and its error."""

    title: str
    type: str
    error: str | None = None


class WorkflowRun(NamedTuple):
    """One workflow run, in the server's latest description.

    Attributes:
        elapsed_time: Seconds.
        created_at: Seconds since 1970, as finished_at.
        failed_node: The node at which the run failed or was stopped, if an event named it.
    """

    run_id: str | None = None
    task_id: str | None = None
    workflow_id: str | None = None
    status: str | None = None
    outputs: Mapping[str, Any] | None = None
    error: str | None = None
    elapsed_time: float | None = None
    total_tokens: int | None = None
    total_steps: int | None = None
    created_at: int | float | None = None
    finished_at: int | float | None = None
    failed_node: FailedNode | None = None

    @property
    def ended(self) -> bool:
        """True for a final status; an unknown status is final if it has an end time."""
        unknown = self.status not in UNDER_WAY and self.status != PAUSED
        return self.status in ENDED or (unknown and bool(self.status and self.finished_at))

    @property
    def under_way(self) -> bool:
        """True for a status of a run in progress; False for an unknown status."""
        return self.status in UNDER_WAY

    def with_ids(self, run_id: str | None, task_id: str | None) -> "WorkflowRun":
        """Return the run with these ids unless it has its own.

        Args:
            run_id: The run id.
            task_id: The task id.
        """
        return self._replace(run_id=self.run_id or run_id, task_id=self.task_id or task_id)


class LogPage(NamedTuple):
    """A page of the server's list of runs.

    Attributes:
        runs: The runs of one end user, newest first, without outputs. A run whose record Dify has not written
            yet has no id (`celery-store-worker-down-run`).
        incomplete: The page has runs of other users, and the next page may have those of the user.
    """

    runs: tuple[WorkflowRun, ...]
    incomplete: bool = False


class RunNotFound:
    """Dify itself reports that the run does not exist."""


class ApiError(NamedTuple):
    """An HTTP error or an `error` event.

    Attributes:
        status: The status of the answer or of the event.
        code: The code of Dify, such as `invalid_param`.
        message: The message of Dify.
        from_dify: False for a page of a proxy.
        retry_after: The value of the header.
        url: The requested address, if it helps.
        version: The version of the server, if it is known.
        in_stream: The error was an event, or an answer with status 200.
        passed_on: A proxy may have forwarded the request to Dify and lost the answer. Dify's own rejections
            are believed all the same.
    """

    status: int
    code: str = ""
    message: str = ""
    from_dify: bool = True
    retry_after: str | None = None
    url: str = ""
    version: tuple[int, int] | None = None
    in_stream: bool = False
    passed_on: bool = False


class Event(NamedTuple):
    """One event of a stream.

    Attributes:
        kind: The name, such as `workflow_finished`.
        run: The run that the event describes.
        unconfirmed: The event reports `failed` without a creator. From 1.15 on, servers send it for runs that
            do not exist (`error-input-required-missing-streaming`), and for some that continue
            (`fallback-failed-mid-run`).
        error: The error of an `error` event.
        node: The title of the node.
        node_id: The id of the node; empty if the event concerns no node.
    """

    kind: str
    run_id: str | None = None
    task_id: str | None = None
    run: WorkflowRun | None = None
    unconfirmed: bool = False
    error: ApiError | None = None
    node: str | None = None
    node_id: str = ""
    node_type: str = ""
    node_status: str | None = None
    node_error: str | None = None
    tokens: int = 0

    @property
    def terminal(self) -> bool:
        """True if the client closes the call after it, because some servers do not (1.14 after an error)."""
        return self.kind in _TERMINAL


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the object in a body without additions of a gateway; None if there is no complete object."""
    text = body.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
    try:
        try:
            found = loads_answer(text)
        except JSONDecodeError as error:
            found = loads_answer(text[: error.pos])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def read_event(raw: ServerSentEvent) -> Event | None:
    """Return the event; None for pings, chunks of text and speech, and data that is no JSON object.

    Chunks are recognised by their first bytes and not decoded, because they are most of a stream.
    """
    if raw.data.startswith(_IRRELEVANT):
        return None
    found = json_object(raw.data)
    if found is None:
        return None
    kind = str(found.get("event") or raw.name)
    data = found["data"] if isinstance(found.get("data"), dict) else {}
    run_id = _identifier(found.get("workflow_run_id")) or _identifier(data.get("workflow_run_id"))
    task_id = _identifier(found.get("task_id"))
    if kind == "error":
        return Event(kind, run_id, task_id, error=_error_event(found or data)._replace(in_stream=True))
    if kind in ("workflow_finished", "workflow_paused"):
        run = _run(data or found).with_ids(run_id, task_id)
        if kind == "workflow_paused":
            run = run._replace(run_id=run_id or run.run_id, status=PAUSED)
        unconfirmed = run.status == FAILED and "created_by" in data and _is_empty(data["created_by"])
        return Event(kind, run.run_id, task_id, run=run, unconfirmed=unconfirmed)
    if kind == "workflow_started":
        return Event(kind, run_id or _identifier(data.get("id")), task_id)
    return Event(
        kind,
        run_id,
        task_id,
        node=_text(data.get("title")),
        node_id=_text(data.get("node_id")) or "",
        node_type=_text(data.get("node_type")) or "",
        node_status=_text(data.get("status")),
        node_error=_as_text(data.get("error")),
        tokens=_tokens(data),
    )


def read_answer(body: bytes) -> WorkflowRun | ApiError | None:
    """Return the run or the error in an answer with status 200; None if it is not an answer of Dify."""
    found = json_object(body)
    if found is None:
        return None
    data = found.get("data")
    if isinstance(data, dict) and ("status" in data or "workflow_run_id" in found):
        return _run(data).with_ids(
            _identifier(found.get("workflow_run_id")), _identifier(found.get("task_id"))
        )
    if "message" in found and isinstance(found.get("code"), str):
        return _error_event(found)._replace(in_stream=True)
    return None


def is_cut_off(headers: Mapping[str, str], body: bytes) -> bool:
    """Return True for a truncated answer of Dify, including a truncated head, which http.client accepts.

    Args:
        headers: The header fields of the answer.
        body: The body of the answer.
    """
    kind = headers.get("Content-Type", "")
    is_json = "json" in kind or body.lstrip().startswith(b"{")
    half = not body or not kind or "event-stream" in kind or (is_json and json_object(body) is None)
    return half or version_of(headers) is not None


def read_detail(status: int, body: bytes) -> WorkflowRun | RunNotFound | None:
    """Read run detail.

    Args:
        status: The HTTP status.
        body: Of the answer.

    Returns:
        The run; RunNotFound if Dify does not have it, which servers up to 1.12 report with status 200 and
        null fields (`detail-unknown-id`); None for other answers, such as a proxy's page or a rejected key.
    """
    found = json_object(body)
    if found is None:
        return None
    if status == 404 and found.get("code") == "not_found":
        return RunNotFound()
    if status != 200 or "id" not in found or "status" not in found:
        return None
    return RunNotFound() if found["id"] is None and found["status"] is None else _run(found)


def read_logs(body: bytes, user: str) -> LogPage | None:
    """Read a page of /workflows/logs.

    Args:
        body: The page. Before 1.5.0, it has the runs of all users, and of accounts.
        user: The end user of the runs.

    Returns:
        The page; None if the body is no such page.
    """
    page = json_object(body) or {}
    rows = page.get("data")
    if not isinstance(rows, list):
        return None
    own = [row.get("workflow_run") for row in rows if isinstance(row, dict) and _is_of(row, user)]
    return LogPage(
        tuple(_run(run if isinstance(run, dict) else {}) for run in own),
        incomplete=page.get("has_more") is True and len(own) < len(rows),
    )


def read_error(status: int, headers: Mapping[str, str], body: bytes, url: str = "") -> ApiError:
    """Parse an HTTP answer other than 200. Dify's answers have a version header or a JSON object with a code.

    Args:
        status: The HTTP status.
        headers: Of the answer.
        body: Of the answer.
        url: What was asked.
    """
    found = json_object(body) or {}
    return _error_event(found)._replace(
        status=status,
        from_dify=isinstance(found.get("code"), str) or "X-Version" in headers,
        retry_after=headers.get("Retry-After"),
        url=url,
        version=version_of(headers),
        passed_on=status in _MAY_BE_PASSED_ON
        or (status == HTTPStatus.SERVICE_UNAVAILABLE and _PASSED_ON_HEADER in headers)
        or _PASSED_ON.search(body[:_MAX_PAGE]) is not None,
    )


def read_date(text: str) -> datetime | None:
    """Return the time in an HTTP date (RFC 9110, section 5.6.7), aware; None for an invalid one."""
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)  # -0000


def version_of(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """Return major and minor of `X-Version`; None on a page that a proxy made, which has no such header."""
    major, _, rest = headers.get("X-Version", "").partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if _DIGITS.fullmatch(major) and _DIGITS.fullmatch(minor) else None


def _error_event(data: Mapping[str, Any]) -> ApiError:
    message = data.get("message")
    params = data.get("params")
    text = _as_text(message) or ""
    if isinstance(params, str) and params:
        text = f"{text} ({params})"
    details = data.get("details")
    if isinstance(details, dict) and (request_id := _text(details.get("request_id"))):
        text = f"{text} (request_id {request_id})"  # `plugin_runtime_error`, 1.16
    status = data.get("status")
    return ApiError(status if isinstance(status, int) else 0, _text(data.get("code")) or "", text)


def _is_empty(creator: Any) -> bool:
    return not creator or (isinstance(creator, dict) and not any(creator.values()))


def _is_of(row: Mapping[str, Any], user: str) -> bool:
    """Return True for a row of an end user; the row of an account has none (null)."""
    if "created_by_end_user" not in row:
        return True
    creator = row["created_by_end_user"]
    return isinstance(creator, dict) and creator.get("session_id") == user


def _run(data: Mapping[str, Any]) -> WorkflowRun:
    return WorkflowRun(
        run_id=_identifier(data.get("id")),
        workflow_id=_text(data.get("workflow_id")),
        status=_text(data.get("status")),
        outputs=_outputs(data.get("outputs")),
        error=_as_text(data.get("error")),
        elapsed_time=_number(data.get("elapsed_time")),
        total_tokens=_whole(data.get("total_tokens")),
        total_steps=_whole(data.get("total_steps")),
        created_at=_time(data.get("created_at")),
        finished_at=_time(data.get("finished_at")),
    )


def _outputs(value: Any) -> Mapping[str, Any] | None:
    """Return outputs: an object, or a JSON text (run detail up to 1.12), or null."""
    if isinstance(value, str):
        value = json_object(value.encode())
    return value if isinstance(value, dict) else None


def _time(value: Any) -> int | float | None:
    """Return seconds since 1970; before 1.2.0 servers send an RFC 822 date (langgenius/dify#16821)."""
    if isinstance(value, str):
        date = read_date(value)
        return None if date is None else int(date.timestamp())
    return _number(value)


def _tokens(data: Mapping[str, Any]) -> int:
    metadata = data.get("execution_metadata")
    return (_whole(metadata.get("total_tokens")) or 0) if isinstance(metadata, dict) else 0


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _as_text(value: Any) -> str | None:
    """Return a message; one that is no text is formatted as JSON."""
    return dumps(value) if value and not isinstance(value, str) else _text(value)


def _identifier(value: Any) -> str | None:
    """Return an id that is safe in a path, a header and a log line; Dify's ids are UUIDs."""
    return value if isinstance(value, str) and _IDENTIFIER.fullmatch(value) else None


def _number(value: Any) -> int | float | None:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if real and abs(value) < _MAX_NUMBER else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
