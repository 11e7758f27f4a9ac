"""The specification of one run of a job: its context and its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.model import Job, Secret
from ..dify.event_queue import EventQueue
from ..state.store import JobState
from .call_options import CallOptions, RunLimits
from .observers import RunObserver

if TYPE_CHECKING:
    from .files import InputFile


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
