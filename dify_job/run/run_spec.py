"""What is asked of a run, complete, before it is anybody's turn."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..config.model import Job, Secret
from ..system.values import dataclass, field

if TYPE_CHECKING:
    from .files import InputFile


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One run of a job, complete: inputs are rendered, the key is read, files are looked at.

    began: monotonic start of the process, from which the deadline counts. run: our own id of this run; one
    that is given may be that of an earlier process, and lost says that such a one ended without a word.
    wait_network: seconds.
    """

    job: Job
    key: Secret
    inputs: Mapping[str, Any]
    files: Mapping[str, tuple["InputFile", ...]] = field(default_factory=dict)
    began: float
    wait_network: float = 0.0
    run: str = ""
    lost: bool = False

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
