"""What the unit or the crontab line starts: the interpreter, whether it can be reached, and its bytecode."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from ..config.permissions import fault_of_directories
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import Problem, Severity, command
from ..schedulers import access, units
from ..schedulers.backend import Scope
from ..system import subprocesses
from ..system.managed_files import is_missing
from .context import HostContext
from .finding import fail, ok, warn

# what every run imports
_PACKAGES = ("dify_job", "requests", "urllib3", "click", "structlog", "certifi", "idna", "charset_normalizer")


def check_program(context: HostContext) -> Iterator[Problem]:
    """The interpreter, and, where it is good, whether the service gets to the code and finds it compiled."""
    yield (interpreter := _check_interpreter(context))
    if interpreter.severity is Severity.OK and context.python is not None:
        yield from _check_reach(context)
        yield _check_bytecode(context, context.python)


def missing_module(context: HostContext, module: str) -> bool:
    """True where the interpreter that the job has, or would get, has no such module."""
    python = context.python or Path(sys.executable)
    if python == Path(sys.executable):
        return find_spec(module) is None
    return os.access(python, os.X_OK) and _distrust(python) is None and _lacks(python, module)


@cache
def _lacks(python: Path, module: str) -> bool:
    return subprocesses.run([str(python), "-P", "-c", f"__import__({module!r})"], limit=10.0).code == 1


def _check_interpreter(context: HostContext) -> Problem:
    job, python = context.job.name, context.python
    again = msg("{command} (with this dify-job's own interpreter)", command=context.command("install", job))
    if python is None:
        return warn("interpreter", msg("no line of ours starts it"), again)
    if context.system and os.geteuid() != 0 and access.obstacle(python.parent, access.caller(), os.X_OK):
        return warn(
            "interpreter",
            msg("permission denied: {python}", python=python),
            command("dify-job", "doctor", job, needs_root=True),
        )
    if not os.access(python, os.X_OK):
        what = msg("is gone") if is_missing(python) else msg("cannot be run")
        return fail(
            "interpreter",
            msg("{python} {what}: systemd says 203/EXEC then, cron nothing", python=python, what=what),
            again,
        )
    if (why := _distrust(python)) is not None:
        return ok("interpreter", msg("{python}; not tried, for it {why}", python=python, why=why))
    done = _tried(python)
    if done.code != 0:
        text = msg(
            "{python} has no dify-job: {value}", python=python, value=done.complaint[-200:] or done.code
        )
        return fail("interpreter", text, again)
    other = "" if python == Path(sys.executable) else msg("; this is {executable}", executable=sys.executable)
    return ok(
        "interpreter", msg("{python}, {strip}{other}", python=python, strip=done.text.strip(), other=other)
    )


@cache
def _tried(python: Path) -> subprocesses.Completed:
    """Its dify-job asked for the version, once for all jobs."""
    return subprocesses.run([str(python), "-P", "-m", "dify_job", "--version"], limit=10.0)


def _distrust(python: Path) -> str | None:
    """Why the caller should not run it: a run_as user can put anything in the place of his interpreter."""
    beside = python.parent / "pyvenv.cfg"  # its directory, and then that of what a link there names
    return fault_of_directories(beside) or fault_of_directories(python)


def _check_reach(context: HostContext) -> Iterator[Problem]:
    """What install refuses: the service's user must get to code and config."""
    account = context.account
    if not context.system or account is None:
        return
    by_manager = context.systemd_version is not None and units.key_by_manager(
        Scope.SYSTEM, context.systemd_version
    )
    plan = replace(context.plan, reads=(), writes=())  # files and output have lines of their own
    if os.geteuid() != 0 and not os.access(context.config_path, os.R_OK):
        return
    try:
        access.check_plan(plan, account, key_by_manager=by_manager)
    except JobError as error:
        yield fail("reach", error.message, error.hint)
        return
    yield ok("reach", msg("{name} reaches the interpreter, dify-job and the config", name=account.name))


def _check_bytecode(context: HostContext, python: Path) -> Problem:
    """Without .pyc files, and with code that the service cannot write, every run compiles what it imports."""
    if python != Path(sys.executable):
        return ok("bytecode", msg("of another interpreter, not looked at"))
    missing = list(_uncompiled())
    if not context.system:  # the run leaves them itself, where it may
        missing = [source for source in missing if not os.access(source.parent, os.W_OK)]
    if missing:
        roots = sorted({str(_root_of(source)) for source in missing})
        text = msg(
            "{len} modules are not compiled: each run compiles them anew (1.8 times the CPU)",
            len=len(missing),
        )
        return warn("bytecode", text, command(str(python), "-m", "compileall", "-q", *roots))
    return ok("bytecode", "compiled")


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
            head = file.read(16)
        seen = source.stat()
    except OSError:
        return False
    if len(head) < 16:
        return False
    if int.from_bytes(head[4:8], "little"):
        return True
    mtime, size = int.from_bytes(head[8:12], "little"), int.from_bytes(head[12:16], "little")
    return (mtime, size) == (int(seen.st_mtime) & 0xFFFFFFFF, seen.st_size & 0xFFFFFFFF)
