"""The server and the app: asked for, never run."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from .. import log
from ..config.model import Job, Secret
from ..config.permissions import check_ca_file
from ..config.readers import host_in_the_open
from ..config.secrets import read_headers
from ..dify.app_info import CALL_LIMIT, AppProbe, probe_app
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import Problem, command
from ..run.outcome import connection_error_hint, obstacle
from .finding import fail, ok, place_of, warn

_BUDGET = 24.0  # seconds for all questions of one `doctor`, whatever the number of jobs
_CERTIFICATE_WARNING = timedelta(days=14)


class Servers:
    """The apps of several jobs, each asked for once, in bounded time.

    Args:
        budget: Seconds for all of them.
    """

    def __init__(self, budget: float = _BUDGET) -> None:
        self._until = time.monotonic() + budget
        self._seen: dict[tuple[str, str, Path | None], AppProbe] = {}
        self._gone: dict[str, AppProbe] = {}

    def look(self, job: Job, key: Secret) -> AppProbe | None:
        """The job's app; None where no time is left."""
        log.hide(key.reveal())
        asked = (job.base_url, key.reveal(), job.ca_file)
        if job.base_url in self._gone:
            return self._gone[job.base_url]
        if asked not in self._seen:
            left = (self._until - time.monotonic()) / 2
            if left < 1:
                return None
            limit = min(CALL_LIMIT, left)
            try:
                headers = {name: value.reveal() for name, value in read_headers(job).items()}
                seen = probe_app(
                    job.base_url, key.reveal(), ca_file=job.ca_file, headers=headers, limit=limit
                )
            except JobError as error:
                seen = AppProbe(broken=error.message)
            if seen.broken is not None:
                self._gone[job.base_url] = seen
            self._seen[asked] = seen
        return self._seen[asked]


def check_trust(job: Job) -> Problem | None:
    """Why no server can be trusted; None where its certificates can be judged."""
    try:
        check_ca_file(job.ca_file)
    except JobError as error:
        text = msg(
            "edit ca_file in {place_of}: a PEM file, or none for this machine's own",
            place_of=place_of(job, "ca_file"),
        )
        return fail("tls", error.message, text)
    return None


def check_transport(job: Job, seen: AppProbe | None, now: datetime) -> Problem:
    """How the key travels."""
    parts = urlsplit(job.base_url)
    host = parts.hostname or ""
    if host_in_the_open(job.base_url) is not None:
        return warn(
            "tls",
            msg("the key goes to {host} unencrypted", host=host),
            msg("set base_url to https:// ({place_of})", place_of=place_of(job, "base_url")),
        )
    if parts.scheme == "http":
        return ok("tls", msg("none, and none is needed: the server is this machine"))
    end = seen.certificate_ends if seen is not None else None
    if end is None:
        return ok("tls", msg("https; certificates are verified"))
    text = msg("the certificate of {host} is good until {end:%Y-%m-%d}", host=host, end=end)
    if end - now.astimezone(UTC) < _CERTIFICATE_WARNING:
        return warn("tls", text, msg("renew it on {host}; after that day no run starts", host=host))
    return ok("tls", text)


def check_server(job: Job, seen: AppProbe) -> Iterator[Problem]:
    """Dify answers, takes the key, and the app is a published workflow; after a failure there is no more."""
    verdict = obstacle(seen)
    refusal = seen.error
    if seen.broken is not None:
        yield fail(
            "server",
            msg("{base_url} cannot be reached: {broken}", base_url=job.base_url, broken=seen.broken),
            _try(job, seen.broken),
        )
        return
    by_dify = refusal is None or (refusal.from_dify and refusal.status < 500)
    if seen.strange or not by_dify:
        words = verdict or obstacle(AppProbe(strange=True))
        assert words is not None  # for mypy; there is an obstacle
        yield fail(
            "server", msg("{base_url}: {message}", base_url=job.base_url, message=words.message), words.hint
        )
        return
    yield ok(
        "server",
        msg(
            "Dify {value} answers at {base_url}",
            value=seen.version or msg("(unknown version)"),
            base_url=job.base_url,
        ),
    )
    if verdict is not None and verdict.outcome is Outcome.DENIED:
        yield fail("access", verdict.message, command("dify-job", "secret", "set", job.name))
        return
    yield ok("access", msg("Dify takes the key"))
    if verdict is not None:
        store = command("dify-job", "secret", "set", job.name)
        other = msg("{command} ({hint})", command=store, hint=verdict.hint)
        yield fail("app", verdict.message, verdict.hint if seen.mode in (None, "workflow") else other)
        return
    mode = "" if seen.mode is None else ", a workflow"
    yield ok("app", msg("{name!r}{mode}, published, its API switched on", name=seen.name, mode=mode))


def _try(job: Job, why: str) -> str:
    if why.startswith("proxy: ") or "expired" in why:
        return connection_error_hint(why)
    if "mismatch" in why:
        return msg(
            "edit base_url in {place_of}: a name that the certificate is for",
            place_of=place_of(job, "base_url"),
        )
    if "certificate" in why:
        place = place_of(job, "ca_file")
        return msg(
            "set ca_file in {place} to the PEM file of its authority, or renew it on the server", place=place
        )
    verify = msg(" --cacert {ca_file}", ca_file=job.ca_file) if job.ca_file else ""
    return msg(
        "curl -v{verify} {base_url}/info; edit base_url in {place_of}",
        verify=verify,
        base_url=job.base_url,
        place_of=place_of(job, "base_url"),
    )
