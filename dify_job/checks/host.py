"""All checks of one job or of all jobs on this host, as doctor runs them."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ..config.loader import load_config, pick_usable
from ..config.managed import scope_config
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.problem import Problem
from ..schedulers.backend import InstalledJob, Scope
from ..schedulers.detect import installed_jobs, visible
from ..schedulers.reconcile import Backend
from .context import HostContext, store_forms
from .registry import examine
from .server import Servers


def examine_jobs(
    job: str | None,
    *,
    config_path: Path | None,
    env_file: Path | None,
    backend: str = "auto",
    scope: str | None = None,
) -> list[tuple[str, Sequence[Problem]]]:
    """Return the findings of each job.

    Args:
        job: Its name; None for all.
        config_path: The configuration; the usual one where None.
        env_file: The .env file, or None.
        backend: The scheduler of a job that is not installed.
        scope: `user`, `system`, or None for both.

    Raises:
        JobError: (usage) There is no such job.
    """
    now, servers = datetime.now(UTC), Servers()
    if scope == Scope.SYSTEM and os.geteuid() != 0 and not os.environ.get("DIFY_JOB_CONFIG"):
        config_path = config_path or scope_config(system=True)  # the caller's own would be found first
    try:
        config = load_config(config_path, env_file, with_lines=True)
        jobs = pick_usable(config, [job])
    except JobError as error:
        if error.outcome is Outcome.USAGE:
            raise
        return [(job or "", [error.problem("config")])]
    installed: list[tuple[Backend, InstalledJob]] = []
    unasked: JobError | None = None
    for scheduler in visible(backend, scope):
        try:
            installed += installed_jobs((scheduler,), tuple(one.name for one in jobs))
        except JobError as error:
            unasked = error
    asked = Scope(scope) if scope else None
    contexts = [
        HostContext.of(
            one, config, installed, now, backend=backend, scope=asked, servers=servers, unasked=unasked
        )
        for one in jobs
    ]
    found: list[tuple[str, Sequence[Problem]]] = [
        (name, [error.problem("config")]) for name, error in config.broken.items() if job is None
    ]
    found += [(context.job.name, list(examine(context))) for context in contexts]
    store_forms(contexts)
    return found
