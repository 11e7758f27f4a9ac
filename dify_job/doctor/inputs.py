"""The inputs and files of a job against the form of its app. Pure but for the files' own place."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config.model import Job
from ..dify.form import FormField, Parameters, fault_of
from ..errors import JobError
from ..scheduling import reach
from .check import Check, fail, ok, warn


def check_inputs(job: Job, inputs: Mapping[str, Any] | JobError, parameters: Parameters) -> Check:
    """What Dify would refuse or drop. inputs: rendered, or why they cannot be."""
    if isinstance(inputs, JobError):
        return fail("inputs", inputs.message, inputs.hint)
    form = {field.variable: field for field in parameters.form}
    faults = list(_faults(job, inputs, form))
    if faults:
        return fail("inputs", "; ".join(faults), f"mend [jobs.{job.name}.inputs]: {_place(job)}")
    unknown = sorted(set(inputs) - set(form))
    if unknown:
        names = ", ".join(map(repr, unknown))
        known = ", ".join(sorted(form)) or "none"
        return warn(
            "inputs",
            f"the app has no input {names}: Dify drops it without a word",
            f"take it out, or rename it ({_place(job)}); the app's inputs: {known}",
        )
    required = sum(field.required for field in form.values())
    return ok("inputs", f"fit the app's form: {len(inputs) + len(job.files)} given, {required} required")


def _faults(job: Job, inputs: Mapping[str, Any], form: Mapping[str, FormField]) -> Iterator[str]:
    for name, field in form.items():
        if field.takes_files:
            if name in inputs and name not in job.files:
                yield f"{name!r} takes files: give it in files, not in inputs"
            elif field.required and name not in job.files:
                yield f"{name!r} is required by the app, a file"
        elif (fault := fault_of(field, inputs.get(name))) is not None:
            yield f"{name!r} {fault}"


def _place(job: Job) -> str:
    origin = job.origins.get("inputs")
    return str(origin) if origin is not None else "it has none yet"


def check_files(job: Job, account: reach.Account, parameters: Parameters | None) -> Check | None:
    """The local files that the job uploads; None where it has none."""
    if not job.files:
        return None
    for name, value in job.files.items():
        field = parameters.field(name) if parameters is not None else None
        paths = (value,) if isinstance(value, str) else value
        if parameters is not None:
            if field is None or not field.takes_files:
                return fail(
                    "files", f"the app has no file input {name!r}", f"its inputs: {_names(parameters)}"
                )
            if field.kind == "file" and len(paths) != 1:
                return fail("files", f"{name!r} takes one file, and {len(paths)} are given", "give one")
            if field.max_length is not None and field.kind == "file-list" and len(paths) > field.max_length:
                return fail(
                    "files", f"{name!r} takes {field.max_length} files, {len(paths)} are given", "give less"
                )
        for path in paths:
            if (fault := _fault_of_file(path, account, parameters)) is not None:
                return fail("files", f"{name!r}: {fault[0]}", fault[1])
    return ok("files", f"readable: {', '.join(sorted(job.files))}")


def _fault_of_file(
    text: str, account: reach.Account, parameters: Parameters | None
) -> tuple[str, str] | None:
    """What is wrong with one file, and what mends it."""
    if "://" in text or "{{" in text or "{%" in text:
        return None
    path = Path(text).expanduser()
    if not path.exists():
        return f"{path} does not exist", f"put the file there: {path}"
    if not path.is_file():
        return f"{path} is not a file", "name a file"
    if (why := reach.obstacle(path, account, os.R_OK)) is not None:
        return f"{account.name} cannot read {path}: {why}", f"chmod a+r {path}"
    size = path.stat().st_size
    limits = parameters.limits if parameters is not None else None
    largest = [n for n in (limits.document, limits.image, limits.audio, limits.video) if n] if limits else []
    if largest and size > max(largest):
        return (
            f"{path} has {size} bytes, and the server takes {max(largest)}",
            "make it smaller, or raise UPLOAD_FILE_SIZE_LIMIT on the server",
        )
    return None


def _names(parameters: Parameters) -> str:
    return ", ".join(sorted(field.variable for field in parameters.form)) or "none"
