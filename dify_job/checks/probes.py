"""The answers of servers about the apps of jobs, and the outcome that a run of such an app would have now."""

import time
from pathlib import Path

from ..config.model import Job, Secret
from ..config.permissions import check_ca_file
from ..config.secrets import read_headers
from ..dify.app_info import CALL_LIMIT, AppProbe, ForeignAnswer, NoAnswer, ProbeFailure, probe_app
from ..dify.models import ApiError
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..run.outcome import NOT_DIFY, NotSent, RunOutcome, decide

_BUDGET = 24.0  # seconds for all questions of one `doctor`, whatever the number of jobs


class AppProbes:
    """The probes of the apps of several jobs: each app is probed once, within a time limit.

    Args:
        budget: Seconds for all of them.
    """

    def __init__(self, budget: float = _BUDGET) -> None:
        self._until = time.monotonic() + budget
        self._seen: dict[tuple[str, str, Path | None], AppProbe] = {}
        self._gone: dict[str, AppProbe] = {}

    def of(self, job: Job, key: Secret) -> AppProbe | None:
        """Return the server's answer about a job's app; None if it cannot be asked or the time is used up.

        Args:
            job: The job.
            key: Its key.
        """
        asked = (job.base_url, key.reveal(), job.ca_file)
        if job.base_url in self._gone:
            return self._gone[job.base_url]
        if asked not in self._seen:
            left = (self._until - time.monotonic()) / 2
            if left < 1:
                return None
            limit = min(CALL_LIMIT, left)
            try:
                check_ca_file(job.ca_file)
                headers = {name: value.reveal() for name, value in read_headers(job).items()}
            except JobError:  # a check of its own reports it
                return None
            try:
                seen = probe_app(
                    job.base_url, key.reveal(), ca_file=job.ca_file, headers=headers, limit=limit
                )
            except JobError as error:
                seen = AppProbe(failure=NoAnswer(error.message))
            if isinstance(seen.failure, NoAnswer):
                self._gone[job.base_url] = seen
            self._seen[asked] = seen
        return self._seen[asked]


def expected_failure(probe: AppProbe) -> RunOutcome | None:
    """Return the outcome with which a run of this app would fail now; None if no reason is known.

    Args:
        probe: The server's answer about the app.
    """
    if probe.failure is not None:
        return failure_outcome(probe.failure)
    if probe.mode not in (None, "workflow"):
        text = msg(
            "the API key belongs to the app {name!r}, which is not a workflow: its mode is {mode}",
            name=probe.name,
            mode=probe.mode,
        )
        return RunOutcome(Outcome.CONFIG, text, msg("use the API key of a workflow app"))
    return None


def failure_outcome(failure: ProbeFailure | None) -> RunOutcome | None:
    """Return the outcome of a run that would fail as the probe did; None if the probe did not fail.

    Args:
        failure: Why the probe failed.
    """
    match failure:
        case NoAnswer(reason):
            return decide(NotSent(reason))
        case ForeignAnswer():
            return RunOutcome(Outcome.PROTOCOL, *NOT_DIFY)
        case ApiError(status=status) if status >= 500:
            said = f": {failure.message}" if failure.message else ""
            return RunOutcome(
                Outcome.UNREACHABLE,
                msg("the server answered HTTP {status}{said}", status=status, said=said),
                msg("the log of the server has the cause: docker compose logs api"),
            )
        case ApiError():
            return decide(failure)
    return None
