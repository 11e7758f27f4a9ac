"""What the caller's shell has, and a unit or a crontab line has not: variables of templates, proxy, CAs."""

import os
import shlex
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..config.model import Job
from ..dify.transport import no_proxy_to_loopback
from ..scheduling import units
from .case import Case
from .check import Check, ok, warn

_BUNDLES = ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


def check_environment(case: Case) -> Iterator[Check]:
    """Nothing where the job needs none of them."""
    bundles = _bundle_variables(case.job)
    wanted = {*case.job.env, *_proxy_variables(case.job.base_url), *bundles}
    if not wanted:
        return
    service = units.unit_names(case.job.name)[0]
    names = set[str]() if case.by_cron else case.manager.variables(service)
    missing = sorted(wanted - names) if names is not None else []
    if missing:
        told = f"{', '.join(missing)}: a shell may have it, and nothing sets it when the job runs by itself"
        yield warn("environment", told, _mend(case, missing, service))
    else:
        yield ok("environment", f"set for the service: {', '.join(sorted(wanted))}")


def _mend(case: Case, missing: Sequence[str], service: str) -> str:
    for name in missing:
        if name in _BUNDLES:
            return f'set ca_file = "{os.environ[name]}" in the job'
    if case.by_cron:
        again = case.command(f"install {case.job.name} --backend systemd")
        return f"{again} (cron gives a job no variables; a unit can have them)"
    if any(name not in os.environ for name in missing) or (case.system and os.geteuid() != 0):
        return f"{case.systemctl} edit {service} ([Service] Environment={missing[0]}=...)"
    return _drop_in(case, missing, service)


def _drop_in(case: Case, missing: Sequence[str], service: str) -> str:
    """Puts values of this shell into a drop-in; it shows none, for a proxy's can hold a password."""
    [unit] = [path for path in case.one.paths if path.name == service] if case.one else []
    place = shlex.quote(f"{unit}.d")
    pairs = " ".join(f'"{name}=${name}"' for name in missing)
    text = f"printf 'Environment=\"%s\"\\n' {pairs} | sed -e s/%/%%/g -e '1i [Service]'"
    return f"mkdir -p {place} && {text} >{place}/environment.conf && {case.systemctl} daemon-reload"


def _bundle_variables(job: Job) -> set[str]:
    """The variables by which runs from this shell trust the server's certificate."""
    names = {name for name in _BUNDLES if os.environ.get(name)}
    return names if job.base_url.startswith("https:") and job.ca_file is None else set()


def _proxy_variables(base_url: str) -> set[str]:
    """The variables by which runs from this shell go through a proxy."""
    parts = urlsplit(base_url)
    if parts.scheme not in getproxies() or proxy_bypass(parts.hostname or ""):
        return set()
    if no_proxy_to_loopback(base_url):  # a run goes there directly, whatever the shell says
        return set()
    names = {f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper()}
    return {name for name in names if os.environ.get(name)}
