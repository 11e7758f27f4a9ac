"""Fetch the form and upload files before the POST, for runs with files or with inputs that need the form.

No error here can have started a run. A repeated POST does not repeat these calls.
"""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import log
from ..dify import models
from ..dify.client import ConnectionLost, DifyClient, PendingCall, Reply
from ..dify.form import FormField, Parameters, read_parameters
from ..dify.multipart import opened_body
from ..dify.transport import UnreadableFileError
from ..exit_codes import Outcome
from ..messages.message import msg, text_of
from .app_form import fit_inputs
from .files import InputFile, check_files, display_name, no_input, request_value
from .outcome import NOT_DIFY, Next, NoRunError, NotSent, RunOutcome, decide

if TYPE_CHECKING:
    from .run_spec import RunSpec

_HINT_TOO_LARGE = msg(
    "send smaller files, or raise UPLOAD_FILE_SIZE_LIMIT of Dify or client_max_body_size of the proxy"
)


class InputUploader:
    """The preparation of a run's inputs for its POST."""

    def __init__(self, spec: "RunSpec", dify: DifyClient) -> None:
        """Fetch nothing yet.

        Args:
            spec: The specification of the run.
            dify: The client.
        """
        self._spec = spec
        self._dify = dify
        self._events = spec.context.events
        self._form: Parameters | None = None
        self._version: tuple[int, int] | None = None
        self._fitted: Mapping[str, Any] | None = None
        self._uploaded: dict[InputFile, str] = {}

    def inputs(self) -> dict[str, Any]:
        """Fetch the form and upload files, each only once; return the inputs of the POST.

        Raises:
            InterruptedRunError: A signal came.
            JobError: An input does not match the form (rejected), or a file cannot be read (no-input).
            NoRunError: A call failed.
        """
        form = self.form(self._spec.deadline)
        if self._fitted is None:
            self._fitted = self.fit()
        sent = dict(self._fitted)
        for name, files in self._spec.files.items():
            field = form.field(name)
            if field is not None and files:
                data = [self._request_value(file, field) for file in files]
                sent[name] = data if field.kind == "file-list" else data[0]
        return sent

    def form(self, until: float) -> Parameters:
        """Return the form of the app, which is fetched once.

        Args:
            until: Monotonic time limit.

        Raises:
            InterruptedRunError: A signal came.
            NoRunError: It could not be fetched.
        """
        if self._form is None:
            about = msg("the app's input form")
            reply = self._answer(self._dify.get("/parameters"), about, until)
            self._form = read_parameters(reply.body)
            if self._form is None:
                raise _unreadable(reply, about, uploading=False)
            self._version = models.version_of(reply.headers)
        return self._form

    def fit(self) -> Mapping[str, Any]:
        """Convert the inputs to the types of the form, and check the files.

        Raises:
            JobError: (rejected) An input or a file does not match the form.
            NoRunError: The form could not be fetched.
        """
        form = self.form(self._spec.deadline)
        filled = {name: files for name, files in self._spec.files.items() if files}
        check_files(filled, form)
        return fit_inputs(self._spec.inputs, form, self._version, filled)

    def _request_value(self, file: InputFile, field: FormField) -> dict[str, Any]:
        """Return the request's value for a file; a local file is uploaded first."""
        if file.path is not None and file not in self._uploaded:
            self._uploaded[file] = self._upload(file, file.path)
        return request_value(file, field, self._uploaded.get(file))

    def _upload(self, file: InputFile, path: Path) -> str:
        about = msg("the file {shown}", shown=display_name(file))
        began = time.monotonic()
        call = self._dify.upload(opened_body(path, file.mime_type, self._spec.user))
        try:
            reply = self._answer(call, about, self._spec.deadline, uploading=True)
        except UnreadableFileError as error:
            raise no_input(file.variable, path, text_of(error)) from None
        upload_id = (models.json_object(reply.body) or {}).get("id")
        if not isinstance(upload_id, str) or not upload_id:
            raise _unreadable(reply, about, uploading=True)
        seconds = round(time.monotonic() - began, 3)
        log.info(
            msg("an input file was uploaded"),
            input=file.variable,
            file=str(path),
            bytes=file.size,
            seconds=seconds,
        )
        return upload_id

    def _answer(self, call: PendingCall, about: str, until: float, *, uploading: bool = False) -> Reply:
        """Return the answer to a call. Raises NoRunError with the outcome of a failed call."""
        with contextlib.closing(call):
            event = self._events.answer_of(call, until)
        match event:
            case None:
                raise NoRunError(_too_late(about, uploading=uploading))
            case ConnectionLost(sent=sent, reason=reason):
                outcome = decide(NotSent(reason))
                if sent:
                    outcome = outcome._replace(message=_failed(about, reason, uploading=uploading))
                raise NoRunError(outcome)
            case Reply(status=200 | 201):
                return event
            case Reply(status=status, headers=headers, body=body):
                error = models.read_error(status, headers, body)
                raise NoRunError(_before_any_run(error, about, uploading=uploading))
        raise NoRunError(RunOutcome(Outcome.PROTOCOL, *NOT_DIFY))


def _before_any_run(error: models.ApiError, about: str, *, uploading: bool) -> RunOutcome:
    """Return the outcome of an error before any run: no run can exist, so a retry is safe."""
    outcome = decide(error)
    if outcome.next is Next.SEARCH or error.status >= 500:
        said = f"HTTP {error.status}" + (f" ({error.message})" if error.message else "")
        return RunOutcome(
            Outcome.UNREACHABLE,
            _failed(about, msg("the server answered {said}", said=said), uploading=uploading),
            msg("the log of the server has the cause: docker compose logs api"),
            next=Next.RETRY,
            retry_after=error.retry_after,
        )
    if error.status == 413:
        return RunOutcome(
            Outcome.REJECTED,
            msg("{about} is larger than the server accepts (HTTP 413)", about=about),
            _HINT_TOO_LARGE,
        )
    if uploading and (error.status == 415 or outcome.outcome is Outcome.REJECTED):
        said = error.message.strip() or error.code or f"HTTP {error.status}"
        return RunOutcome(
            Outcome.REJECTED, msg("Dify rejected {about}: {said}", about=about, said=said), outcome.hint
        )
    return outcome


def _failed(about: str, reason: str, *, uploading: bool) -> str:
    if uploading:
        return msg("{about} could not be uploaded: {reason}; no run was started", about=about, reason=reason)
    return msg("{about} could not be fetched: {reason}; no run was started", about=about, reason=reason)


def _unreadable(reply: Reply, about: str, *, uploading: bool) -> NoRunError:
    if models.is_cut_off(reply.headers, reply.body):
        text = _failed(about, msg("the answer of the server was cut off"), uploading=uploading)
        return NoRunError(decide(NotSent(""))._replace(message=text))
    return NoRunError(RunOutcome(Outcome.PROTOCOL, *NOT_DIFY))


def _too_late(about: str, *, uploading: bool) -> RunOutcome:
    return RunOutcome(
        Outcome.UNREACHABLE,
        _failed(about, msg("the server did not answer in time"), uploading=uploading),
        msg("set a longer timeout in the job, or find out why the server is slow"),
    )
