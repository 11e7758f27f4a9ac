"""What others are told of a run, in words. Pure."""

import socket

from ..exit_codes import TABLE, Outcome, RetrySafety
from ..messages.message import msg
from ..messages.problem import command
from ..state.history import RunRecord
from ..system.values import dataclass

# Under systemd these come before a configuration or after a fault of ours: the unit's handler tells them.
_HANDLERS_OWN = frozenset({Outcome.USAGE, Outcome.BUG, Outcome.CONFIG})
_TOLD_BY_RUN = frozenset(row.code for row in TABLE if row.outcome not in _HANDLERS_OWN)


def is_told_by_run(exit_code: int) -> bool:
    """Who tells is decided by the exit status alone: a unit's `run` where true, else its handler."""
    return exit_code in _TOLD_BY_RUN


@dataclass(frozen=True, kw_only=True)
class Notification:
    """One ended run as others are told of it. failures_before: in a row, just before this run."""

    job: str
    run: RunRecord
    failures_before: int = 0
    console: str | None = None

    @property
    def recovered(self) -> bool:
        """True for the first success after failures."""
        return self.run.succeeded and self.failures_before > 0

    @property
    def ping(self) -> str:
        """The last part of the ping's path: the exit status, or fail where the process had none."""
        return "fail" if self.run.exit_code is None else str(self.run.exit_code)

    @property
    def title(self) -> str:
        """One line; a recovery has its own."""
        run = self.run
        if run.succeeded:
            how = "succeeded"
        else:
            how = (
                run.outcome
                if run.outcome in (Outcome.FAILED, "killed")
                else msg("failed: {outcome}", outcome=run.outcome)
            )
        return msg(
            "dify-job: {job} {how} on {gethostname}", job=self.job, how=how, gethostname=socket.gethostname()
        )

    @property
    def title_of_recovery(self) -> str:
        """The same for those who want to know of recoveries."""
        times = "a failure" if self.failures_before == 1 else f"{self.failures_before} failures"
        return msg(
            "dify-job: {job} succeeded after {times} on {gethostname}",
            job=self.job,
            times=times,
            gethostname=socket.gethostname(),
        )

    @property
    def body(self) -> str:
        """A few lines for a person."""
        run = self.run
        retry = next((row.again for row in TABLE if row.code == run.exit_code), None)
        count = "" if not run.attempts else f", {run.attempts} attempt{'s' * (run.attempts != 1)}"
        took = (
            ""
            if run.duration is None
            else msg(", took {duration:.1f} s{count}", duration=run.duration, count=count)
        )
        lines = (
            ("", run.message),
            ("", run.hint),
            (
                "outcome",
                run.outcome
                if run.exit_code is None
                else msg("{outcome}, exit status {exit_code}", outcome=run.outcome, exit_code=run.exit_code),
            ),
            (msg("a retry is"), retry if retry in (RetrySafety.SAFE, RetrySafety.NOT_SAFE) else None),
            ("began", f"{run.call_time}{took}"),
            ("tokens", None if run.tokens is None else str(run.tokens)),
            ("run", run.run_id),
            ("console", self.console),
            ("more", command("dify-job", "logs", self.job)),
        )
        return "\n".join(f"{name}: {text}" if name else text for name, text in lines if text)
