"""What is done with the outputs of a run that succeeded; whatever fails here is a warning."""

from pathlib import Path

from .. import log
from . import output
from .inbox import Inbox
from .result import Result
from .runner import Request


def deliver(target: Path, result: Result, request: Request, inbox: Inbox) -> None:
    """Write the output file, and fetch the files that the workflow returned beside it, if the job wants them.

    inbox: a cancel ends the fetching.
    """
    settings = request.job.output
    try:
        output.write(target, result, settings)
    except Exception as error:  # noqa: BLE001 - the outcome is known, and nothing may change it now
        log.warning("the output file could not be written", path=str(target), reason=str(error))
    if settings.downloads is not None and result.run is not None:
        from .downloads import Downloading  # noqa: PLC0415 - for jobs that want the files

        try:
            with output.directory_of(target) as directory:
                Downloading(request, settings.downloads, inbox).into(directory, target, result.run)
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("the files could not be saved", path=str(target.parent), reason=str(error))
