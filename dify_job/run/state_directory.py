"""The state directory of a job; for an installed job, the shell's variables do not change it."""

import hashlib
from pathlib import Path

from ..config.model import Job
from ..config.secrets import read_key
from ..messages.errors import JobError
from ..messages.message import Message, msg
from ..state.directories import directory_of, pinned_elsewhere


def state_directory(job: Job, config_path: Path | None) -> Path:
    """Return the state directory of a job.

    The job of the environment variables has one directory for each server and key, so that shells with
    different keys do not block each other.

    Args:
        job: The job.
        config_path: The path of the configuration; None for the job of the environment variables.
    """
    name = job.name
    if config_path is None and name == "default":
        try:
            key = read_key(job).reveal()
        except JobError:
            key = ""
        if key:
            name += "-" + hashlib.sha256(f"{job.base_url}\0{key}".encode()).hexdigest()[:12]
    return directory_of(name, config_path)


def elsewhere_note(job: str, directory: Path) -> Message | None:
    """Return a note if an installed job has its state in another directory than this shell's variables imply.

    Args:
        job: The job's name.
        directory: The directory in use.
    """
    place = pinned_elsewhere(job)
    if place is None or place != directory:
        return None
    return msg(
        "job {job} was installed with the state directory {place}, so dify-job uses it and "
        "ignores HOME and XDG_STATE_HOME of this shell",
        job=job,
        place=place,
    )
