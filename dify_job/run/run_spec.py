"""The specification of one run of a job: context, parameters and limits."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.model import Job, Secret
from ..dify.event_queue import EventQueue
from ..state.store import JobState

if TYPE_CHECKING:
    from .files import InputFile
    from .observers import RunObserver


class RunLimits(NamedTuple):
    """Pauses and limits of a run, in seconds; tests shorten them."""

    # Between polls during a stream with only pings: servers up to 1.12 do not announce a pause.
    first_poll: float = 15.0
    longest_poll: float = 60.0
    recovery_polls: tuple[float, float] = (0.5, 30.0)  # the first and the longest, after the stream is lost
    stop_poll: float = 1.0  # for the end of the run after a stop
    answer: float = 10.0  # for the answer to one poll
    search: float = 30.0  # for the log to show a run without an id, before it is given up
    absent: float = 120.0  # for run detail to show an id that the server sent (`celery-store-run`)
    last_event: float = 2.0  # for the stream's own end after that of run detail; the stream decides
    stop_confirmation: float = 10.0  # a complete stop takes less than 20
    first_ids: float = 5.0  # for the ids of a run that is to be stopped
    earlier_run: float = 10.0  # for looking up the run of an earlier process
    turn_polls: tuple[float, float] = (0.5, 10.0)  # the first and the longest, while a run waits for its turn
    retry_pauses: tuple[float, float] = (1.0, 10.0)  # the shortest and the longest before another POST
    network_retry: float = 2.0  # between tries to connect
    existing_run: float = 3.0  # to find out whether a named run exists
    uniform: Callable[[float, float], float] = random.uniform  # returns a random pause between two limits


class CallOptions(NamedTuple):
    """The options of one call that its monitoring and its outcome depend on.

    Attributes:
        user: The end user.
        deadline: The deadline, monotonic.
        idle: Seconds without a byte before a stream is given up.
        streaming: The mode of the call.
        searchable: The end user is unique to this run, so a log row of that user is this run.
        partial: The policy for partial-succeeded: "failure" or "success".
        workflow_id: The pinned version, which a 400 or 404 can concern.
        limits: Pauses and limits.
    """

    user: str = ""
    deadline: float = float("inf")
    idle: float = float("inf")
    streaming: bool = False
    searchable: bool = True
    partial: str = "failure"
    workflow_id: str | None = None
    limits: RunLimits = RunLimits()


class RunContext(NamedTuple):
    """The context of a run, which the command sets; a Python program can use the defaults.

    Attributes:
        began: The start, monotonic; the deadline counts from it.
        events: The queue of calls and signals.
        config_path: The path of the configuration.
        run_id: The caller's id of this run.
        lost: An earlier process of this id ended without a result.
        wait_network: Seconds to wait for a network, unless the job sets it.
        jitter: Seconds to wait before the start; the deadline does not include them.
        skip_reason: Returns why the run is skipped, or None.
        observers: Observe the run, and its stored result before any notification.
        by_unit: A unit with a failure unit started the run; the failure unit notifies of some exit codes.
        limits: Pauses and limits.
    """

    began: float
    events: EventQueue
    config_path: Path | None = None
    run_id: str = ""
    lost: bool = False
    wait_network: float = 0.0
    jitter: float = 0.0
    skip_reason: Callable[[Job, JobState | None], str | None] = lambda _job, _state: None
    observers: tuple[RunObserver, ...] = ()
    by_unit: bool = False
    limits: RunLimits = RunLimits()


class RunSpec(NamedTuple):
    """The complete specification of one run: rendered inputs, key and files.

    Attributes:
        job: The job.
        key: The app's API key.
        inputs: The rendered inputs.
        context: The context of the run.
        headers: Extra request headers.
        files: The files by the name of their input.
        run: dify-job's id of this run; an id of the caller can belong to an earlier process.
    """

    job: Job
    key: Secret
    inputs: Mapping[str, Any]
    context: RunContext
    headers: Mapping[str, Secret] = MappingProxyType({})
    files: Mapping[str, tuple[InputFile, ...]] = MappingProxyType({})
    run: str = ""

    @property
    def plain_headers(self) -> dict[str, str]:
        """The extra request headers with their secret values, for sending."""
        return {name: value.reveal() for name, value in self.headers.items()}

    @property
    def user(self) -> str:
        """The end user: the configured one, or one that is unique to this run, so that it can be found."""
        return self.job.end_user or f"dify-job-{self.job.name}-{self.run}"

    @property
    def deadline(self) -> float:
        """The deadline, monotonic."""
        return self.context.began + self.job.timeout

    @property
    def network_until(self) -> float:
        """The time limit of the wait for a network, monotonic."""
        wait = self.job.wait_network
        return self.context.began + (self.context.wait_network if wait is None else wait)

    @property
    def call_options(self) -> CallOptions:
        """The options of the POST and its monitoring."""
        return CallOptions(
            user=self.user,
            deadline=self.deadline,
            idle=self.job.idle_timeout,
            streaming=self.job.mode == "streaming",
            searchable=self.job.end_user is None,
            partial=self.job.partial,
            workflow_id=self.job.workflow_id,
            limits=self.context.limits,
        )
