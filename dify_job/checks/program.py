"""The program that the unit or the crontab entry starts: its interpreter and its bytecode."""

import os
import struct
import sys
from functools import cache
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from ..messages.message import msg
from ..messages.problem import Problem, command
from ..system import subprocesses
from ..system.managed_files import is_missing
from .context import HostContext
from .finding import fail, ok, warn
from .user_access import distrust, is_out_of_sight

# what every run imports
_PACKAGES = ("dify_job", "requests", "urllib3", "click", "structlog", "certifi", "idna", "charset_normalizer")


def missing_module(context: HostContext, module: str) -> bool:
    """Return whether the interpreter that the job has, or would get, lacks a module.

    Args:
        context: The job and the host.
        module: The name of the module.
    """
    python = context.python or Path(sys.executable)
    if python == Path(sys.executable):
        return find_spec(module) is None
    return os.access(python, os.X_OK) and distrust(python) is None and _lacks(python, module)


@cache
def _lacks(python: Path, module: str) -> bool:
    return subprocesses.run([str(python), "-P", "-c", f"__import__({module!r})"], limit=10.0).code == 1


def check_program(context: HostContext) -> Problem | None:
    """Check that the interpreter is there; None where it is, or the caller cannot see it."""
    python = context.python
    if python is None:
        return warn(msg("no installed unit or crontab entry starts it"), _install_again(context))
    if is_out_of_sight(context, python) or os.access(python, os.X_OK):
        return None
    if is_missing(python):
        text = msg(
            "it cannot start, because {python} no longer exists; systemd reports 203/EXEC, cron nothing",
            python=python,
        )
    else:
        text = msg("{python} cannot be run: systemd says 203/EXEC, cron nothing", python=python)
    return fail(text, _install_again(context))


def check_interpreter(context: HostContext) -> Problem | None:
    """Check that the interpreter has dify-job."""
    python = context.python
    if python is None:
        return None
    if is_out_of_sight(context, python):
        again = command("dify-job", "doctor", context.job.name, needs_root=True)
        return warn(msg("permission denied: {python}", python=python), again)
    if (why := distrust(python)) is not None:
        return ok(msg("{python}; not tried, for it {why}", python=python, why=why))
    done = _tried(python)
    if not done.answered:
        why = msg("{python} was not tried: {reason}", python=python, reason=done.complaint)
        return warn(why, command("dify-job", "doctor", context.job.name))
    if done.code != 0:
        error = done.complaint[-200:] or done.code
        return fail(
            msg("{python} has no dify-job: {value}", python=python, value=error), _install_again(context)
        )
    if python == Path(sys.executable):
        return ok(msg("{python}, {version}", python=python, version=done.text.strip()))
    return ok(
        msg(
            "{python}, {version}; this is {executable}",
            python=python,
            version=done.text.strip(),
            executable=sys.executable,
        )
    )


def _install_again(context: HostContext) -> str:
    again = context.command("install", context.job.name)
    return msg("{command} (with this dify-job's own interpreter)", command=again)


@cache
def _tried(python: Path) -> subprocesses.Completed:
    """Ask its dify-job for the version, once for all jobs."""
    return subprocesses.run([str(python), "-P", "-m", "dify_job", "--version"], limit=10.0)


def check_bytecode(context: HostContext) -> Problem | None:
    """Check that the code is compiled, where the service cannot write and every run would compile it."""
    python = context.python
    if python is None or is_out_of_sight(context, python) or distrust(python) is not None:
        return None
    if python != Path(sys.executable):
        return ok(msg("of another interpreter, not checked"))
    missing = list(_uncompiled())
    if not context.system:  # the run leaves them itself, where it may
        missing = [source for source in missing if not os.access(source.parent, os.W_OK)]
    if not missing:
        return ok(msg("compiled"))
    roots = sorted({str(_root_of(source)) for source in missing})
    text = msg("{len} modules are not compiled: each run compiles them (1.8 times the CPU)", len=len(missing))
    return warn(text, command(str(python), "-m", "compileall", "-q", *roots))


@cache
def _uncompiled() -> tuple[Path, ...]:
    specs = [spec for package in _PACKAGES if (spec := find_spec(package)) is not None]
    places = [place for spec in specs for place in spec.submodule_search_locations or ()]
    sources = [source for place in places for source in Path(place).rglob("*.py")]
    return tuple(source for source in sources if not _is_compiled(source))


def _root_of(source: Path) -> Path:
    while not is_missing(source.parent / "__init__.py"):
        source = source.parent
    return source


def _is_compiled(source: Path) -> bool:
    """True where the .pyc is of this source (PEP 552: flags, then mtime and size, or a hash)."""
    try:
        with Path(cache_from_source(str(source))).open("rb") as file:
            flags, mtime, size = struct.unpack("<4xLLL", file.read(16))
        seen = source.stat()
    except (OSError, struct.error):
        return False
    return flags != 0 or (mtime, size) == (int(seen.st_mtime) & 0xFFFFFFFF, seen.st_size & 0xFFFFFFFF)
