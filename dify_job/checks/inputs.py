"""The inputs and files of a job against the form of its app, as a run would check them."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from ..config.model import Job, Source
from ..config.schema import VARIABLES
from ..dify.app_info import AppProbe
from ..dify.form import empty_required
from ..dify.models import version_of
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..run import app_form
from ..run import files as run_files
from ..run.inputs import needs_form
from ..schedulers import access
from .context import HostContext
from .finding import Finding, fail, location_of, ok, warn
from .probes import expected_failure
from .user_access import grant_access_command


def check_input_templates(context: HostContext) -> None:
    """Check that the inputs can be rendered. Raises JobError."""
    context.unit_templates.inputs()


def check_file_names(context: HostContext) -> None:
    """Check that file names can be rendered and that constant file names exist.

    Raises:
        JobError: A name cannot be rendered, or a file does not exist.
    """
    context.unit_templates.files()
    # A file with a template in its name may be created later.
    listed = context.job.files.items()
    run_files.find_files({key: [name for name in names if name and "{" not in name] for key, names in listed})


def check_required_inputs(context: HostContext) -> Finding | None:
    """Check that no required input is empty if the app's form is known; a template counts as a value."""
    job, probe = context.job, _usable_app(context)
    if probe is None or probe.parameters is None or job.workflow_id is not None:
        return None  # another version can have another form
    given = {**job.inputs, **{key: list(filter(None, names)) for key, names in job.files.items()}}
    form = [field for field in probe.parameters.form if field.default is None or field.variable in given]
    empty = empty_required(form, given)
    if not empty:
        return None
    texts = [msg("the input {name} is required by the app, but has no value", name=name) for name in empty]
    return fail(join("; ", texts), _edit_for_form(job, probe))


def check_inputs(context: HostContext) -> Finding | None:
    """Check for inputs that Dify would reject or ignore; None if the form is unknown. Raises JobError."""
    job, probe = context.job, _usable_app(context)
    inputs = context.templates.inputs()
    if probe is None or probe.parameters is None:
        return None
    try:
        files = context.templates.files()
    except JobError:
        files = {}
    form = [field.variable for field in probe.parameters.form]
    fix = _edit_for_form(job, probe)
    try:
        app_form.fit_inputs(inputs, probe.parameters, version_of({"X-Version": probe.version or ""}), files)
    except JobError as error:
        # In these cases, a run checks its inputs by the form, too.
        checked = job.workflow_id is None or any(files.values()) or needs_form(inputs)
        return (fail if checked else warn)(join("", (error.message, _pinned_version_note(job))), fix)
    if unknown := sorted(set(inputs) - set(form)):
        text = msg(
            "the app has no input {names}, so Dify ignores the value{other_version}",
            names=join(", ", unknown),
            other_version=_pinned_version_note(job),
        )
        return warn(text, fix)
    text = msg(
        "the inputs match the app's input form: {given} given, {required} required{other_version}",
        given=len(inputs) + len(files),
        required=sum(field.required for field in probe.parameters.form),
        other_version=_pinned_version_note(job),
    )
    return ok(text)


def check_file_access(context: HostContext) -> Finding | None:
    """Check that the job's user can read the files with constant names."""
    paths = [path for path in context.spec.reads if path != context.job.ca_file]
    return _unreadable(context, paths)


def check_files(context: HostContext) -> Finding | None:
    """Check the files as a run would send them; None if the job has no files. Raises JobError."""
    files = context.templates.files()
    if not files:
        return None
    found = run_files.find_files(files)
    probe = _usable_app(context)
    if probe is not None and probe.parameters is not None:
        run_files.check_files(found, probe.parameters)
    paths = (file.path for given in found.values() for file in given if file.path is not None)
    if (finding := _unreadable(context, paths)) is not None:
        return finding
    return ok(msg("the files exist and match the app's input form: {names}", names=join(", ", sorted(files))))


def _unreadable(context: HostContext, paths: Iterable[Path]) -> Finding | None:
    account, place = context.account, location_of(context.job, "files")
    if account is None:
        return None
    for path in paths:
        if (why := access.access_error(path, account, os.R_OK)) is not None:
            fix: str | None = grant_access_command(path, account, os.R_OK)
            if access.is_hidden(path, account):
                fix = msg(
                    'edit the setting "files" in {place}: choose a file in another directory, such as one '
                    "below /srv",
                    place=place,
                )
            copy = msg(
                'edit the setting "files" in {place}: choose a copy of the file that {user} can read',
                place=place,
                user=account.name,
            )
            text = msg("{user} cannot read {path}: {why}", user=account.name, path=path, why=why)
            return fail(text, fix or copy)
    return None


def _edit_for_form(job: Job, probe: AppProbe) -> str:
    form = [field.variable for field in probe.parameters.form] if probe.parameters is not None else []
    if form and all(origin.source is not Source.FILE for origin in job.origins.values()):
        variable = f"{VARIABLES['inputs']}='{json.dumps({form[0]: 'value'})}'"
        return msg(
            "set {variable} in the environment or in the .env file; the app has these inputs: {names}",
            variable=variable,
            names=join(", ", form),
        )
    return msg(
        'edit the setting "inputs" in {place}; the app has these inputs: {names}',
        place=location_of(job, "inputs"),
        names=join(", ", form) or msg("none"),
    )


def _usable_app(context: HostContext) -> AppProbe | None:
    """Return the server's answer about an app that can run; None if it cannot."""
    return context.app if context.app is not None and expected_failure(context.app) is None else None


def _pinned_version_note(job: Job) -> str:
    """Return a note for a pinned version: Dify shows only the form of the newest version."""
    if job.workflow_id is None:
        return ""
    return msg(
        ". This is the input form of the newest version; version {workflow_id} (workflow_id) "
        "can have a different form",
        workflow_id=job.workflow_id,
    )
