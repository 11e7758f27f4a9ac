"""The inputs and files of a job against the form of its app, as a run would hold them to it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..config.model import Job
from ..dify.app_info import AppProbe
from ..dify.models import version_of
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..run import coercion
from ..run import files as run_files
from ..run.inputs import needs_form
from ..schedulers import access
from .finding import Finding, fail, ok, place_of, warn
from .settings import grant_access_command


def check_inputs(
    job: Job, inputs: Mapping[str, Any] | JobError, files: Mapping[str, Any], seen: AppProbe | None
) -> Finding | None:
    """What Dify would refuse or drop; None where the form is not known. inputs: rendered, or why not."""
    place = place_of(job, "inputs")
    if isinstance(inputs, JobError):
        return fail("inputs", inputs.message, f"edit inputs in {place}; {inputs.hint}")
    if seen is None or seen.parameters is None:
        return None
    version = version_of({"X-Version": seen.version or ""})
    form = [field.variable for field in seen.parameters.form]
    mend = f"edit inputs in {place}; the app's inputs: {', '.join(form) or 'none'}"
    try:
        coercion.fitted(inputs, seen.parameters, version, files)
    except JobError as error:
        held = job.workflow_id is None or any(files.values()) or needs_form(inputs)  # then a run asks, too
        return (fail if held else warn)("inputs", f"{error.message}{_of_another(job)}", mend)
    if unknown := sorted(set(inputs) - set(form)):
        told = f"the app has no input {', '.join(unknown)}: Dify drops it without a word{_of_another(job)}"
        return warn("inputs", told, mend)
    required = sum(field.required for field in seen.parameters.form)
    told = f"fit the app's form: {len(inputs) + len(files)} given, {required} required{_of_another(job)}"
    return ok("inputs", told)


def _of_another(job: Job) -> str:
    """Dify shows the form of the newest version alone, whichever runs."""
    if job.workflow_id is None:
        return ""
    return f"; that is the newest version's form, and workflow_id {job.workflow_id} can have another"


def check_files(
    job: Job,
    files: Mapping[str, Sequence[str]] | JobError,
    account: access.Account,
    seen: AppProbe | None,
) -> Finding | None:
    """The files that the job hands over; None where it has none."""
    place = place_of(job, "files")
    if isinstance(files, JobError):
        return fail("files", files.message, f"edit files in {place}; {files.hint}")
    if not files:
        return None
    try:
        found = run_files.look_at(files)
        if seen is not None and seen.parameters is not None:
            fields = {field.variable: field for field in seen.parameters.form}
            run_files.check(found, fields, seen.parameters.limits)
    except JobError as error:
        there = f"put a file there that {account.name} can read, or edit files in {place}"
        edit = there if error.outcome is Outcome.NO_INPUT else f"edit files in {place}; {error.hint}"
        return fail("files", error.message, edit)
    for file in (file for given in found.values() for file in given):
        if file.path is not None and (why := access.obstacle(file.path, account, os.R_OK)) is not None:
            mend = grant_access_command(file.path, account, os.R_OK)
            if access.is_hidden(file.path, account):
                mend = f"edit files in {place}: another directory, below /srv for example"
            return fail("files", f"{account.name} cannot read {file.path}: {why}", mend)
    return ok("files", f"there and as the app takes them: {', '.join(sorted(files))}")
