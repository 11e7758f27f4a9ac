"""What an end means: pure, from (transport, HTTP status, code, message, final status) to an outcome.

The cases are those of the recordings (tests/data/recordings) and of the exit table.
"""

import re
from enum import Enum, auto

from ..dify import models
from ..dify.models import ApiError, WorkflowRun
from ..exit_codes import Outcome
from ..messages.message import msg
from ..messages.problem import command
from ..messages.sanitize import one_line
from ..system.values import dataclass, replace

# The app's own limit is a 400 from 0.14.2 on, told from wrong inputs by its message alone (dify#11955).
_BUSY = "Too many requests"
_NOT_PUBLISHED = "Workflow not published"
_API_DISABLED = "API service has been disabled"
# 1.14: a stopped run ends `failed` in the stream (`stop-streaming-stream`).
_STOP_IN_WORDS = "User requested stop"
_WORKER_IN_WORDS = "worker is shutting down"  # 1.16 (`worker-term-streaming`)
_LONGEST_TITLE = 100  # characters of a node's title in a message
# From 1.13 wrong inputs of a streaming call are an `error` event without a code
# (`error-input-required-missing-streaming`), so only the messages of the 400 tell them.
_ABOUT_INPUTS = (
    r"(?i)in input form|upload file|file mapping|file url|file type|validation (error|failed)|matching enum"
    r"|expected value type|FileTransferMethod|maximum retries \(\d+\) for URL"
)
# `error-in-run-broken-streaming`, `error-in-run-nostart-streaming`
_ABOUT_APP = r"(?i)validation errors? for \w*NodeData|root node|workflow graph"
_LIMIT = re.compile(r"concurrent requests allowed for .* is (\d+)")
_IN_WORKER = (1, 13)  # from here on a worker executes streaming runs
_INPUTS_BY_RUN = (1, 15)  # from here on no `error` event is about inputs

_DENIED = msg("the key was refused")
_KEY_HINT = msg(
    "check the key (in Dify: API Access) and where the job takes it from: {command}",
    command=command("dify-job", "config", "show", "JOB"),
)
_INPUTS_HINT = msg("compare the inputs with the form of the app's start node in Dify")


class Next(Enum):
    """What may be done after an outcome.

    FINAL: nothing more. RETRY: the server provably started nothing, so the same POST may be sent again.
    SEARCH: a run may exist although its answer is lost; the outcome stands only if the run cannot be found.
    """

    FINAL = auto()
    RETRY = auto()
    SEARCH = auto()


