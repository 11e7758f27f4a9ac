"""Fetch the form and upload files before the POST; only for runs with files, or inputs that need the form.

All of it is before any run: whatever breaks here started nothing. What was done once is not done again when
the POST is repeated.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import log
from ..dify import models
from ..dify.client import (
    CallEvent,
    ConnectionLost,
    DifyClient,
    InternalError,
    PendingCall,
    Reply,
    UploadFailed,
)
from ..dify.event_queue import Cancel
from ..dify.form import Parameters, read_parameters
from ..exit_codes import Outcome
from ..messages.message import msg
from .app_form import fitted
from .files import InputFile, check, handed_over, no_input, shown
from .outcome import STRANGE, Next, NotSent, RunOutcome, cancelled, decide

if TYPE_CHECKING:
    from .run_spec import RunSpec

_HINT_TOO_LARGE = msg(
    "raise UPLOAD_FILE_SIZE_LIMIT of Dify, or client_max_body_size of the proxy, or send less"
)


class InputUploader:
    """Prepares the inputs of one run for its POST.

    Attributes:
        parameters: The app's form, once it was fetched.
    """

    def __init__(self, request: "RunSpec", dify: DifyClient) -> None:
        """Fetch nothing yet.

        Args:
            request: The run.
            dify: The client.
        """
        self.parameters: Parameters | None = None
        self._request = request
        self._dify = dify
        self._events = request.context.events
        self._version: tuple[int, int] | None = None
        self._fitted: Mapping[str, Any] | None = None
        self._uploaded: dict[InputFile, str] = {}

    @property
    def inputs(self) -> dict[str, Any]:
        """What the POST sends, once ready() returned None."""
        form = self.parameters or Parameters()
        sent = dict(self._fitted or {})
        for name, files in self._request.files.items():
            field = form.field(name)
            if field is not None and files:
                data = [handed_over(file, field, self._uploaded.get(file)) for file in files]
                sent[name] = data if field.kind == "file-list" else data[0]
        return sent

    def ready(self) -> RunOutcome | None:
        """Do what is left to be done.

        Returns:
            None when the POST can be sent, else the outcome.

        Raises:
            JobError: An input does not fit (rejected), or a file cannot be read (no-input).
        """
        if self.parameters is None and (outcome := self.fetch_form(self._request.deadline)) is not None:
            return outcome
        if self._fitted is None:
            self.fit()
        for files in self._request.files.values():
            for file in files:
                if file.path is not None and file not in self._uploaded:
                    outcome = self._upload(file)
                    if outcome is not None:
                        return outcome
        return None

    def fetch_form(self, until: float) -> RunOutcome | None:
        """Fetch the form of the app.

        Args:
            until: Monotonic time at which it is given up.

        Returns:
            None when it is there, else what a run would end with.
        """
        reply = self._answer(self._dify.get("/parameters"), msg("the app's input form"), until)
        if isinstance(reply, RunOutcome):
            return reply
        parameters = read_parameters(reply.body)
        if parameters is None:
            return _unreadable(reply, msg("the app's input form"))
        self._version = models.version_of(reply.headers)
        self.parameters = parameters
        return None

    def fit(self) -> Mapping[str, Any]:
        """Return the inputs as the form asks for them, and check the files.

        Raises:
            JobError: One does not fit (rejected).
        """
        form = self.parameters or Parameters()
        filled = {name: files for name, files in self._request.files.items() if files}
        check(filled, {field.variable: field for field in form.form}, form.limits)
        self._fitted = fitted(self._request.inputs, form, self._version, filled)
        return self._fitted

    def _upload(self, file: InputFile) -> RunOutcome | None:
        about = msg("the file {shown}", shown=shown(file))
        began = time.monotonic()
        call = self._dify.upload(file.part(), self._request.user)
        reply = self._answer(call, about, self._request.deadline, file)
        if isinstance(reply, RunOutcome):
            return reply
        upload_id = _id_in(reply)
        if upload_id is None:
            return _unreadable(reply, about)
        self._uploaded[file] = upload_id
        seconds = round(time.monotonic() - began, 3)
        log.info(
            msg("file uploaded"), input=file.variable, file=str(file.path), bytes=file.size, seconds=seconds
        )
        return None

    def _answer(
        self, call: PendingCall, about: str, until: float, file: InputFile | None = None
    ) -> Reply | RunOutcome:
        """The good answer to a call, or what its failing means before any run."""
        event = self._events.answer_of(call, until)
        if event is None or isinstance(event, Cancel):
            call.close()
            return cancelled(event.signum) if event is not None else _too_late(about)
        return self._judge(event, about, file)

    def _judge(self, message: CallEvent, about: str, file: InputFile | None) -> Reply | RunOutcome:
        match message:
            case InternalError(fault):
                raise fault
            case UploadFailed(reason) if file is not None and file.path is not None:
                raise no_input(file.variable, file.path, reason)
            case ConnectionLost(sent=False, reason=reason):
                return decide(NotSent(reason))
            case ConnectionLost(reason=reason):
                outcome = decide(NotSent(reason))
                words = msg(
                    "{about} could not be fetched: {reason}; no run was started", about=about, reason=reason
                )
                if file is not None:
                    words = msg(
                        "{about} could not be uploaded: {reason}; no run was started",
                        about=about,
                        reason=reason,
                    )
                return outcome._replace(message=words)
            case Reply(status=200 | 201):
                return message
            case Reply(status=status, headers=headers, body=body):
                error = models.read_error(status, headers, body)
                return _before_any_run(error, about, uploading=file is not None)
        return RunOutcome(Outcome.PROTOCOL, *STRANGE)


def _before_any_run(error: models.ApiError, about: str, *, uploading: bool) -> RunOutcome:
    """The outcome of an error where no run can exist: nothing is doubtful, and trouble may pass."""
    outcome = decide(error)
    if outcome.next is Next.SEARCH or error.status >= 500:
        said = f"HTTP {error.status}" + (f" ({error.message})" if error.message else "")
        return RunOutcome(
            Outcome.UNREACHABLE,
            msg("the server answered {said} to {about}, before any run was started", said=said, about=about),
            msg("its own log has the cause: docker compose logs api"),
            next=Next.RETRY,
            retry_after=error.retry_after,
        )
    if error.status == 413:
        return RunOutcome(
            Outcome.REJECTED,
            msg("{about} is too large for the server (HTTP 413)", about=about),
            _HINT_TOO_LARGE,
        )
    if uploading and (error.status == 415 or outcome.outcome is Outcome.REJECTED):
        said = error.message.strip() or error.code or f"HTTP {error.status}"
        return RunOutcome(
            Outcome.REJECTED, msg("Dify refused {about}: {said}", about=about, said=said), outcome.hint
        )
    return outcome


def _unreadable(reply: Reply, about: str) -> RunOutcome:
    if models.is_cut_off(reply.headers, reply.body):
        outcome = decide(NotSent(""))
        return outcome._replace(
            message=msg("the answer to {about} was cut off; no run was started", about=about)
        )
    return RunOutcome(Outcome.PROTOCOL, *STRANGE)


def _too_late(about: str) -> RunOutcome:
    return RunOutcome(
        Outcome.UNREACHABLE,
        msg("the deadline passed while {about} was on its way; no run was started", about=about),
        msg("give the job a longer timeout, or find out why the server is slow"),
    )


def _id_in(reply: Reply) -> str | None:
    found = (models.json_object(reply.body) or {}).get("id")
    return found if isinstance(found, str) and found else None
