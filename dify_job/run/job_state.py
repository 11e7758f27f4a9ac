"""The state directory of a job: one place, whatever the variables of the shell that asks say."""

import hashlib
from pathlib import Path

from ..config.model import Job
from ..config.secrets import read_key
from ..messages.errors import JobError
from ..messages.message import Message, msg
from ..state.directories import directory_of, pinned_elsewhere


def state_directory(job: Job, config_path: Path | None) -> Path:
    """Return the state directory of a job.

    The job of the environment has one for each server and key, so that two shells with different keys do not
    hinder each other.

    Args:
        job: The job.
        config_path: The configuration that it comes from; None for the job of the environment.
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
    """Return a note where an installed job has its state elsewhere than this shell's variables say.

    Args:
        job: The job's name.
        directory: Where its state was looked for.
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
