"""The inputs and files of a job against the form of its app, as a run would hold them to it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..config.model import Job
from ..dify.app_info import AppProbe
from ..dify.form import empty_required
from ..dify.models import version_of
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import Problem
from ..run import coercion
from ..run import files as run_files
from ..run.inputs import needs_form
from ..schedulers import access
from .finding import fail, ok, place_of, warn
from .settings import grant_access_command


def check_inputs(
    job: Job, inputs: Mapping[str, Any] | JobError, files: Mapping[str, Any], seen: AppProbe | None
) -> Problem | None:
    """What Dify would refuse or drop; None where the form is not known. inputs: rendered, or why not."""
    place = place_of(job, "inputs")
    if isinstance(inputs, JobError):
        return fail(
            "inputs", inputs.message, msg("edit inputs in {place}; {hint}", place=place, hint=inputs.hint)
        )
    if seen is None or seen.parameters is None:
        return None
    version = version_of({"X-Version": seen.version or ""})
    form = [field.variable for field in seen.parameters.form]
    fix = msg(
        "edit inputs in {place}; the app's inputs: {value}", place=place, value=", ".join(form) or "none"
    )
    try:
        coercion.fitted(inputs, seen.parameters, version, files)
    except JobError as error:
        held = job.workflow_id is None or any(files.values()) or needs_form(inputs)  # then a run asks, too
        return (fail if held else warn)("inputs", f"{error.message}{_of_another(job)}", fix)
    if unknown := sorted(set(inputs) - set(form)):
        text = msg(
            "the app has no input {unknown}: Dify drops it without a word{of_another}",
            unknown=", ".join(unknown),
            of_another=_of_another(job),
        )
        return warn("inputs", text, fix)
    required = sum(field.required for field in seen.parameters.form)
    text = msg(
        "fit the app's form: {value} given, {required} required{of_another}",
        value=len(inputs) + len(files),
        required=required,
        of_another=_of_another(job),
    )
    return ok("inputs", text)


def refuse_empty_inputs(job: Job, seen: AppProbe | None) -> None:
    """Refuse a job that could only fail, or run on nothing, where the app's form is known.

    Args:
        job: The job, whose templates need not be rendered: a template is something.
        seen: What its server told; None where it was not asked.

    Raises:
        JobError: Required inputs are missing or empty (config).
    """
    if seen is None or seen.parameters is None:
        return
    empty = empty_required(seen.parameters.form, {**job.inputs, **job.files})
    if empty and job.workflow_id is None:  # another version can have another form
        raise JobError(
            Outcome.CONFIG,
            msg(
                "the app {app!r} requires inputs that job {job} leaves empty: {inputs}",
                app=seen.name,
                job=job.name,
                inputs=", ".join(empty),
            ),
            msg("fill them in: edit inputs in {place}", place=place_of(job, "inputs")),
        )


def _of_another(job: Job) -> str:
    """Dify shows the form of the newest version alone, whichever runs."""
    if job.workflow_id is None:
        return ""
    return msg(
        "; that is the newest version's form, and workflow_id {workflow_id} can have another",
        workflow_id=job.workflow_id,
    )


def check_files(
    job: Job,
    files: Mapping[str, Sequence[str]] | JobError,
    account: access.Account,
    seen: AppProbe | None,
) -> Problem | None:
    """The files that the job hands over; None where it has none."""
    place = place_of(job, "files")
    if isinstance(files, JobError):
        return fail(
            "files", files.message, msg("edit files in {place}; {hint}", place=place, hint=files.hint)
        )
    if not files:
        return None
    try:
        found = run_files.look_at(files)
        if seen is not None and seen.parameters is not None:
            fields = {field.variable: field for field in seen.parameters.form}
            run_files.check(found, fields, seen.parameters.limits)
    except JobError as error:
        there = msg(
            "put a file there that {name} can read, or edit files in {place}", name=account.name, place=place
        )
        edit = (
            there
            if error.outcome is Outcome.NO_INPUT
            else msg("edit files in {place}; {hint}", place=place, hint=error.hint)
        )
        return fail("files", error.message, edit)
    for file in (file for given in found.values() for file in given):
        if file.path is not None and (why := access.obstacle(file.path, account, os.R_OK)) is not None:
            fix = grant_access_command(file.path, account, os.R_OK)
            if access.is_hidden(file.path, account):
                fix = msg("edit files in {place}: another directory, below /srv for example", place=place)
            return fail(
                "files",
                msg("{name} cannot read {path}: {why}", name=account.name, path=file.path, why=why),
                fix
                or msg("edit files in {place}: a copy that {name} can read", place=place, name=account.name),
            )
    return ok("files", msg("there and as the app takes them: {sorted}", sorted=", ".join(sorted(files))))
