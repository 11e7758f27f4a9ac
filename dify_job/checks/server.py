"""Check the server and the app. No check starts a run."""

from datetime import UTC, timedelta
from urllib.parse import urlsplit

from ..config.model import Job, Secret
from ..config.permissions import check_ca_file
from ..config.readers import unencrypted_host
from ..config.secrets import read_headers
from ..dify.app_info import NoAnswer
from ..dify.models import ApiError, Failure, FailureCause
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..run.outcome import connection_error_hint
from .context import HostContext
from .finding import Finding, fail, location_of, ok, warn
from .probes import expected_failure, failure_outcome

_CERTIFICATE_WARNING = timedelta(days=14)


def check_ca(context: HostContext) -> None:
    """Check that the job's CA certificates can be read. Raises JobError."""
    check_ca_file(context.job.ca_file)


def edit_ca_file(context: HostContext, _error: JobError) -> str:
    """Return the edit that fixes the job's CA file."""
    place = location_of(context.job, "ca_file")
    return msg(
        "edit ca_file in {place}: name a PEM file, or remove the setting to trust this "
        "machine's certificates",
        place=place,
    )


def check_headers(context: HostContext) -> None:
    """Check the files of secret headers. Raises JobError."""
    read_headers(context.job)


def check_transport(context: HostContext) -> Finding:
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


def check_server(context: HostContext) -> Finding | None:
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
    if not of_dify and (why := failure_outcome(failure)) is not None:
        return fail(
            msg("the server {base_url} does not work: {message}", base_url=job.base_url, message=why.message),
            why.hint,
        )
    version = seen.version or msg("(unknown version)")
    return ok(msg("Dify {version} answers at {base_url}", version=version, base_url=job.base_url))


def check_access(context: HostContext) -> Finding | None:
    """Check that Dify accepts the key."""
    if context.app is None:
        return None
    why = expected_failure(context.app)
    if why is not None and why.outcome is Outcome.DENIED:
        return fail(why.message, command("dify-job", "secret", "set", context.job.name))
    return ok(msg("Dify accepts the API key"))


def check_app(context: HostContext) -> Finding | None:
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
