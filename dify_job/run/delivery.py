"""What is done with the outputs of a run that succeeded; whatever fails here is a warning."""

from .. import log
from ..messages.message import msg
from . import output
from .event_queue import EventQueue
from .output_path import OutputPath
from .result import Result
from .run_spec import RunSpec


def deliver(place: OutputPath, result: Result, request: RunSpec, inbox: EventQueue) -> None:
    """Write the output file, and fetch the files that the workflow returned beside it, if the job wants them.

    inbox: a cancel ends the fetching.
    """
    settings = request.job.output
    try:
        output.write(place, result, settings)
    except Exception as error:  # noqa: BLE001 - the outcome is known, and nothing may change it now
        log.warning(msg("the output file could not be written"), path=str(place.path), reason=str(error))
    if settings.downloads is not None and result.run is not None:
        from .downloads import Downloader  # noqa: PLC0415 - for jobs that want the files

        try:
            Downloader(request, settings.downloads, inbox).beside(place, result.run)
        except Exception as error:  # noqa: BLE001 - see above
            log.warning(msg("the files could not be saved"), path=str(place.path.parent), reason=str(error))