@dataclass(frozen=True)
class RunOutcome:
    """An outcome in words.

    unsent: not a byte of the request left. why: what makes the answer doubtful, where `next` is SEARCH.
    unsettled: a run may be left on the server. signum: the signal of a cancelled run.
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


@dataclass(frozen=True)
class NotSent:
    """A call of which not a byte left, and why."""

    reason: str


CallEnd = NotSent | ApiError | WorkflowRun


@dataclass(frozen=True)
class CallTerms:
    """What of a job decides about an end.

    partial: the policy for partial-succeeded. workflow_id: the pinned version, which can be what a 400 or 404
    is about. streaming: the mode of the call.
    """

    partial: str = "failure"
    workflow_id: str | None = None
    streaming: bool = False


_DEFAULT_TERMS = CallTerms()


def decide(end: CallEnd, terms: CallTerms = _DEFAULT_TERMS) -> RunOutcome:
    """Return the outcome that an end means, before anything is looked up."""
    if isinstance(end, WorkflowRun):
        return _of_run(end, terms.partial)
    if isinstance(end, NotSent):
        return RunOutcome(
            Outcome.UNREACHABLE,
            msg("the server could not be reached: {unsent}", unsent=end.reason),
            connection_error_hint(end.reason),
            next=Next.RETRY,
            unsent=True,
        )
    by_status = _of_error_event if end.in_stream else _of_http_status
    verdict = _of_refusal(end, terms) or by_status(end)
    return replace(verdict, retry_after=end.retry_after)


def connection_error_hint(why: str) -> str:
    """Return what fixes a connection that was not made, by the words of dify/transport."""
    if why.startswith("proxy: "):
        return msg("check HTTPS_PROXY and HTTP_PROXY, or name the host in NO_PROXY")
    if why.startswith("no thread can be started"):
        return msg("raise the limit of processes and threads: ulimit -u, TasksMax= of the unit")
    if "certificate is not trusted" not in why:
        return msg(
            "check base_url ({command}), and that Dify is up",
            command=command("dify-job", "config", "show", "JOB"),
        )
    if "expired" in why:
        return msg("renew the certificate on the server")
    if "mismatch" in why:
        return msg("set base_url to a name that the certificate is for")
    return msg("set ca_file in the job to the PEM file of the authority that signed it")


def unknown(why: str) -> RunOutcome:
    """Submitted, and how it ended is not known."""
    return RunOutcome(
        Outcome.UNKNOWN,
        msg("the run was submitted, but how it ended is not known: {why}", why=why),
        msg("look for it in the app's Logs before you start it again; it may have run, or may run yet"),
        next=Next.SEARCH,
        why=why,
        unsettled=True,
    )


def ended_by_stop(run: WorkflowRun) -> bool:
    """True where a run ended as one does that was asked to stop, in the words of either generation."""
    return run.status == models.STOPPED or (
        run.status == models.FAILED and _STOP_IN_WORDS in (run.error or "")
    )


def _of_run(run: WorkflowRun, partial: str) -> RunOutcome:
    match models.STOPPED if ended_by_stop(run) else run.status:
        case models.SUCCEEDED:
            verdict = RunOutcome(Outcome.SUCCEEDED, msg("workflow succeeded"))
        case models.PARTIAL if partial == "success":
            verdict = RunOutcome(Outcome.SUCCEEDED, msg("workflow succeeded in part, as the job allows"))
        case models.PARTIAL:
            verdict = _partial(run)
        case models.FAILED:
            verdict = _failed(run)
        case models.STOPPED:
            verdict = _stopped(run)
        case models.PAUSED:
            verdict = RunOutcome(
                Outcome.PAUSED,
                msg("workflow is paused: it waits for a human"),
                msg("answer its form in Dify; a workflow on a schedule should not have a human-input node"),
            )
        case _:
            verdict = RunOutcome(
                Outcome.PROTOCOL,
                msg("the run ended with a status unknown to this version: {status!r}", status=run.status),
                msg("it is not taken for success; upgrade dify-job, or look at the run in the app's Logs"),
            )
    return replace(verdict, run=run)


def _partial(run: WorkflowRun) -> RunOutcome:
    hint = msg('if that is good enough, set partial = "success" in the job')
    node = run.failed_node
    if node is None:
        message = msg(
            "workflow succeeded in part: a node failed and its fail branch or default value took over"
        )
    else:
        title, error = one_line(node.title, _LONGEST_TITLE), node.error or msg("no error was given")
        message = msg(
            'workflow succeeded in part: "{title}" ({type}) failed and its fail branch or default '
            "value took over: {error}",
            title=title,
            type=node.type,
            error=error,
        )
    return RunOutcome(Outcome.PARTIAL, message, hint)


def _failed(run: WorkflowRun) -> RunOutcome:
    node = run.failed_node
    error = run.error or (node.error if node is not None else None)
    if node is not None:
        title, why = one_line(node.title, _LONGEST_TITLE), error or msg("no error was given")
        message = msg('workflow failed at "{title}" ({type}): {why}', title=title, type=node.type, why=why)
    elif error:
        message = msg("workflow failed: {error}", error=error)
    else:
        message = msg("workflow failed")
    return RunOutcome(Outcome.FAILED, message, msg("the run's nodes are in the app's Logs"))


def _stopped(run: WorkflowRun) -> RunOutcome:
    if _WORKER_IN_WORDS in (run.error or ""):
        hint = msg("Dify's worker was shut down or restarted during the run; docker compose ps worker")
    else:
        hint = msg("somebody stopped it, or a time limit of the server did (APP_MAX_EXECUTION_TIME, 1200 s)")
    if run.failed_node is not None:
        title, node_type = one_line(run.failed_node.title, _LONGEST_TITLE), run.failed_node.type
        why = run.error or msg("no reason was given")
        message = msg(
            'workflow was stopped on the server at "{title}" ({node_type}): {why}',
            title=title,
            node_type=node_type,
            why=why,
        )
    elif run.error:
        message = msg("workflow was stopped on the server: {error}", error=run.error)
    else:
        message = msg("workflow was stopped on the server")
    return RunOutcome(Outcome.STOPPED, message, hint)


def _of_refusal(refusal: ApiError, terms: CallTerms) -> RunOutcome | None:
    """By code and message, which an HTTP answer and an `error` event share; None where they do not tell."""
    said = refusal.message.strip() or refusal.code or f"HTTP {refusal.status}"
    if _BUSY in refusal.message or refusal.code == "too_many_requests":
        return _busy(refusal, said, streaming=terms.streaming)
    if _NOT_PUBLISHED in refusal.message or refusal.code == "app_unavailable":
        return RunOutcome(
            Outcome.CONFIG,
            msg("the workflow is not published"),
            msg("open the app in Dify and press Publish"),
        )
    if _API_DISABLED in refusal.message:
        return RunOutcome(
            Outcome.CONFIG,
            msg("the app's API is switched off"),
            msg("switch on Backend Service API in the app's overview in Dify"),
        )
    if refusal.code in ("bad_request", "not_found") and terms.workflow_id:
        return RunOutcome(
            Outcome.CONFIG,
            msg("workflow_id {workflow_id} cannot be run: {said}", workflow_id=terms.workflow_id, said=said),
            msg("take the id of a published version, or leave workflow_id out to run the newest one"),
        )
    if refusal.code == "invalid_param" and refusal.in_stream:
        return _invalid_in_stream(refusal, said)
    if refusal.code in _BY_CODE:
        return _BY_CODE[refusal.code](said)
    if not refusal.code and refusal.from_dify and re.search(_ABOUT_INPUTS, refusal.message):
        return _rejected(said)
    return None


def _busy(refusal: ApiError, said: str, *, streaming: bool) -> RunOutcome:
    limit = _LIMIT.search(refusal.message)
    message = msg("the server has too many runs under way: {said}", said=said)
    if limit is None or limit[1] != "1" or not streaming:
        hint = msg("raise the app's limit, or give the jobs a jitter")
        return RunOutcome(Outcome.BUSY, message, hint, next=Next.RETRY)
    # Such a call takes its place twice (`rate-limit-1-streaming-refused-when-idle`).
    always = refusal.version is not None and refusal.version >= _IN_WORKER
    return RunOutcome(
        Outcome.BUSY,
        message,
        msg(
            "Dify 1.13 and newer refuse every streaming call of an app with a limit of 1: "
            'set mode = "blocking" in the job, or raise the limit of the app'
        ),
        next=Next.FINAL if always else Next.RETRY,
    )


def _invalid_in_stream(refusal: ApiError, said: str) -> RunOutcome | None:
    """From 1.15 on such an event is about the app: wrong inputs come as a run that does not exist."""
    if refusal.version is not None and refusal.version < _INPUTS_BY_RUN:
        return _rejected(said)
    if re.search(_ABOUT_APP, refusal.message):
        return RunOutcome(
            Outcome.CONFIG,
            msg("the app's workflow cannot be run: {said}", said=said),
            msg("open the app in Dify, try it there, and publish it again"),
        )
    return _rejected(said) if re.search(_ABOUT_INPUTS, refusal.message) else None


def refused_run(run: WorkflowRun) -> RunOutcome:
    """Return the outcome of a run that a stream said has failed, and that the server does not know."""
    return decide(ApiError(0, message=run.error or "", in_stream=True))


def _of_error_event(refusal: ApiError) -> RunOutcome:
    return RunOutcome(
        Outcome.FAILED,
        msg(
            "Dify reported an error and started no run: {value}",
            value=refusal.message or refusal.code or msg("no reason given"),
        ),
        msg("the server's log has the cause: docker compose logs api worker"),
    )


def _of_http_status(error: ApiError) -> RunOutcome:
    status = error.status
    said = f"HTTP {status}" + (f" ({error.message})" if error.message else "")
    who = "Dify" if error.from_dify else msg("a proxy or another server")
    answered = msg("{whose} answered {said}", whose=who, said=said)
    if error.passed_on and not error.from_dify:
        return unknown(answered)
    match status:
        case 429:
            hint = msg("let the job run later or less often")
            return RunOutcome(Outcome.BUSY, answered, hint, next=Next.RETRY)
        case 503:
            # A proxy gives it without passing the request on; Dify's own is not repeated.
            hint = msg("the service is down or overloaded; try later")
            following = Next.FINAL if error.from_dify else Next.RETRY
            return RunOutcome(Outcome.UNREACHABLE, answered, hint, next=following)
        case 401 | 403 | 407:
            return _denied(error)
        case 413 if not error.from_dify:
            return RunOutcome(
                Outcome.REJECTED,
                msg("a proxy in front of Dify refused the size of the request: {said}", said=said),
                msg(
                    "send less, or raise its limit (nginx: client_max_body_size, in Dify's .env "
                    "NGINX_CLIENT_MAX_BODY_SIZE)"
                ),
            )
        case 413 | 422 | 400 if error.from_dify:
            return _rejected(said)
        # 511 is a captive portal's (RFC 6585); after 1xx the answer itself is yet to come, and is lost to us.
        case _ if status < 200 or (status >= 500 and status != 511):
            return unknown(answered)
    return _not_dify(error, said)


def _denied(error: ApiError) -> RunOutcome:
    match error.status, error.from_dify:
        case 401, True:
            message = msg("{denied}: {message}", denied=_DENIED, message=error.message)
            hint = _KEY_HINT
        case 401, False:
            message = msg("a proxy in front of Dify asks for a login (HTTP 401, not Dify's own page)")
            hint = msg("let the API path of base_url pass without that login")
        case 403, True:
            message = msg("Dify refused access: {message}", message=error.message)
            hint = msg("check the app in Dify")
        case 403, False:
            message = msg("a firewall or proxy blocked the request (HTTP 403, not Dify's own page)")
            hint = msg(
                "allow this client; firewalls dislike inputs that look like code. The key was not judged"
            )
        case _:
            message = msg("the proxy asks for a login (HTTP 407)")
            hint = msg("set it in HTTPS_PROXY")
    return RunOutcome(Outcome.DENIED, message, hint)


def _not_dify(refusal: ApiError, said: str) -> RunOutcome:
    if 300 <= refusal.status < 400:
        return RunOutcome(
            Outcome.PROTOCOL,
            msg(
                "the server redirects ({said}), which would change the method or carry the key elsewhere",
                said=said,
            ),
            msg(
                "set base_url to the address that it redirects to (often https:// instead of http://). "
                "If it redirects to a login page, exempt the API path from authentication"
            ),
        )
    asked = msg(" to {url}", url=refusal.url) if refusal.url else ""
    if refusal.from_dify:
        text = msg("Dify answered {said}{asked}", said=said, asked=asked)
        return RunOutcome(Outcome.PROTOCOL, text, msg("check base_url: /v1 stands at its end, once"))
    return RunOutcome(
        Outcome.PROTOCOL,
        msg("the answer{asked} ({said}) is not Dify's", asked=asked, said=said),
        msg("check base_url: it should be Dify's address, ending in /v1, without a login page before it"),
    )


def _rejected(said: str) -> RunOutcome:
    return RunOutcome(Outcome.REJECTED, msg("Dify refused the inputs: {said}", said=said), _INPUTS_HINT)


def _quota(said: str) -> RunOutcome:
    return RunOutcome(
        Outcome.DENIED,
        msg("a quota is used up: {said}", said=said),
        msg("it comes back with the plan's next period"),
    )


def _model(said: str) -> RunOutcome:
    return RunOutcome(
        Outcome.CONFIG,
        msg("the app's model is not usable: {said}", said=said),
        msg("set it up in Dify: Settings, Model Provider"),
    )


_BY_CODE = {
    "invalid_param": _rejected,
    "bad_request": _rejected,
    "unauthorized": lambda said: RunOutcome(
        Outcome.DENIED, msg("{denied}: {said}", denied=_DENIED, said=said), _KEY_HINT
    ),
    "rate_limit_error": _quota,
    "provider_quota_exceeded": _quota,
    "workflow_version_execution_not_allowed": lambda said: RunOutcome(
        Outcome.DENIED,
        msg("the plan does not allow it: {said}", said=said),
        msg("leave workflow_id out, or change the plan"),
    ),
    "not_workflow_app": lambda said: RunOutcome(
        Outcome.CONFIG,
        msg("the key belongs to an app that is not a workflow: {said}", said=said),
        msg("use the key of a workflow app"),
    ),
    "agent_not_published": lambda said: RunOutcome(
        Outcome.CONFIG,
        msg("an agent of the workflow is not published: {said}", said=said),
        msg("open the agent in Dify and press Publish"),
    ),
    "trigger_workflow_service_mode_unavailable": lambda said: RunOutcome(
        Outcome.CONFIG,
        msg("the workflow starts with a trigger, so it cannot be called: {said}", said=said),
        msg("let it start with User Input; dify-job is the schedule"),
    ),
    "provider_not_initialize": _model,
    "model_currently_not_support": _model,
    "completion_request_error": lambda said: RunOutcome(
        Outcome.FAILED, msg("workflow failed: the model's provider said: {said}", said=said)
    ),
    "file_too_large": _rejected,
}
