"""Check the job names of commands: which jobs exist, and which of them only root can change."""

import os
from collections.abc import Sequence

from ..config.loader import load_config
from ..config.model import Config
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedulers.detect import find_jobs, visible
from ..schedulers.model import Scope
from .options import Globals


def config_or_none(options: Globals) -> Config | None:
    """Return the configuration, or None if it is missing or broken, for commands that work without it.

    Args:
        options: The global options.
    """
    try:
        return load_config(options.config_path, options.env_file)
    except JobError:
        return None


def check_names(name: str, jobs: Sequence[str], *, all_jobs: bool) -> None:
    """Reject a command that changes jobs without naming jobs or --all.

    Args:
        name: The command.
        jobs: The jobs that it names.
        all_jobs: Whether --all was given.

    Raises:
        JobError: (usage) Neither or both.
    """
    if bool(jobs) == all_jobs:
        raise JobError(
            Outcome.USAGE,
            msg("{command} needs the names of jobs, or --all", command=name),
            msg(
                "add the names of the jobs: {again}; to list all jobs, run: {status}",
                status=command("dify-job", "status"),
                again=command("dify-job", name, "JOB"),
            ),
        )


def check_not_system_jobs(name: str, absent: Sequence[str], scope: str | None, backend: str) -> None:
    """Reject a user's command on a job that exists only as a system job.

    Args:
        name: The command.
        absent: The jobs that the user does not have.
        scope: The scope of the command line; with a scope, nothing is rejected.
        backend: `auto`, `systemd` or `cron`.

    Raises:
        JobError: (denied) One is installed by root.
    """
    if not absent or scope is not None or os.geteuid() == 0:
        return
    for _, one in find_jobs(visible(backend, Scope.SYSTEM), absent)[0]:
        raise JobError(
            Outcome.DENIED,
            msg(
                "{job} is a system job, which root installed with {backend}", job=one.job, backend=one.backend
            ),
            command("dify-job", name, one.job, needs_root=True),
        )
