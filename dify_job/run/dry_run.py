"""Check a run against the app's form without starting it."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import log
from ..config.model import Job
from ..config.secrets import read_headers, read_key
from ..dify.event_queue import EventQueue
from ..messages.command import with_job
from ..messages.errors import JobError
from ..state.reader import read_last_success
from .app_form import check_names, store_names
from .engine import connect
from .files import display_name, find_files
from .input_upload import InputUploader
from .inputs import Templates, check_sendable, secrets_in
from .outcome import NoRunError
from .run_spec import RunContext, RunSpec
from .state_directory import state_directory

_FORM_TIMEOUT = 10.0  # seconds for the form of the app


def dry_run(job: Job, given: Mapping[str, Any], config_path: Path | None) -> dict[str, Any]:
    """Render the inputs of a job and check them against the form of its app, with one GET and no run.

    Args:
        job: The job.
        given: Inputs from the command line.
        config_path: The path of the configuration.

    Returns:
        The inputs, files and output file of the run, and the inputs of the app, as JSON.

    Raises:
        JobError: The error that the run would end with.
    """
    key, headers = read_key(job), read_headers(job)
    began = time.monotonic()
    until = began + job.timeout
    state = state_directory(job, config_path)
    templates = Templates(job, lambda: read_last_success(state), until=lambda: until)
    inputs = templates.inputs() | dict(given)
    for secret in secrets_in(inputs):
        log.add_secret(secret)
    check_sendable(inputs)
    files = find_files(templates.files())
    spec = RunSpec(job, key, inputs, RunContext(began, EventQueue()), headers=headers, files=files)
    uploader = InputUploader(spec, connect(spec))
    try:
        form = uploader.form(began + min(job.timeout, _FORM_TIMEOUT))
    except NoRunError as error:
        end = error.outcome
        raise JobError(end.outcome, end.message, end.hint and with_job(end.hint, job.name)) from None
    store_names(state, job, key, form, make=True)
    check_names(given, form)
    return {
        "job": job.name,
        "base_url": job.base_url,
        "inputs": uploader.fit(),
        "files": {name: [display_name(file) for file in listed] for name, listed in files.items() if listed},
        "output_file": templates.output_file(),
        "form": [
            {"variable": field.variable, "type": field.kind, "required": field.required}
            for field in form.form
        ],
    }
