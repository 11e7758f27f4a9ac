"""The names of an app's inputs, stored with the job's state for a day whenever its form was read anyway.

With them a misspelt input of the command line is found before a run that would ignore it is paid for.
"""

import contextlib
import difflib
import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

from ..config.model import Job, Secret
from ..dify.form import Parameters
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..state.reader import read_record
from ..state.store import JobState

_NAME = "form.json"
_FRESH = 86400.0  # seconds


def store_names(
    directory: Path, job: Job, key: Secret, parameters: Parameters | None, *, make: bool = False
) -> None:
    """Store the names of a form; what cannot be written is left out.

    Args:
        directory: The job's state directory.
        job: The job.
        key: Its key.
        parameters: The form; None where it could not be read.
        make: Make the state directory where it is missing.
    """
    if parameters is None or job.state == "none" or not (make or directory.is_dir()):
        return
    names = [field.variable for field in parameters.form]
    data = {"at": time.time(), "app": _app(job, key), "names": names}
    with contextlib.suppress(OSError), contextlib.closing(JobState(directory)) as state:
        state.write(_NAME, json.dumps(data) + "\n")


def stored_names(directory: Path, job: Job, key: Secret) -> list[str] | None:
    """Return the names of the form of the job's app; None where none are stored, or they are old.

    Args:
        directory: The job's state directory.
        job: The job.
        key: Its key.
    """
    data = read_record(directory / _NAME) or {}
    at, names = data.get("at"), data.get("names")
    fresh = isinstance(at, (int, float)) and 0 <= time.time() - at < _FRESH
    if not fresh or data.get("app") != _app(job, key):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def check_names(given: Iterable[str], parameters: Parameters) -> None:
    """Refuse inputs of the command line that the app does not have: Dify would ignore them.

    Args:
        given: The names of the inputs.
        parameters: The form of the app.

    Raises:
        JobError: The app has no such input (rejected).
    """
    known = [field.variable for field in parameters.form]
    lowered = {one.lower(): one for one in known}
    mistakes = []
    for name in (name for name in given if name not in known):
        close = difflib.get_close_matches(name.lower(), lowered, 1)
        text = msg("the app has no input {name}", name=name)
        if close:
            text = msg(
                "the app has no input {name}; did you mean {close}?", name=name, close=lowered[close[0]]
            )
        mistakes.append(text)
    if mistakes:
        raise JobError(
            Outcome.REJECTED,
            join("; ", mistakes),
            msg("the inputs of the app: {known}", known=", ".join(known) or "-"),
        )


def _app(job: Job, key: Secret) -> str:
    return hashlib.sha256(f"{job.base_url}\0{key.reveal()}".encode()).hexdigest()[:16]
