"""What a run needs once it has ended, imported before it is sent: an upgrade may replace files meanwhile."""

from importlib import import_module

from ..config.model import Job
from ..state import JobState


def import_ahead(job: Job, state: JobState | None) -> None:
    """Import what this job's run will need after its end; what the end does not hang on is left out."""
    needed = {
        "running.expecting": bool(job.expect),
        "process": any(one.regex is not None for one in job.expect.values()),
        "running.delivery": job.output.file is not None,
        "running.downloads": job.output.downloads is not None,
        "running.metrics": job.metrics.textfile is not None,
        "mailbox": state is not None and (state.directory / "wish.json").exists(),
    }
    for room in (room for room, is_needed in needed.items() if is_needed):
        import_module(f"dify_job.{room}")
