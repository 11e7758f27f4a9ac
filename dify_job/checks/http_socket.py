"""The HTTP interface, where a job has one: whether systemd listens, whom it lets in, and what it starts."""

import os
import shlex

from ..config.secrets import read_token
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..messages.problem import Command, Problem, command
from ..schedulers import access
from ..schedulers.backend import Scope
from ..schedulers.http_socket import SOCKET, HttpSocket, HttpSocketConfig, HttpSocketStatus
from ..system.managed_files import is_missing
from .context import HostContext
from .finding import fail, ok, warn


def check_http_socket(context: HostContext) -> Problem | None:
    """None where no interface serves the job."""
    state = HttpSocket(context.scheduler.scope).state() if not context.by_cron else None
    if state is None or context.job.name not in state.jobs:
        return None
    if state.config is None or state.edited or not state.current:
        return _check_units(state)
    return _check_answers(state, state.config) or _check_listens(context, state, state.config)


def _check_units(state: HttpSocketStatus) -> Problem:
    again = _again(state)
    if state.edited:
        there = [str(path) for path in state.edited]
        text = msg("edited by hand, so that install refuses to change them: {there}", there=" ".join(there))
        remove = command("rm", *there, needs_root=state.scope is Scope.SYSTEM)
        return warn("http", text, join(" && ", (remove, again)))
    if state.config is None:
        return fail("http", msg("one of its two units is missing"), again)
    return warn("http", msg("its units are of another version of dify-job, or for another systemd"), again)


def _check_answers(state: HttpSocketStatus, door: HttpSocketConfig) -> Problem | None:
    """None where a request gets an answer."""
    if not os.access(door.python, os.X_OK):
        text = msg("{python}, which answers, is gone or cannot be run", python=door.python)
        return fail("http", text, _again(state))
    if (fault := _fault_of_token(door)) is not None:
        return fail(
            "http", msg("nobody is let in: {message}", message=fault.message), _token(door) or fault.hint
        )
    return None


def _check_listens(context: HostContext, state: HttpSocketStatus, door: HttpSocketConfig) -> Problem:
    if state.listening is False:
        text = msg("nothing listens on {listen}: its socket unit is not active", listen=door.listen)
        return fail("http", text, context.systemctl("enable", "--now", SOCKET))
    if not state.enabled:
        text = msg("it listens until the next boot only: its socket is not enabled")
        return warn("http", text, context.systemctl("enable", SOCKET))
    if state.listening is None:
        return ok(
            "http", msg("systemd is to listen on {listen} for {who}", listen=door.listen, who=_who(door))
        )
    return ok("http", msg("systemd listens on {listen} for {who}", listen=door.listen, who=_who(door)))


def _fault_of_token(door: HttpSocketConfig) -> JobError | None:
    path = door.token_file
    if path is None or not (os.geteuid() == 0 or is_missing(path) or os.access(path, os.R_OK)):
        return None  # not for the caller to read, as it should be
    try:
        read_token(path)
    except JobError as error:
        return error
    return None


def _token(door: HttpSocketConfig) -> str | None:
    """A new token, where there is none."""
    path = door.token_file
    if path is None or not is_missing(path):
        return None
    there = shlex.quote(str(path))
    return msg("install -m 600 /dev/null {there} && openssl rand -hex 32 >{there}", there=there)


def _who(door: HttpSocketConfig) -> str:
    if door.token_file is not None:
        return msg("whoever has the token in {token_file}", token_file=door.token_file)
    return "root" if not door.uid else msg("root and {name_of}", name_of=access.name_of(door.uid))


def _again(state: HttpSocketStatus) -> Command:
    """The install that gives the same interface; by sudo the caller is let in, and so is who was before."""
    http_socket, needs_root = state.config, state.scope is Scope.SYSTEM
    if http_socket is None:
        return command("dify-job", "install", *state.jobs, "--http", needs_root=needs_root)
    words = ["dify-job", "--config", str(http_socket.config_path), "install", *http_socket.jobs, "--http"]
    words += ["--http-listen", http_socket.listen]
    if http_socket.token_file is not None:
        words += ["--http-token-file", str(http_socket.token_file)]
    if http_socket.uid and os.geteuid() == 0 and os.environ.get("SUDO_UID") != str(http_socket.uid):
        words = ["env", f"SUDO_UID={http_socket.uid}", *words]
    return command(*words, needs_root=needs_root)
