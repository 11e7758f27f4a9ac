"""What is done with the outputs of a run that succeeded; whatever fails here is a warning."""

from .. import log
from . import output
from .inbox import Inbox
from .place import Place
from .request import Request
from .result import Result


def deliver(place: Place, result: Result, request: Request, inbox: Inbox) -> None:
    """Write the output file, and fetch the files that the workflow returned beside it, if the job wants them.

    inbox: a cancel ends the fetching.
    """
    settings = request.job.output
    try:
        output.write(place, result, settings)
    except Exception as error:  # noqa: BLE001 - the outcome is known, and nothing may change it now
        log.warning("the output file could not be written", path=str(place.path), reason=str(error))
    if settings.downloads is not None and result.run is not None:
        from .downloads import Downloading  # noqa: PLC0415 - for jobs that want the files

        try:
            Downloading(request, settings.downloads, inbox).beside(place, result.run)
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("the files could not be saved", path=str(place.path.parent), reason=str(error))
