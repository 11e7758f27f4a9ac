"""Letting systemd itself read rendered units, before anything is written."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..system import subprocesses
from . import systemctl
from .backend import RenderedFile, Scope

_OFFLINE_CHECKS = 250  # verify --recursive-errors=


def verify(
    changed: Sequence[RenderedFile], together: Sequence[RenderedFile], scope: Scope, version: int
) -> bool:
    """Let systemd read units.

    verify exits 0 for a bad OnCalendar unless --recursive-errors=no (250). Whether a schedule ever elapses is
    asked of its preview; without systemd-analyze our own checks must do.

    Args:
        changed: The files that change.
        together: All files that are read together.
        scope: The scope of the units.
        version: The version of systemd that they are rendered for.

    Returns:
        Whether systemd read them: containers and some distributions are without systemd-analyze.

    Raises:
        JobError: The first complaint (rejected), or there is no space for the files (cannot-write).
    """
    if not subprocesses.found("systemd-analyze"):
        return False
    lines = sorted(set(_calendars(changed)))
    if lines:
        done = subprocesses.run(["systemd-analyze", "calendar", "--", *lines])
        if not done.answered:
            return False
        if done.code != 0:
            raise JobError(
                Outcome.REJECTED,
                msg("systemd refuses the schedule: {complaint}", complaint=done.reason),
                msg("man systemd.time shows the form"),
            )
    with _scratch() as scratch:
        files = []
        for artifact in together:
            file = Path(scratch, artifact.path.name)
            file.write_text(artifact.text, encoding="utf-8")
            files.append(str(file))
        user = scope.manager_options
        environ = {"XDG_RUNTIME_DIR": scratch} if user else {}  # it must be set, be there a manager or not
        strict = ["--recursive-errors=no"] if (systemctl.version() or 0) >= _OFFLINE_CHECKS else []
        command = ["systemd-analyze", *user, "verify", "--man=no", *strict, *files]
        done = subprocesses.run(command, limit=300.0, environ=environ)
        complaints = [
            line for line in done.stderr.decode(errors="replace").splitlines() if "dify-job-" in line
        ]
        if complaints and (done.code != 0 or not strict):
            raise JobError(
                Outcome.REJECTED,
                msg("systemd refuses the units: {replace}", replace=complaints[0].replace(scratch + "/", "")),
                msg("they are rendered for systemd {version}; --dry-run prints them", version=version),
            )
    return done.answered


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    try:
        with tempfile.TemporaryDirectory(prefix="dify-job-") as directory:
            yield directory
    except OSError as error:
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg(
                "the units cannot be checked in {gettempdir}: {strerror}; nothing was changed",
                gettempdir=tempfile.gettempdir(),
                strerror=error.strerror,
            ),
            msg("df {gettempdir}", gettempdir=tempfile.gettempdir()),
        ) from None


def _calendars(artifacts: Iterable[RenderedFile]) -> Iterator[str]:
    for artifact in artifacts:
        for line in artifact.text.splitlines():
            if line.startswith("OnCalendar="):
                yield line.removeprefix("OnCalendar=")
