"""The options of one call of a workflow, and the pauses and limits with which a run is followed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple


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
    # For the ids of a run that is to be stopped, and for run detail to confirm a failure without a creator.
    first_ids: float = 5.0
    earlier_run: float = 10.0  # for looking up the run of an earlier process
    turn_polls: tuple[float, float] = (0.5, 10.0)  # the first and the longest, while a run waits for its turn
    retry_pauses: tuple[float, float] = (1.0, 10.0)  # the shortest and the longest before another POST
    prompt_rejection: float = 10.0  # a later page may come from a proxy that forwarded the request
    network_retry: float = 2.0  # between tries to connect
    existing_run: float = 3.0  # to find out whether a named run exists
    deliveries: float = 10.0  # for all notifications after the run
    receiver: float = 5.0  # without a byte of the receiver of a ping
    delivery_retry: float = 1.0  # before the second try of a ping
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
