"""What a run would send, checked against the app's form; nothing is started."""

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import log
from ..config.model import Job
from ..config.secrets import read_headers, read_key
from ..dify.app_info import probe_app
from ..dify.form import Parameters
from ..dify.models import version_of
from ..messages.errors import JobError
from ..state.history import read_history, summary
from . import coercion, form_cache
from .files import check, look_at, shown
from .inputs import Templates, check_sendable, secrets_in
from .job_state import state_directory
from .outcome import obstacle


def dry_run(job: Job, given: Mapping[str, Any], config_path: Path | None) -> dict[str, Any]:
    """Render the inputs of a job and check them against the form of its app: one GET, no run.

    Args:
        job: The job.
        given: Inputs from the command line.
        config_path: The configuration that the job comes from.

    Returns:
        The inputs, files and output file of the run, and the inputs that the app has, as JSON.

    Raises:
        JobError: Of what the run would fail, with its exit code.
    """
    key, headers = read_key(job), read_headers(job)
    log.hide(key.reveal(), is_key=True)
    until = time.monotonic() + job.timeout
    templates = Templates(job, lambda: _last_success(job, config_path), until=lambda: until)
    inputs = templates.inputs() | dict(given)
    for secret in secrets_in(inputs):
        log.hide(secret)
    check_sendable(inputs)
    files = look_at(templates.files())
    seen = probe_app(
        job.base_url,
        key.reveal(),
        ca_file=job.ca_file,
        headers={name: value.reveal() for name, value in headers.items()},
        form_only=True,
    )
    if (refused := obstacle(seen)) is not None:
        raise JobError(refused.outcome, refused.message, refused.hint)
    parameters = seen.parameters or Parameters()
    form_cache.store_names(state_directory(job, config_path), job, key, parameters, make=True)
    form_cache.check_names(given, parameters)
    filled = {name: listed for name, listed in files.items() if listed}
    check(filled, {field.variable: field for field in parameters.form}, parameters.limits)
    sent = coercion.fitted(inputs, parameters, version_of({"X-Version": seen.version or ""}), filled)
    return {
        "job": job.name,
        "base_url": job.base_url,
        "inputs": sent,
        "files": {name: [shown(file) for file in listed] for name, listed in filled.items()},
        "output_file": templates.output_file(),
        "form": [
            {"variable": field.variable, "type": field.kind, "required": field.required}
            for field in parameters.form
        ],
    }


def _last_success(job: Job, config_path: Path | None) -> datetime | None:
    try:
        last = summary(read_history(state_directory(job, config_path))).last_success
        return None if last is None else datetime.fromisoformat(last)
    except (OSError, ValueError):
        return None
