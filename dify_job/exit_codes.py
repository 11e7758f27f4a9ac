"""The table of exit codes. Help, manual, units and manifests are generated from it."""

import signal
from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """How a run ended, in one word."""

    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    USAGE = "usage"
    REJECTED = "rejected"
    NO_INPUT = "no-input"
    UNREACHABLE = "unreachable"
    BUG = "bug"
    CANNOT_WRITE = "cannot-write"
    UNKNOWN = "unknown"
    BUSY = "busy"
    PROTOCOL = "protocol"
    DENIED = "denied"
    CONFIG = "config"
    FAILED = "failed"
    PARTIAL = "partial"
    STOPPED = "stopped"
    PAUSED = "paused"
    UNEXPECTED = "unexpected"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class RetrySafety(StrEnum):
    """The safety of a retry after an exit code."""

    NOT_NEEDED = "-"
    SAFE = "safe"
    USELESS = "no"
    NOT_SAFE = "not safe"
    POLICY = "policy"


class ExitCode(NamedTuple):
    """One line of the table."""

    code: int
    outcome: Outcome
    when: str
    retry: RetrySafety


TABLE: tuple[ExitCode, ...] = (
    ExitCode(0, Outcome.SUCCEEDED, "Dify reports that the workflow succeeded", RetrySafety.NOT_NEEDED),
    ExitCode(
        0,
        Outcome.SKIPPED,
        'no run was started: another one was in progress (overlap = "skip"), or the run was not due '
        "(--if-due) or too late (max_late)",
        RetrySafety.NOT_NEEDED,
    ),
    ExitCode(64, Outcome.USAGE, "wrong flags or arguments", RetrySafety.USELESS),
    ExitCode(
        65,
        Outcome.REJECTED,
        "Dify refused the inputs, or the scheduler cannot run the job as it is configured",
        RetrySafety.USELESS,
    ),
    ExitCode(66, Outcome.NO_INPUT, "an input file is missing or unreadable", RetrySafety.USELESS),
    ExitCode(
        69, Outcome.UNREACHABLE, "no run was started: connection refused, DNS, TLS, or 503", RetrySafety.SAFE
    ),
    ExitCode(
        70, Outcome.BUG, "an internal error of dify-job; the log has the traceback", RetrySafety.USELESS
    ),
    ExitCode(
        73,
        Outcome.CANNOT_WRITE,
        "no run was started: dify-job cannot write the output file or the state directory",
        RetrySafety.USELESS,
    ),
    ExitCode(
        74,
        Outcome.UNKNOWN,
        "submitted, but the outcome could not be determined; the run may have completed "
        "or may still be in progress",
        RetrySafety.NOT_SAFE,
    ),
    ExitCode(
        75,
        Outcome.BUSY,
        "the server has too many runs, or another run of this job is in progress",
        RetrySafety.SAFE,
    ),
    ExitCode(
        76,
        Outcome.PROTOCOL,
        "the answer does not come from Dify, or has a status that this version does not know",
        RetrySafety.USELESS,
    ),
    ExitCode(
        77,
        Outcome.DENIED,
        "access denied: Dify refuses the API key or the call, the plan's quota is used up, "
        "or a firewall blocks the call",
        RetrySafety.USELESS,
    ),
    ExitCode(
        78,
        Outcome.CONFIG,
        "invalid configuration, key file or app settings; dify-job doctor shows the fix",
        RetrySafety.USELESS,
    ),
    ExitCode(80, Outcome.FAILED, "the workflow ran and failed", RetrySafety.POLICY),
    ExitCode(
        81,
        Outcome.PARTIAL,
        'Dify reports partial-succeeded, and the job has partial = "failure"',
        RetrySafety.POLICY,
    ),
    ExitCode(
        82,
        Outcome.STOPPED,
        "stopped on the server by somebody else, or by the server's own time limit",
        RetrySafety.POLICY,
    ),
    ExitCode(
        83, Outcome.PAUSED, "the workflow waits for a person to fill in a form in Dify", RetrySafety.USELESS
    ),
    ExitCode(
        84,
        Outcome.UNEXPECTED,
        'the workflow succeeded, but its outputs do not match the setting "expect"',
        RetrySafety.POLICY,
    ),
    ExitCode(
        124, Outcome.TIMEOUT, "the deadline passed; dify-job asked Dify to stop the run", RetrySafety.POLICY
    ),
    ExitCode(
        129, Outcome.CANCELLED, "dify-job received SIGHUP and asked Dify to stop the run", RetrySafety.POLICY
    ),
    ExitCode(
        130, Outcome.CANCELLED, "dify-job received SIGINT and asked Dify to stop the run", RetrySafety.POLICY
    ),
    ExitCode(
        131, Outcome.CANCELLED, "dify-job received SIGQUIT and asked Dify to stop the run", RetrySafety.POLICY
    ),
    ExitCode(
        143, Outcome.CANCELLED, "dify-job received SIGTERM and asked Dify to stop the run", RetrySafety.POLICY
    ),
)

_CODES = {row.outcome: row.code for row in TABLE if row.outcome is not Outcome.CANCELLED}


def code_of(outcome: Outcome, signum: int = signal.SIGTERM) -> int:
    """Return the exit code of an outcome; `signum` is used only for `cancelled` (128 + signal)."""
    if outcome is Outcome.CANCELLED:
        return 128 + signum
    return _CODES[outcome]
