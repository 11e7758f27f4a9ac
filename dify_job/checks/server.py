"""Check the server and the app. No check starts a run."""

import time
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .. import log
from ..config.model import Job, Secret
from ..config.permissions import check_ca_file
from ..config.readers import unencrypted_host
from ..config.secrets import read_headers
from ..dify.app_info import CALL_LIMIT, AppProbe, ForeignAnswer, NoAnswer, ProbeFailure, probe_app
from ..dify.models import ApiError, Failure, FailureCause
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import Problem, command
from ..run.outcome import NOT_DIFY, NotSent, RunOutcome, connection_error_hint, decide
from .finding import fail, location_of, ok, warn

if TYPE_CHECKING:
    from .context import HostContext

_BUDGET = 24.0  # seconds for all questions of one `doctor`, whatever the number of jobs
_CERTIFICATE_WARNING = timedelta(days=14)


class Servers:
    """The apps of several jobs; each app is probed once, within a time limit.

    Args:
        budget: Seconds for all of them.
    """

    def __init__(self, budget: float = _BUDGET) -> None:
        self._until = time.monotonic() + budget
        self._seen: dict[tuple[str, str, Path | None], AppProbe] = {}
        self._gone: dict[str, AppProbe] = {}

    def probe(self, job: Job, key: Secret) -> AppProbe | None:
        """Return the server's answer about a job's app; None if it cannot be asked or the time is used up.

        Args:
            job: The job.
            key: Its key.
        """
        log.add_secret(key.reveal())
        asked = (job.base_url, key.reveal(), job.ca_file)
        if job.base_url in self._gone:
            return self._gone[job.base_url]
        if asked not in self._seen:
            left = (self._until - time.monotonic()) / 2
            if left < 1:
                return None
            limit = min(CALL_LIMIT, left)
            try:
                check_ca_file(job.ca_file)
                headers = {name: value.reveal() for name, value in read_headers(job).items()}
            except JobError:  # a check of its own reports it
                return None
            try:
                seen = probe_app(
                    job.base_url, key.reveal(), ca_file=job.ca_file, headers=headers, limit=limit
                )
            except JobError as error:
                seen = AppProbe(failure=NoAnswer(error.message))
            if isinstance(seen.failure, NoAnswer):
                self._gone[job.base_url] = seen
            self._seen[asked] = seen
        return self._seen[asked]


def expected_failure(probe: AppProbe) -> RunOutcome | None:
    """Return the outcome with which a run of this app would fail now; None if no reason is known.

    Args:
        probe: The server's answer about the app.
    """
    if probe.failure is not None:
        return _outcome_of(probe.failure)
    if probe.mode not in (None, "workflow"):
        text = msg(
            "the API key belongs to the app {name!r}, which is not a workflow: its mode is {mode}",
            name=probe.name,
            mode=probe.mode,
        )
        return RunOutcome(Outcome.CONFIG, text, msg("use the API key of a workflow app"))
    return None


def check_ca(context: "HostContext") -> None:
    """Check that the job's CA certificates can be read. Raises JobError."""
    check_ca_file(context.job.ca_file)


def edit_ca_file(context: "HostContext", _error: JobError) -> str:
    """Return the edit that fixes the job's CA file."""
    place = location_of(context.job, "ca_file")
    return msg(
        "edit ca_file in {place}: name a PEM file, or remove the setting to trust this "
        "machine's certificates",
        place=place,
    )


def check_headers(context: "HostContext") -> None:
    """Check the files of secret headers. Raises JobError."""
    read_headers(context.job)


def check_transport(context: "HostContext") -> Problem:
    """Check that the key is sent encrypted."""
    job, seen = context.job, context.app
    parts = urlsplit(job.base_url)
    host = parts.hostname or ""
    if unencrypted_host(job.base_url) is not None:
        return warn(
            msg("the API key is sent to {host} without encryption", host=host),
            msg("set base_url to an https:// address in {place}", place=location_of(job, "base_url")),
        )
    if parts.scheme == "http":
        return ok(msg("no encryption, and none is needed: Dify runs on this machine"))
    end = seen.certificate_ends if seen is not None else None
    if end is None:
        return ok(msg("the connection uses https, and the certificate is verified"))
    text = msg("the certificate of {host} is valid until {end:%Y-%m-%d}", host=host, end=end)
    if end - context.now.astimezone(UTC) < _CERTIFICATE_WARNING:
        return warn(
            text,
            msg(
                "renew the certificate on {host} before {end:%Y-%m-%d}; after that day no run can start",
                host=host,
                end=end,
            ),
        )
    return ok(text)


