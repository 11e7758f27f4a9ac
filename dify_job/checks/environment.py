"""Variables that the caller's shell has, and a unit or crontab entry has not: of templates, proxy, CAs."""

import os
import shlex
from collections.abc import Sequence
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..config.model import Job
from ..dify.transport import ca_file_of_openssl, no_proxy_to_loopback
from ..messages.message import join, msg
from ..messages.problem import Problem, command
from ..schedulers.job_spec import unit_names
from .context import HostContext
from .finding import ok, place_of, warn

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # of which requests takes the first


def check_environment(context: HostContext) -> Problem | None:
    """Check the variables that the job needs; None where it needs none."""
    needed = {*context.job.env, *_proxy_variables(context.job.base_url), *_bundle_variable(context.job)}
    if not needed:
        return None
    service = unit_names(context.job.name)[0]
    names = set[str]() if context.by_cron else context.scheduler.manager.variables(service)
    missing = sorted(needed - names) if names is not None else []
    if not missing:
        return ok(msg("set for the service: {sorted}", sorted=join(", ", sorted(needed))))
    text = msg(
        "{missing}: your shell may set it, but nothing sets it for a scheduled run",
        missing=join(", ", missing),
    )
    return warn(text, _fix(context, missing, service))


def _fix(context: HostContext, missing: Sequence[str], service: str) -> str:
    for name in missing:
        if name in (*_BUNDLES, "SSL_CERT_FILE"):
            return msg(
                'set ca_file = "{environ}" in {place_of}',
                environ=os.environ[name],
                place_of=place_of(context.job, "ca_file"),
            )
    if context.by_cron:
        again = context.command("install", context.job.name, "--backend", "systemd")
        return msg("{again} (cron gives a job no variables; a unit can have them)", again=again)
    if (context.system and os.geteuid() != 0) or any("\n" in os.environ.get(name, "\n") for name in missing):
        return msg(
            "{command} ([Service] Environment={missing}=...)",
            command=context.systemctl("edit", service),
            missing=missing[0],
        )
    return _drop_in(context, missing, service)


def _drop_in(context: HostContext, missing: Sequence[str], service: str) -> str:
    """Put values of this shell into a drop-in; it shows none, for a proxy's can hold a password."""
    [unit] = [path for path in context.one.paths if path.name == service] if context.one else []
    directory = f"{unit}.d"
    place = shlex.quote(directory)
    pairs = " ".join(f'"{name}=${name}"' for name in missing)
    quote = """-e 's/["\\\\]/\\\\&/g' -e s/%/%%/g -e 's/.*/Environment="&"/'"""
    write = f"printf '%s\\n' {pairs} | sed {quote} -e '1i [Service]' >{place}/environment.conf"
    return join(" && ", (command("mkdir", "-p", directory), write, context.systemctl("daemon-reload")))


def _bundle_variable(job: Job) -> list[str]:
    """The variable by which runs from this shell trust the server's certificate, as a run chooses it."""
    if not job.base_url.startswith("https:") or job.ca_file is not None:
        return []
    names = [name for name in _BUNDLES if os.environ.get(name)]
    return names[:1] or (["SSL_CERT_FILE"] if ca_file_of_openssl() else [])


def _proxy_variables(base_url: str) -> set[str]:
    """The variables by which runs from this shell go through a proxy."""
    parts = urlsplit(base_url)
    used = next((scheme for scheme in (parts.scheme, "all") if getproxies().get(scheme)), None)
    if used is None or proxy_bypass(parts.hostname or ""):
        return set()
    if no_proxy_to_loopback(base_url):  # a run goes there directly, whatever the shell says
        return set()
    names = {f"{used}_proxy", f"{used}_proxy".upper()}
    return {name for name in names if os.environ.get(name)}
