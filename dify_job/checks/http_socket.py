"""Check the HTTP interface of a job: the socket, the access and the program that answers."""

import os
import shlex
from functools import partial

from ..config.secrets import read_token
from ..messages.command import Command, command
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..schedulers import access
from ..schedulers.http_socket import OWNER, SOCKET, HttpSocket, HttpSocketConfig, HttpSocketStatus
from ..schedulers.model import Scope
from ..schedulers.reconcile import edited_text
from ..system.paths import is_missing
from .context import HostContext
from .finding import Finding, fail, ok, warn


def check_http_socket(context: HostContext) -> Finding | None:
    """Check the HTTP interface; None if the job has none."""
    state = HttpSocket(context.scheduler.scope).state() if not context.by_cron else None
    return http_finding(state) if state is not None and context.job.name in state.jobs else None


def http_finding(state: HttpSocketStatus) -> Finding:
    """Return the finding about an installed HTTP interface.

    Args:
        state: The interface.
    """
    if state.config is None or state.edited or not state.current:
        return _check_units(state)
    return _check_answers(state, state.config) or _check_listens(state, state.config)


def _check_units(state: HttpSocketStatus) -> Finding:
    again = _install_command(state)
    if state.edited:
        remove = command("rm", *map(str, state.edited), needs_root=state.scope is Scope.SYSTEM)
        return warn(edited_text(OWNER, state.edited), join(" && ", (remove, again)))
    if state.config is None:
        return fail(msg("one of the two units of the HTTP interface is missing"), again)
    return warn(
        msg(
            "the units of the HTTP interface were written by another version of dify-job, or for "
            "another version of systemd"
        ),
        again,
    )


def _check_answers(state: HttpSocketStatus, http: HttpSocketConfig) -> Finding | None:
    """Check that a request gets an answer; None if it does."""
    # A user may not see root's interpreter.
    judges = os.geteuid() == 0 or state.scope is Scope.USER
    if is_missing(http.python) or (judges and not os.access(http.python, os.X_OK)):
        text = msg(
            "the HTTP interface cannot start: its Python interpreter {python} is missing or not executable",
            python=http.python,
        )
        return fail(text, _install_command(state))
    if (fault := _check_token(http)) is not None:
        return fail(
            msg("the HTTP interface rejects every request: {reason}", reason=fault.message),
            _token(http) or fault.hint,
        )
    return None


def _check_listens(state: HttpSocketStatus, http: HttpSocketConfig) -> Finding:
    systemctl = ("systemctl", *state.scope.manager_options)
    enable = partial(command, *systemctl, "enable", needs_root=state.scope is Scope.SYSTEM)
    if state.listening is False:
        text = msg(
            "the HTTP interface does not listen on {listen}, because its socket unit is not active",
            listen=http.listen,
        )
        return fail(text, enable("--now", SOCKET))
    if not state.enabled:
        text = msg(
            "the HTTP interface will not listen after the next boot, because its socket unit is not enabled"
        )
        return warn(text, enable(SOCKET))
    if state.listening is None:
        return ok(
            msg(
                "systemd is configured to listen on {listen}; requests are allowed from {who}",
                listen=http.listen,
                who=http_callers(http),
            )
        )
    return ok(
        msg(
            "systemd listens on {listen}; requests are allowed from {who}",
            listen=http.listen,
            who=http_callers(http),
        )
    )


def _check_token(http: HttpSocketConfig) -> JobError | None:
    path = http.token_file
    if path is None or not (os.geteuid() == 0 or is_missing(path) or os.access(path, os.R_OK)):
        return None  # there is no token, or only root can read it, which is correct
    try:
        read_token(path)
    except JobError as error:
        return error
    return None


def _token(http: HttpSocketConfig) -> str | None:
    """Return the fix for a missing token: a new one."""
    path = http.token_file
    if path is None or not is_missing(path):
        return None
    create = command("install", "-m", "600", "/dev/null", str(path))
    write = join(" >", (command("openssl", "rand", "-hex", "32"), shlex.quote(str(path))))
    return join(" && ", (create, write))


def http_callers(http: HttpSocketConfig) -> str:
    """Return who can call the HTTP interface.

    Args:
        http: The interface as it is installed.
    """
    if http.token_file is not None:
        return msg("everybody who has the token in {token_file}", token_file=http.token_file)
    if not http.uid:
        return msg("root on this machine")
    return msg("root and {user} on this machine", user=access.user_name(http.uid))


def _install_command(state: HttpSocketStatus) -> Command:
    """Return the install command for the same interface.

    sudo gives access to its caller; a command for root names the user with access in SUDO_UID=.
    """
    http, needs_root = state.config, state.scope is Scope.SYSTEM
    if http is None:
        return command("dify-job", "install", *state.jobs, "--http", needs_root=needs_root)
    words = ["dify-job", "--config", str(http.config_path), "install", *http.jobs, "--http"]
    words += ["--http-listen", http.listen]
    if http.token_file is not None:
        words += ["--http-token-file", str(http.token_file)]
    if http.uid and os.geteuid() == 0 and os.environ.get("SUDO_UID") != str(http.uid):
        words = ["env", f"SUDO_UID={http.uid}", *words]
    return command(*words, needs_root=needs_root)
