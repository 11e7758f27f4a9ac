"""The file that `output` or --output asks for: checked before the call, written atomically after it."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import log
from ..config.model import Output
from ..exit_codes import Outcome
from ..messages.errors import JobError, disk_error_hint
from ..messages.message import msg
from ..system.json_text import RawJson, dumps, loads_whole
from .output_path import OutputPath
from .result import Result

if TYPE_CHECKING:
    from ..state.store import JobState
    from .event_queue import EventQueue
    from .run_spec import RunSpec

_LEFTOVER_AGE = 3600.0  # seconds after which no process still writes the file


def deliver(
    place: OutputPath, result: Result, request: "RunSpec", inbox: "EventQueue", state: "JobState | None"
) -> None:
    """Write the output file, and fetch the files that the workflow returned beside it, if the job wants them.

    The outcome is known, and nothing may change it: whatever fails here is a warning.

    Args:
        place: Where the file goes.
        result: Of a run that succeeded.
        request: The run.
        inbox: A cancel ends the fetching.
        state: Remembers which files the job made.
    """
    settings = request.job.output
    try:
        write(place, result, settings)
    except Exception as error:  # noqa: BLE001 - see above
        log.warning(msg("the output file could not be written"), path=str(place.path), reason=str(error))
    if settings.downloads is not None and result.run is not None:
        from .downloads import Downloader  # noqa: PLC0415 - for jobs that want the files

        try:
            Downloader(request, settings.downloads, inbox, state).beside(place, result.run)
        except Exception as error:  # noqa: BLE001 - see above
            log.warning(msg("the files could not be saved"), path=str(place.path.parent), reason=str(error))


def check_writable(place: OutputPath) -> None:
    """Find out before the call that the file cannot be written. Raises JobError (cannot-write)."""
    path = place.path
    try:
        _try_out(place)
    except OSError as error:
        raise JobError(
            Outcome.CANNOT_WRITE,
            msg("the output file {path} cannot be written: {strerror}", path=path, strerror=error.strerror),
            msg("mkdir -p {parent}", parent=path.parent)
            if isinstance(error, FileNotFoundError) and not path.parent.exists()
            else disk_error_hint(
                error,
                path.parent,
                msg("see who may write there, or choose another place: ls -ld {parent}", parent=path.parent),
            ),
        ) from None


def _try_out(place: OutputPath) -> None:
    if place.path.exists() and not place.path.is_file():
        # The file is put under its name when it is whole: root would replace /dev/stdout by it.
        raise OSError(0, msg("it is no regular file (for a pipe there is --print)"))
    with place.opened() as directory:
        directory.remove_leftovers({place.path.name}, older=_LEFTOVER_AGE)
        directory.try_out()


def write(place: OutputPath, result: Result, settings: Output) -> None:
    """The selected value as text or JSON, or the whole result. Raises OSError, LookupError."""
    found = loads_whole(log.as_json(result.as_json(), to_file=True))
    value: Any = found
    if settings.select is not None:
        value = value_at(found["response_data"]["data"], settings.select)
    text = as_text(value, quoted=settings.format == "json", indent=2)
    with place.opened() as directory, directory.replacing(place.path.name, settings.mode) as file:
        file.write(text.encode(errors="backslashreplace"))


def as_text(value: Any, *, quoted: bool = False, indent: int | None = None) -> str:
    """A text as it is, all else, or with `quoted` that too, as JSON and a line end."""
    if isinstance(value, str) and not quoted:
        return value
    return dumps(value, indent=indent) + "\n"


def value_at(data: Any, path: str) -> Any:
    """The value at a dotted path, `outputs.result` or `outputs.items.0.name`. Raises LookupError."""
    for step in path.split("."):
        if isinstance(data, RawJson):
            data = data.opened()
        if isinstance(data, Mapping) and step in data:
            data = data[step]
        elif isinstance(data, list) and re.fullmatch(r"[0-9]{1,9}", step) and int(step) < len(data):
            data = data[int(step)]
        else:
            raise LookupError(msg("the run has no {path} (nothing at {step!r})", path=path, step=step))
    return data
