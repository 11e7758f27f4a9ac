"""What one run of a job is made of, complete before it is its turn, and the limits that it keeps."""

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..config.model import Job, Secret
from ..system.values import dataclass, field
from .outcome import CallTerms

if TYPE_CHECKING:
    from .files import InputFile


@dataclass(frozen=True, kw_only=True)
class RunLimits:
    """Pauses and limits of a run, in seconds; tests shorten them."""

    # Between polls beside a stream that sends nothing but pings: to 1.12 a pause is not announced.
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
    existing_run_polls: int = 3  # tries to ask whether a named run exists
    existing_run_pause: float = 1.0  # between those
    uniform: Callable[[float, float], float] = random.uniform  # draws a pause between two limits


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """What the job asks of one call.

    user: the end user. deadline: monotonic. idle: seconds without a byte after which a stream is given up.
    searchable: the end user is this run's own, so a log row of that user is this run.
    """

    user: str
    deadline: float
    idle: float
    streaming: bool = True
    searchable: bool = True
    terms: CallTerms = field(default_factory=CallTerms)
    limits: RunLimits = field(default_factory=RunLimits)


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One run of a job, complete: inputs are rendered, the key is read, files are looked at.

    began: monotonic start of the process, from which the deadline counts. run: our own id of this run; one
    that is given may be that of an earlier process, and lost says that such a one ended without a word.
    wait_network: seconds.
    """

    job: Job
    key: Secret
    headers: Mapping[str, Secret] = field(default_factory=dict)
    inputs: Mapping[str, Any]
    files: Mapping[str, tuple["InputFile", ...]] = field(default_factory=dict)
    began: float
    wait_network: float = 0.0
    run: str = ""
    lost: bool = False
    limits: RunLimits = field(default_factory=RunLimits)

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
        return self.began + self.job.timeout

    @property
    def network_until(self) -> float:
        """Until when the network is waited for; monotonic."""
        return self.began + self.wait_network

    @property
    def call_options(self) -> CallOptions:
        """What the job asks of the POST and of what follows it."""
        streaming = self.job.mode == "streaming"
        return CallOptions(
            user=self.user,
            deadline=self.deadline,
            idle=self.job.idle_timeout,
            streaming=streaming,
            searchable=self.job.end_user is None,
            terms=CallTerms(partial=self.job.partial, workflow_id=self.job.workflow_id, streaming=streaming),
            limits=self.limits,
        )
