"""What one run of a job is made of: how it came about, its parameters and its limits."""

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

    # Between polls during a stream that sends nothing but pings: to 1.12 a pause is not announced.
    first_poll: float = 15.0
    longest_poll: float = 60.0
    recovery_polls: tuple[float, float] = (0.5, 30.0)  # the first and the longest, once the stream is lost
    stop_poll: float = 1.0  # for the end that a stop should bring
    answer: float = 10.0  # for the answer to one poll
    search: float = 30.0  # how long a log may show no run before a run without an id is given up
    absent: float = 120.0  # how long run detail may deny an id that the server gave (`celery-store-run`)
    last_event: float = 2.0  # for the stream's own end once the record has ended: where they differ it wins
    stop_confirmation: float = 10.0  # with all that comes before it a stop takes less than 20
    first_ids: float = 5.0  # for a run to show itself when its end is wanted
    earlier_run: float = 10.0  # for looking up the run of an earlier process
    turn_polls: tuple[float, float] = (0.5, 10.0)  # the first and the longest, while a job waits for its turn
    retry_pauses: tuple[float, float] = (1.0, 10.0)  # the shortest and the longest before another POST
    network_retry: float = 2.0  # between tries to connect
    existing_run: float = 3.0  # for asking whether a named run exists, before it is given up
    uniform: Callable[[float, float], float] = random.uniform  # draws a pause between two limits


class CallOptions(NamedTuple):
    """What the job asks of one call, as far as following it and judging its end depend on it.

    Attributes:
        user: The end user.
        deadline: Monotonic.
        idle: Seconds without a byte after which a stream is given up.
        streaming: The mode of the call.
        searchable: The end user is this run's own, so a log row of that user is this run.
        partial: The policy for partial-succeeded: "failure" or "success".
        workflow_id: The pinned version, which can be what a 400 or 404 is about.
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
    """How a run came about: what the command knows, and a Python program need not say.

    Attributes:
        began: Monotonic start, from which the deadline counts.
        events: Where calls and signals report.
        config_path: The configuration that the job comes from.
        run_id: The caller's id of this run.
        lost: An earlier process of this id ended without a result.
        wait_network: Seconds to wait for a network, where the job does not say.
        jitter: Seconds to wait first; they are no part of the deadline.
        skip_reason: Returns why nothing is to be started now, or None.
        observers: See the run, and its result once it is stored, before anybody is notified.
        by_unit: A unit with a failure handler started it, which notifies of what `run` leaves to it.
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
    """One run of a job, complete: inputs are rendered, the key is read, files are looked at.

    Attributes:
        job: The job.
        key: The app's API key.
        inputs: Rendered.
        context: How the run came about.
        headers: Extra request headers.
        files: By the name of their input.
        run: Our own id of this run; one that the caller gave may be that of an earlier process.
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
        """The extra request headers with their values, for the one place that sends them."""
        return {name: value.reveal() for name, value in self.headers.items()}

    @property
    def user(self) -> str:
        """The end user: the configured one, or one for this run alone so that it can be found again."""
        return self.job.end_user or f"dify-job-{self.job.name}-{self.run}"

    @property
    def deadline(self) -> float:
        """Monotonic."""
        return self.context.began + self.job.timeout

    @property
    def network_until(self) -> float:
        """Until when the network is waited for; monotonic."""
        wait = self.job.wait_network
        return self.context.began + (self.context.wait_network if wait is None else wait)

    @property
    def call_options(self) -> CallOptions:
        """What the job asks of the POST and of what follows it."""
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
