"""Map the end of a call (transport, HTTP status, code, message, run status) to an outcome. Pure.

The cases come from the recordings (tests/data/recordings) and the table of exit codes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from .. import log
from ..dify import models
from ..dify.models import ApiError, Failure, FailureCause, WorkflowRun
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import PROCESS_LIMIT_HINT
from ..messages.message import msg
from ..messages.sanitize import one_line
from .call_options import CallOptions

# From 0.14.2 on, the app's limit is a 400 like wrong inputs, with another message (dify#11955). Messages of
# model providers contain the same words.
_BUSY = "Too many requests"
_BUSY_CODES = frozenset({"invalid_param", "rate_limit_error", "too_many_requests", ""})
_NOT_PUBLISHED = "Workflow not published"
_API_DISABLED = "API service has been disabled"
# 1.14: a stopped run ends `failed` in the stream (`stop-streaming-stream`); the texts of all versions.
_STOP_REQUESTED = re.compile("User requested stop|App task was stopped|Stopped by user")
_WORKER_SHUTDOWN = "worker is shutting down"  # 1.16 (`worker-term-streaming`)
_MAX_TITLE = 100  # characters of a node's title in a message
# From 1.13 on, wrong inputs of a streaming call are an `error` event without a code
# (`error-input-required-missing-streaming`); only the messages of the 400 identify them.
_ABOUT_INPUTS = (
    r"(?i)in input form|upload file|file mapping|file url|file type|validation (error|failed)|matching enum"
    r"|expected value type|FileTransferMethod|maximum retries \(\d+\) for URL"
)
# `error-in-run-broken-streaming`, `error-in-run-nostart-streaming`
_ABOUT_APP = r"(?i)validation errors? for \w*NodeData|root node|workflow graph"
_LIMIT = re.compile(r"concurrent requests allowed for .* is (\d+)")
_RUNS_IN_WORKER = (1, 13)  # from this version on, a worker executes streaming runs
_INPUT_ERRORS_AS_RUN = (1, 15)  # from this version on, wrong inputs cause no `error` event

_KEY_HINT = msg(
    "check the API key (in Dify: API Access); to see where the job takes it from, run: {command}",
    command=command("dify-job", "config", "show", "JOB"),
)
_SERVER_HINT = msg(
    "check that Dify is running; to check base_url, run: {command}",
    command=command("dify-job", "config", "show", "JOB"),
)
# Hints for connection errors, by cause.
_HINTS_BY_CAUSE = {
    FailureCause.PROXY: msg(
        "check the proxy in HTTPS_PROXY and HTTP_PROXY, or add the host to NO_PROXY to connect directly"
    ),
    FailureCause.PROXY_LOGIN: msg("add user and password to the proxy address in HTTPS_PROXY"),
    FailureCause.LONG_LOG: msg(
        "upgrade Dify to 1.5.0 or newer, which can filter its list of runs, or remove --run-id after you "
        "checked in the app's Logs that the run has not begun"
    ),
    FailureCause.NO_THREAD: PROCESS_LIMIT_HINT,
    FailureCause.CERTIFICATE_EXPIRED: msg("renew the TLS certificate on the server"),
    FailureCause.CERTIFICATE_NAME: msg("set base_url to a host name that the TLS certificate contains"),
    FailureCause.CERTIFICATE_UNTRUSTED: msg(
        "set ca_file in the job to the PEM file of the certificate authority that "
        "signed the server's certificate"
    ),
}
_WRONG_INPUTS = (
    Outcome.REJECTED,
    lambda said: msg("Dify rejected the inputs: {said}", said=said),
    msg("compare the job's inputs with the input fields of the app's Start node in Dify"),
)
_NO_MODEL = (
    Outcome.CONFIG,
    lambda said: msg("the model of the app cannot be used: {said}", said=said),
    msg("set up the model in Dify: Settings, Model Provider"),
)
_NO_QUOTA = (
    Outcome.DENIED,
    lambda said: msg("the quota of the Dify plan is used up: {said}", said=said),
    msg("wait until Dify renews the plan's quota, or upgrade the plan"),
)
_Row = tuple[Outcome, Callable[[str], str], str | None]
# Dify's error codes with outcome, message and hint, for HTTP answers and `error` events; none is retried.
_OUTCOMES_BY_CODE: dict[str, _Row] = {
    "invalid_param": _WRONG_INPUTS,
    "bad_request": _WRONG_INPUTS,
    "file_too_large": _WRONG_INPUTS,
    "unauthorized": (
        Outcome.DENIED,
        lambda said: msg("Dify does not accept the API key: {said}", said=said),
        _KEY_HINT,
    ),
    "rate_limit_error": _NO_QUOTA,
    "provider_quota_exceeded": _NO_QUOTA,
    "workflow_version_execution_not_allowed": (
        Outcome.DENIED,
        lambda said: msg("the Dify plan does not allow this call: {said}", said=said),
        msg("remove workflow_id, or change the Dify plan"),
    ),
    "not_workflow_app": (
        Outcome.CONFIG,
        lambda said: msg("the API key belongs to an app that is not a workflow: {said}", said=said),
        msg("use the API key of a workflow app"),
    ),
    "agent_not_published": (
        Outcome.CONFIG,
        lambda said: msg("an agent of the workflow is not published: {said}", said=said),
        msg("open the agent in Dify, and choose Publish"),
    ),
    "trigger_workflow_service_mode_unavailable": (
        Outcome.CONFIG,
        lambda said: msg("the workflow starts with a trigger, so it cannot be called: {said}", said=said),
        msg(
            "replace the trigger of the workflow with a User Input node; the schedule of dify-job "
            "then starts the workflow"
        ),
    ),
    "provider_not_initialize": _NO_MODEL,
    "model_currently_not_support": _NO_MODEL,
    "completion_request_error": (
        Outcome.FAILED,
        lambda said: msg("workflow failed, because the model provider reported: {said}", said=said),
        None,
    ),
}
NOT_DIFY = (
    msg("the answer does not come from Dify"),
    msg(
        "check base_url: it must be the address of Dify and end with /v1. If it leads to a login page, "
        "exempt the API path from authentication"
    ),
)
_DEFAULTS = CallOptions()


class Next(Enum):
    """The next step after the end of a call.

    FINAL: none. RETRY: the server provably started nothing, so the POST may be repeated. SEARCH: the answer
    was lost and a run may exist, so the run monitor searches for it; only `decide` returns it.
    """

    FINAL = auto()
    RETRY = auto()
    SEARCH = auto()


class RunOutcome(NamedTuple):
    """The outcome of a run, or why none was started.

    Attributes:
        outcome: The outcome in the table of exit codes.
        message: The description.
        hint: The fix, or None.
        next: The next step.
        unsent: Not a byte of the request left.
        why: Why the answer was lost, if `next` is SEARCH.
        unsettled: A run may exist on the server.
        signum: The signal of a cancelled run.
        retry_after: The value of the header.
        run: The run, as far as it is known.
    """

    outcome: Outcome
    message: str
    hint: str | None = None
    next: Next = Next.FINAL
    unsent: bool = False
    why: str = ""
    unsettled: bool = False
    signum: int | None = None
    retry_after: str | None = None
    run: WorkflowRun | None = None


class NoRunError(Exception):
    """A call before the POST failed, so no run was started.

    Args:
        outcome: The outcome of the run.
    """

    def __init__(self, outcome: RunOutcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class NotSent(NamedTuple):
    """A call of which not a byte left. reason: why."""

    reason: str


def decide(end: NotSent | ApiError | WorkflowRun, options: CallOptions = _DEFAULTS) -> RunOutcome:
    """Return the outcome of a call, before any search for a run.

    An API error is decided by its code and message, which HTTP answers and `error` events share. If they do
    not decide, an event reports a failure before the start, and the HTTP status decides for an answer.

    Args:
        end: The end of the call.
        options: The options of the call.
    """
    if isinstance(end, WorkflowRun):
        return _of_run(end, options.partial)._replace(run=end)
    if isinstance(end, NotSent) and _cause_of(end.reason) is FailureCause.PROXY_LOGIN:
        return _denied(ApiError(407, from_dify=False))
    if isinstance(end, NotSent):
        return RunOutcome(
            Outcome.UNREACHABLE,
            msg("the server could not be reached: {reason}", reason=end.reason),
            connection_error_hint(end.reason),
            next=Next.RETRY,
            unsent=True,
        )
    outcome = _of_api_error(end, options)
    if outcome is None:
        outcome = _of_error_event(end) if end.in_stream else _of_http_status(end)
    return outcome._replace(retry_after=end.retry_after)


def connection_error_hint(reason: str) -> str:
    """Return the hint for a connection error.

    Args:
        reason: A Failure of the transport, or another text.
    """
    return _HINTS_BY_CAUSE.get(_cause_of(reason), _SERVER_HINT)


def _cause_of(reason: str) -> FailureCause:
    return reason.cause if isinstance(reason, Failure) else FailureCause.OTHER


def unknown(why: str) -> RunOutcome:
    """Return the final outcome `unknown` of a submitted run that could not be found.

    Args:
        why: Why the answer was lost.
    """
    return RunOutcome(
        Outcome.UNKNOWN,
        msg("the run was submitted, but its outcome is unknown: {reason}", reason=why),
        msg(
            "check the app's Logs in Dify before you start the job again, because the "
            "run may have ended, or may still start"
        ),
        unsettled=True,
    )


def _lost(why: str) -> RunOutcome:
    return unknown(why)._replace(next=Next.SEARCH, why=why)


def cancelled(signum: int) -> RunOutcome:
    """Return the outcome of a signal that arrived before this process started a run."""
    return RunOutcome(Outcome.CANCELLED, msg("dify-job was cancelled before it started a run"), signum=signum)


def rejected_run(run: WorkflowRun) -> RunOutcome:
    """Return the outcome of a run that a stream reported as failed and the server does not have."""
    return decide(ApiError(0, message=run.error or "", in_stream=True))


def ended_by_stop(run: WorkflowRun) -> bool:
    """Return True if a run ended like a stopped run, in versions before or since 1.14."""
    return run.status == models.STOPPED or (
        run.status == models.FAILED and _STOP_REQUESTED.search(run.error or "") is not None
    )


def _of_run(run: WorkflowRun, partial: str) -> RunOutcome:
    match models.STOPPED if ended_by_stop(run) else run.status:
        case models.SUCCEEDED:
            return RunOutcome(Outcome.SUCCEEDED, msg("workflow succeeded"))
        case models.PARTIAL if partial == "success":
            return RunOutcome(Outcome.SUCCEEDED, msg("workflow succeeded in part, which the job allows"))
        case models.PARTIAL | models.FAILED | models.STOPPED as status:
            return _of_failed_run(status, run)
        case models.PAUSED:
            return RunOutcome(
                Outcome.PAUSED,
                msg("workflow is paused until a person fills in its form"),
                msg("fill in the form in Dify. A scheduled workflow should not contain a Human Input node"),
            )
    return RunOutcome(
        Outcome.PROTOCOL,
        msg(
            "the run ended with the status {status!r}, which this version of dify-job does not know",
            status=run.status,
        ),
        msg(
            "upgrade dify-job, or look at the run in the app's Logs in Dify. dify-job does "
            "not count this run as successful"
        ),
    )


def _of_failed_run(status: str, run: WorkflowRun) -> RunOutcome:
    node = run.failed_node
    title = one_line(log.redact(node.title), _MAX_TITLE) if node is not None else ""
    kind = node.type if node is not None else ""
    if status == models.PARTIAL:
        message = msg(
            "workflow succeeded in part: a node failed, and Dify used its fail branch or default value"
        )
        if node is not None:
            message = msg(
                'workflow succeeded in part: "{title}" ({type}) failed, and Dify used its fail branch or '
                "default value: {error}",
                title=title,
                type=kind,
                error=node.error or msg("Dify reported no error message"),
            )
        hint = msg('to count this as success, set partial = "success" in the job')
        return RunOutcome(Outcome.PARTIAL, message, hint)
    if status == models.FAILED:
        error = run.error or (node.error if node is not None else None)
        message = msg("workflow failed: {error}", error=error) if error else msg("workflow failed")
        if node is not None:
            why = error or msg("Dify reported no error message")
            message = msg('workflow failed at "{title}" ({type}): {why}', title=title, type=kind, why=why)
        return RunOutcome(Outcome.FAILED, message, msg("the app's Logs in Dify show each node of the run"))
    message = msg("workflow was stopped on the server")
    if node is not None:
        message = msg(
            'workflow was stopped on the server at "{title}" ({node_type}): {why}',
            title=title,
            node_type=kind,
            why=run.error or msg("no reason was given"),
        )
    elif run.error:
        message = msg("workflow was stopped on the server: {error}", error=run.error)
    hint = msg(
        "someone stopped the run, or it exceeded a time limit of the server (APP_MAX_EXECUTION_TIME, 1200 s)"
    )
    if _WORKER_SHUTDOWN in (run.error or ""):
        hint = msg(
            "Dify's worker was stopped or restarted during the run; to check: docker compose ps worker"
        )
    return RunOutcome(Outcome.STOPPED, message, hint)


def _of_api_error(error: ApiError, options: CallOptions) -> RunOutcome | None:
    """Decide by code and message, which HTTP answers and `error` events share; None if undecided."""
    said = error.message.strip() or error.code or f"HTTP {error.status}"
    limited = error.message.startswith(_BUSY) and error.code in _BUSY_CODES
    if limited or error.code == "too_many_requests":
        return _busy(error, said, streaming=options.streaming)
    if _NOT_PUBLISHED in error.message or error.code == "app_unavailable":
        hint = msg("open the app in Dify, and choose Publish")
        return RunOutcome(Outcome.CONFIG, msg("the app's workflow is not published"), hint)
    if _API_DISABLED in error.message:
        hint = msg("enable Backend Service API on the app's overview page in Dify")
        return RunOutcome(Outcome.CONFIG, msg("the app's API is disabled"), hint)
    lacks_version = error.status == 404 and error.from_dify and not error.code  # before 1.7.2
    if options.workflow_id and (lacks_version or error.code in ("bad_request", "not_found")):
        return RunOutcome(
            Outcome.CONFIG,
            msg(
                "Dify cannot run version {workflow_id} of the workflow (workflow_id): {said}",
                workflow_id=options.workflow_id,
                said=said,
            ),
            msg("set workflow_id to the ID of a published version, or remove it to run the newest version"),
        )
    if error.code == "invalid_param" and error.in_stream:
        return _invalid_in_stream(error, said)
    if not error.code and error.from_dify and re.search(_ABOUT_INPUTS, error.message):
        return _rejected(said)
    return _of_row(_OUTCOMES_BY_CODE[error.code], said) if error.code in _OUTCOMES_BY_CODE else None


def _of_row(row: _Row, said: str) -> RunOutcome:
    outcome, message, hint = row
    return RunOutcome(outcome, message(said), hint)


def _busy(error: ApiError, said: str, *, streaming: bool) -> RunOutcome:
    limit = _LIMIT.search(error.message)
    message = msg("the server has too many runs in progress: {said}", said=said)
    if limit is None or limit[1] != "1" or not streaming:
        hint = msg("raise the app's limit of concurrent runs in Dify, or set a jitter in the jobs")
        return RunOutcome(Outcome.BUSY, message, hint, next=Next.RETRY)
    # Such a call counts twice (`rate-limit-1-streaming-refused-when-idle`).
    always = error.version is not None and error.version >= _RUNS_IN_WORKER
    hint = msg(
        "from version 1.13, Dify rejects every streaming call of an app with a limit "
        'of 1 concurrent run: set mode = "blocking" in the job, or raise the app\'s '
        "limit"
    )
    return RunOutcome(Outcome.BUSY, message, hint, next=Next.FINAL if always else Next.RETRY)


def _invalid_in_stream(error: ApiError, said: str) -> RunOutcome | None:
    """From 1.15 on, such an event concerns the app; wrong inputs cause a run that does not exist."""
    if error.version is not None and error.version < _INPUT_ERRORS_AS_RUN:
        return _rejected(said)
    if re.search(_ABOUT_APP, error.message):
        hint = msg("open the app in Dify, test the workflow there, and publish it again")
        return RunOutcome(Outcome.CONFIG, msg("Dify cannot run the app's workflow: {said}", said=said), hint)
    return _rejected(said) if re.search(_ABOUT_INPUTS, error.message) else None


def _of_error_event(error: ApiError) -> RunOutcome:
    reason = error.message or error.code or msg("no reason was given")
    return RunOutcome(
        Outcome.FAILED,
        msg("Dify reported an error and did not start the workflow: {reason}", reason=reason),
        msg("the log of the server has the cause: docker compose logs api worker"),
    )


def _of_http_status(error: ApiError) -> RunOutcome:
    status = error.status
    http = f"HTTP {status}" + (f" ({error.message})" if error.message else "")
    who = "Dify" if error.from_dify else msg("a proxy or another server")
    answered = msg("{who} answered {said}", who=who, said=http)
    # Dify's own rejection is believed, even a late one; but a 503 with a code can come from a gateway, too.
    if error.passed_on and (status == 503 or not error.from_dify):
        return _lost(answered)
    match status:
        case 429:
            hint = msg("schedule the job at another time, or less often")
            return RunOutcome(Outcome.BUSY, answered, hint, next=Next.RETRY)
        case 503:
            # A proxy sends it without forwarding the request; Dify's own answer is not retried.
            hint = msg("Dify is stopped or overloaded; try again later")
            following = Next.FINAL if error.from_dify else Next.RETRY
            return RunOutcome(Outcome.UNREACHABLE, answered, hint, next=following)
        case 401 | 403 | 407:
            return _denied(error)
        case 413 if not error.from_dify:
            text = msg(
                "a proxy in front of Dify rejected the request, because it is too large: {said}", said=http
            )
            hint = msg(
                "send smaller inputs, or raise the limit of the proxy (nginx: "
                "client_max_body_size; in Dify's .env: NGINX_CLIENT_MAX_BODY_SIZE)"
            )
            return RunOutcome(Outcome.REJECTED, text, hint)
        case 413 | 422 | 400 if error.from_dify:
            return _rejected(http)
        # 511 comes from a captive portal (RFC 6585); after an unexpected 1xx, the answer itself is lost.
        case _ if status < 200 or (status >= 500 and status != 511):
            return _lost(answered)
    return _not_dify(error, http)


def _denied(error: ApiError) -> RunOutcome:
    match error.status, error.from_dify:
        case 401, True:
            found = msg("Dify does not accept the API key: {said}", said=error.message), _KEY_HINT
        case 401, False:
            found = (
                msg("a proxy in front of Dify requires a login (HTTP 401 that does not come from Dify)"),
                msg("exempt the API path of base_url from the proxy's login"),
            )
        case 403, True:
            found = (
                msg("Dify denied access: {message}", message=error.message),
                msg("check in Dify that the app exists and its API is enabled"),
            )
        case 403, False:
            found = (
                msg("a firewall or proxy blocked the request (HTTP 403 that does not come from Dify)"),
                msg(
                    "allow this client in the firewall; some firewalls block inputs that look like code. "
                    "Dify did not receive the request, so the API key is still unchecked"
                ),
            )
        case _:
            found = (
                msg("the proxy between this machine and Dify requires a login (HTTP 407)"),
                _HINTS_BY_CAUSE[FailureCause.PROXY_LOGIN],
            )
    return RunOutcome(Outcome.DENIED, *found)


def _not_dify(error: ApiError, http: str) -> RunOutcome:
    if error.status in (301, 302, 303, 307, 308):
        return RunOutcome(
            Outcome.PROTOCOL,
            msg(
                "the server redirects the request ({said}). dify-job does not follow "
                "redirects, because another server could then get the API key",
                said=http,
            ),
            msg(
                "set base_url to the address that the server redirects to, often https:// instead of "
                "http://. If that address is a login page, exempt the API path from the login"
            ),
        )
    asked = msg(" to {url}", url=error.url) if error.url else ""
    if error.from_dify:
        text = msg("Dify answered {said}{asked}", said=http, asked=asked)
        return RunOutcome(
            Outcome.PROTOCOL, text, msg("check base_url: it must end with /v1, and contain /v1 only once")
        )
    text = msg("the answer{asked} ({said}) does not come from Dify", asked=asked, said=http)
    return RunOutcome(Outcome.PROTOCOL, text, NOT_DIFY[1])


def _rejected(said: str) -> RunOutcome:
    return _of_row(_WRONG_INPUTS, said)
