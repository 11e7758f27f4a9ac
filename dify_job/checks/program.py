"""The program that the unit or the crontab entry starts: its interpreter, bytecode and environment."""

import os
import shlex
import struct
import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..config.model import Job
from ..dify.transport import bypasses_proxy, ca_file_of_openssl
from ..messages.command import command
from ..messages.message import join, msg
from ..schedulers.job_spec import unit_names
from ..system import subprocesses
from ..system.paths import is_missing
from ..system.user import data_home
from .context import HostContext
from .finding import Finding, fail, location_of, ok, warn
from .user_access import is_hidden_from_caller, untrusted_reason

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # requests uses the first one that is set
_IMPORT_VARIABLES = {"PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "LD_LIBRARY_PATH", "LD_PRELOAD"}
# what every run imports
_PACKAGES = ("dify_job", "requests", "urllib3", "click", "structlog", "certifi", "idna", "charset_normalizer")


def missing_module(context: HostContext, module: str) -> bool:
    """Return whether the job's interpreter, or without one this interpreter, lacks a module.

    Args:
        context: The job and the host.
        module: The name of the module.
    """
    python = context.python or Path(sys.executable)
    if python == Path(sys.executable):
        return find_spec(module) is None
    return os.access(python, os.X_OK) and untrusted_reason(python) is None and _cannot_import(python, module)


@cache
def _cannot_import(python: Path, module: str) -> bool:
    done = subprocesses.run([str(python), "-P", "-c", f"__import__({module!r})"], limit=10.0, bare=True)
    return done.code == 1


def check_program(context: HostContext) -> Finding | None:
    """Check that the interpreter exists; None if it does or the caller cannot see it."""
    python = context.python
    if python is None:
        return warn(msg("no installed unit or crontab entry starts the job"), _install_again(context))
    if is_hidden_from_caller(context, python) or os.access(python, os.X_OK):
        return None
    if is_missing(python):
        text = msg(
            "the job cannot start, because its Python interpreter {python} no longer "
            "exists (status 203/EXEC in systemd, no message from cron)",
            python=python,
        )
    else:
        text = msg(
            "the job cannot start, because its Python interpreter {python} is not "
            "executable (status 203/EXEC in systemd, no message from cron)",
            python=python,
        )
    return fail(text, _install_again(context))


def check_interpreter(context: HostContext) -> Finding | None:
    """Check that the interpreter has dify-job, without the variables and the directory of this shell.

    Of a job that is about to be installed, the interpreter is this one, and is started only if they matter.
    """
    python = context.python
    if python is None or (context.prepared is not None and not _import_depends_on_shell()):
        return None
    if is_hidden_from_caller(context, python):
        again = command("dify-job", "doctor", context.job.name, needs_root=True)
        return warn(
            msg("you have no permission to look at the job's interpreter {python}", python=python), again
        )
    if (why := untrusted_reason(python)) is not None:
        return ok(
            msg(
                "the Python interpreter {python} was not checked, because running it is not safe: {reason}",
                python=python,
                reason=why,
            )
        )
    done = _run_version(python)
    if not done.answered:
        why = msg(
            "the Python interpreter {python} could not be checked, because it failed to run: {reason}",
            python=python,
            reason=done.complaint,
        )
        return warn(why, command("dify-job", "doctor", context.job.name))
    if done.code != 0:
        error = done.complaint[-200:] or done.code
        if python == Path(sys.executable):
            return _check_shell_of_import(context, error)
        return fail(
            msg(
                "the Python environment of {python} does not contain dify-job: {reason}",
                python=python,
                reason=error,
            ),
            _install_again(context),
        )
    if python == Path(sys.executable):
        return ok(msg("the job runs with {python}, {version}", python=python, version=done.text.strip()))
    return ok(
        msg(
            "the job runs with {python}, {version}; this command runs with {own_python}",
            python=python,
            version=done.text.strip(),
            own_python=sys.executable,
        )
    )


def _import_depends_on_shell() -> bool:
    """Return whether this process may have found dify-job only with variables or the working directory."""
    return bool(_IMPORT_VARIABLES & os.environ.keys()) or sys.path[:1] == [str(Path(__file__).parents[2])]


def _check_shell_of_import(context: HostContext, error: object) -> Finding | None:
    """Return the finding of an interpreter that finds dify-job only in this shell.

    None if the service manager, too, sets such a variable.
    """
    service = unit_names(context.job.name)[0]
    names = set[str]() if context.by_cron else context.scheduler.manager.variables(service)
    if names is None or names & _IMPORT_VARIABLES:
        return None
    place = Path("/opt") if context.system else data_home()
    return fail(
        msg(
            "the job cannot start, because {python} does not find dify-job without the variables and the "
            "working directory of this shell: {reason}",
            python=sys.executable,
            reason=error,
        ),
        msg(
            "install dify-job in a virtual environment, and install the job with its dify-job: {command}",
            command=command("python3", "-m", "venv", str(place / "dify-job"), needs_root=context.system),
        ),
    )


def _install_again(context: HostContext) -> str:
    again = context.command("install", context.job.name)
    return msg(
        "to install the job with the Python interpreter of this dify-job, run: {command}", command=again
    )


@cache
def _run_version(python: Path) -> subprocesses.Completed:
    """Run the interpreter's `dify_job --version`, once for all jobs."""
    return subprocesses.run([str(python), "-P", "-m", "dify_job", "--version"], limit=10.0, bare=True)


def check_bytecode(context: HostContext) -> Finding | None:
    """Check that the code is compiled; a service cannot write .pyc files, so each run would compile it."""
    python = context.python
    if python is None or is_hidden_from_caller(context, python) or untrusted_reason(python) is not None:
        return None
    if python != Path(sys.executable):
        return ok(msg("the bytecode was not checked, because the job runs with another Python interpreter"))
    missing = _uncompiled()
    if not context.system:  # a user's run writes .pyc files itself
        missing = tuple(pair for pair in missing if not os.access(pair[1].parent, os.W_OK))
    if not missing:
        return ok(msg("all modules are compiled to bytecode"))
    roots = sorted({package for package, _ in missing})
    text = msg(
        "{count} Python modules are not compiled to bytecode, so each run needs 1.8 times the CPU time",
        count=len(missing),
    )
    return warn(text, command(str(python), "-m", "compileall", "-q", *roots))


@cache
def _uncompiled() -> tuple[tuple[str, Path], ...]:
    """Return the modules that are not compiled, each with the directory of its package."""
    specs = [spec for package in _PACKAGES if (spec := find_spec(package)) is not None]
    places = [place for spec in specs for place in spec.submodule_search_locations or ()]
    sources = [(place, source) for place in places for source in Path(place).rglob("*.py")]
    return tuple(pair for pair in sources if not _is_compiled(pair[1]))


def _is_compiled(source: Path) -> bool:
    """True where the .pyc is of this source (PEP 552: flags, then mtime and size, or a hash)."""
    try:
        with Path(cache_from_source(str(source))).open("rb") as file:
            flags, mtime, size = struct.unpack("<4xLLL", file.read(16))
        seen = source.stat()
    except (OSError, struct.error):
        return False
    return flags != 0 or (mtime, size) == (int(seen.st_mtime) & 0xFFFFFFFF, seen.st_size & 0xFFFFFFFF)


def check_environment(context: HostContext) -> Finding | None:
    """Check the variables that the job needs; None if it needs none."""
    needed = {*context.job.env, *_proxy_variables(context.job.base_url), *_bundle_variable(context.job)}
    if not needed:
        return None
    service = unit_names(context.job.name)[0]
    names = set[str]() if context.by_cron else context.scheduler.manager.variables(service)
    missing = sorted(needed - names) if names is not None else []
    if not missing:
        return ok(
            msg(
                "the service sets the environment variables that the job needs: {names}",
                names=join(", ", sorted(needed)),
            )
        )
    text = msg(
        "scheduled runs do not get the environment variable {names}, even if your shell sets it",
        names=join(", ", missing),
    )
    return warn(text, _fix(context, missing, service))


def _fix(context: HostContext, missing: Sequence[str], service: str) -> str:
    for name in missing:
        if name in (*_BUNDLES, "SSL_CERT_FILE"):
            return msg(
                'set ca_file = "{path}" in {place}',
                path=os.environ[name],
                place=location_of(context.job, "ca_file"),
            )
    if context.by_cron:
        again = context.command("install", context.job.name, "--backend", "systemd")
        return msg(
            "install the job as a systemd unit, because cron passes no variables to a job: {command}",
            command=again,
        )
    if (context.system and os.geteuid() != 0) or any("\n" in os.environ.get(name, "\n") for name in missing):
        return msg(
            "add Environment={name}=... to the section [Service] of the unit: {command}",
            command=context.systemctl("edit", service),
            name=missing[0],
        )
    return _drop_in(context, missing, service)


def _drop_in(context: HostContext, missing: Sequence[str], service: str) -> str:
    """Return the command that copies values of this shell to a drop-in without showing them (passwords)."""
    [unit] = (
        [path for path in context.installed_job.paths if path.name == service]
        if context.installed_job
        else []
    )
    directory = f"{unit}.d"
    place = shlex.quote(directory)
    pairs = " ".join(f'"{name}=${name}"' for name in missing)
    quote = """-e 's/["\\\\]/\\\\&/g' -e s/%/%%/g -e 's/.*/Environment="&"/'"""
    write = f"printf '%s\\n' {pairs} | sed {quote} -e '1i [Service]' >{place}/environment.conf"
    return join(" && ", (command("mkdir", "-p", directory), write, context.systemctl("daemon-reload")))


def _bundle_variable(job: Job) -> list[str]:
    """Return the variable whose CA bundle a run from this shell uses, or nothing."""
    if not job.base_url.startswith("https:") or job.ca_file is not None:
        return []
    names = [name for name in _BUNDLES if os.environ.get(name)]
    return names[:1] or (["SSL_CERT_FILE"] if ca_file_of_openssl() else [])


def _proxy_variables(base_url: str) -> set[str]:
    """Return the variables that set the proxy of a run from this shell, or nothing."""
    parts = urlsplit(base_url)
    used = next((scheme for scheme in (parts.scheme, "all") if getproxies().get(scheme)), None)
    if used is None or proxy_bypass(parts.hostname or ""):
        return set()
    if bypasses_proxy(base_url):  # a run goes there directly, whatever the shell says
        return set()
    names = {f"{used}_proxy", f"{used}_proxy".upper()}
    return {name for name in names if os.environ.get(name)}
