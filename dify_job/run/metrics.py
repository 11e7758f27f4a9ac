"""Figures of a job's last run for Prometheus: a file that node_exporter's textfile collector reads."""

from collections.abc import Iterator
from pathlib import Path

from ..state.history import RunRecord, Summary
from ..system.transaction import write_whole


def write(path: Path, job: str, run: RunRecord, told: Summary) -> None:
    """Replace the file whole, readable for everybody: the collector must never read half. Raises OSError."""
    write_whole(path, "".join(exposition(job, run, told)).encode(errors="replace"), 0o644)


def exposition(job: str, run: RunRecord, told: Summary) -> Iterator[str]:
    """The text format, one gauge after the other; told: of the history, this run included."""
    last_success = RunRecord(call_time=told.last_success or "", outcome="", exit_code=0, message="").began
    gauges: tuple[tuple[str, str, float | None], ...] = (
        ("last_run_timestamp_seconds", "When the last run began.", _seconds(run)),
        ("last_run_success", "1 where it exited with 0, else 0.", float(run.exit_code == 0)),
        ("last_run_exit_code", "Its exit status; absent where it was killed.", run.exit_code),
        ("last_run_duration_seconds", "How long it took.", run.duration),
        ("last_run_attempts", "How many requests to start it were sent.", run.attempts),
        ("last_run_tokens", "The tokens that Dify counted.", run.tokens),
        (
            "last_success_timestamp_seconds",
            "When the last run that succeeded began.",
            last_success.timestamp() if last_success is not None else None,
        ),
        ("failures_in_a_row", "Runs that failed since the last success.", told.failures_in_a_row),
    )
    for name, text, value in gauges:
        if value is not None:
            yield f"# HELP dify_job_{name} {text}\n# TYPE dify_job_{name} gauge\n"
            yield f'dify_job_{name}{{job="{_escaped(job)}"}} {value!r}\n'
    yield "# HELP dify_job_last_run_info How the last run ended.\n# TYPE dify_job_last_run_info gauge\n"
    labels = {"job": job, "outcome": run.outcome, "workflow_run_id": run.run_id or ""}
    told_apart = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    yield f"dify_job_last_run_info{{{told_apart}}} 1\n"


def _seconds(run: RunRecord) -> float | None:
    return run.began.timestamp() if run.began is not None else None


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