def check_server(context: "HostContext") -> Problem | None:
    """Check that Dify answers; None if it cannot be asked."""
    job, seen = context.job, context.app
    if seen is None:
        if not isinstance(context.key, Secret):
            return None
        text = msg("the server was not checked, because the servers of other jobs took all the time")
        return warn(text, command("dify-job", "doctor", job.name))
    failure = seen.failure
    if isinstance(failure, NoAnswer):
        text = msg(
            "the server {base_url} cannot be reached: {reason}", base_url=job.base_url, reason=failure.reason
        )
        return fail(text, _connection_advice(job, failure.reason))
    of_dify = isinstance(failure, ApiError) and failure.from_dify and failure.status < 500
    if not of_dify and (why := _outcome_of(failure)) is not None:
        return fail(
            msg("the server {base_url} does not work: {message}", base_url=job.base_url, message=why.message),
            why.hint,
        )
    version = seen.version or msg("(unknown version)")
    return ok(msg("Dify {version} answers at {base_url}", version=version, base_url=job.base_url))


def check_access(context: "HostContext") -> Problem | None:
    """Check that Dify accepts the key."""
    if context.app is None:
        return None
    why = expected_failure(context.app)
    if why is not None and why.outcome is Outcome.DENIED:
        return fail(why.message, command("dify-job", "secret", "set", context.job.name))
    return ok(msg("Dify accepts the API key"))


def check_app(context: "HostContext") -> Problem | None:
    """Check that the app is a published workflow."""
    seen = context.app
    if seen is None:
        return None
    if (why := expected_failure(seen)) is not None:
        other = msg(
            "store the API key of a workflow app: {command}",
            command=command("dify-job", "secret", "set", context.job.name),
        )
        return fail(why.message, why.hint if seen.mode in (None, "workflow") else other)
    if seen.mode is None:
        return ok(msg("the app {name!r} is published, and its API is enabled", name=seen.name))
    return ok(msg("the app {name!r} is a published workflow, and its API is enabled", name=seen.name))


def _outcome_of(failure: ProbeFailure | None) -> RunOutcome | None:
    match failure:
        case NoAnswer(reason):
            return decide(NotSent(reason))
        case ForeignAnswer():
            return RunOutcome(Outcome.PROTOCOL, *NOT_DIFY)
        case ApiError(status=status) if status >= 500:
            said = f": {failure.message}" if failure.message else ""
            return RunOutcome(
                Outcome.UNREACHABLE,
                msg("the server answered HTTP {status}{said}", status=status, said=said),
                msg("the log of the server has the cause: docker compose logs api"),
            )
        case ApiError():
            return decide(failure)
    return None


def _connection_advice(job: Job, why: str) -> str:
    match why.cause if isinstance(why, Failure) else FailureCause.OTHER:
        case FailureCause.OTHER:
            verify = ("--cacert", str(job.ca_file)) if job.ca_file else ()
            return msg(
                "edit base_url in {place} if the address is wrong; otherwise test the connection: {command}",
                command=command("curl", "-v", *verify, f"{job.base_url}/info"),
                place=location_of(job, "base_url"),
            )
        case FailureCause.CERTIFICATE_NAME:
            return msg(
                "edit base_url in {place}: use a host name that the certificate contains",
                place=location_of(job, "base_url"),
            )
        case FailureCause.CERTIFICATE_UNTRUSTED:
            return msg(
                "set ca_file in {place} to the PEM file of the certificate authority, or "
                "renew the certificate on the server",
                place=location_of(job, "ca_file"),
            )
    return connection_error_hint(why)
