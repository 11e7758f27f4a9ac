"""What a unit or crontab line of ours starts, read back from its text, and whether it is there."""

import shlex
from pathlib import Path

from ..messages.message import msg
from ..system.managed_files import is_missing

_RUN = " -P -m dify_job run "


def program_of(text: str) -> Path | None:
    """The interpreter in a service or in crontab lines; None where it is not to be found."""
    for line in text.splitlines():
        if line.startswith("ExecStart="):
            return Path(_first_word(line.removeprefix("ExecStart=")))
        if _RUN in line:
            return Path(line.partition(_RUN)[0].split()[-1])
    return None


def trouble_of(program: Path | None, job: str) -> tuple[str, ...]:
    """A sentence where the interpreter is gone: systemd would say 203/EXEC, and cron nothing."""
    if program is None or not is_missing(program):
        return ()
    return (
        msg(
            "{program} is gone, so that it cannot start: dify-job install {job}, from where dify-job is now",
            program=program,
            job=job,
        ),
    )


def _first_word(command: str) -> str:
    try:
        return shlex.split(command.replace("%%", "%"))[0]
    except (ValueError, IndexError):
        return command
