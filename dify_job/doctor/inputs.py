"""The inputs and files of a job against the form of its app, as a run would hold them to it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..config.model import Job
from ..dify.app import AppSeen
from ..dify.dialects import version_of
from ..errors import JobError
from ..running import coercion
from ..running import files as run_files
from ..scheduling import reach
from .check import Check, fail, ok, warn


def check_inputs(
    job: Job, inputs: Mapping[str, Any] | JobError, files: Mapping[str, Any], seen: AppSeen | None
) -> Check | None:
    """What Dify would refuse or drop; None where the form is not known. inputs: rendered, or why not."""
    if isinstance(inputs, JobError):
        return fail("inputs", inputs.message, inputs.hint)
    if seen is None or seen.parameters is None:
        return None
    version = version_of({"X-Version": seen.version or ""})
    try:
        coercion.fitted(inputs, seen.parameters, version, files)
    except JobError as error:
        return fail("inputs", error.message, f"mend [jobs.{job.name}.inputs]: {_place(job)}")
    form = [field.variable for field in seen.parameters.form]
    if unknown := sorted(set(inputs) - set(form)):
        told = f"the app has no input {', '.join(unknown)}: Dify drops it without a word"
        there = f"the app's inputs: {', '.join(form) or 'none'}"
        return warn("inputs", told, f"take it out, or rename it ({_place(job)}); {there}")
    required = sum(field.required for field in seen.parameters.form)
    return ok("inputs", f"fit the app's form: {len(inputs) + len(files)} given, {required} required")


def _place(job: Job) -> str:
    origin = job.origins.get("inputs")
    return str(origin) if origin is not None else "it has none yet"


def check_files(
    files: Mapping[str, Sequence[str]] | JobError, account: reach.Account, seen: AppSeen | None
) -> Check | None:
    """The files that the job hands over; None where it has none."""
    if isinstance(files, JobError):
        return fail("files", files.message, files.hint)
    if not files:
        return None
    try:
        found = run_files.look_at(files)
        if seen is not None and seen.parameters is not None:
            fields = {field.variable: field for field in seen.parameters.form}
            run_files.check(found, fields, seen.parameters.limits)
    except JobError as error:
        return fail("files", error.message, error.hint)
    for file in (file for given in found.values() for file in given):
        if file.path is not None and (why := reach.obstacle(file.path, account, os.R_OK)) is not None:
            return fail("files", f"{account.name} cannot read {file.path}: {why}", f"chmod a+r {file.path}")
    return ok("files", f"there and as the app takes them: {', '.join(sorted(files))}")
