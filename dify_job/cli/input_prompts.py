"""The inputs of a new job: from flags, from a person, from the form's own defaults."""

import contextlib
from typing import Any

from ..config.scaffold import DraftInput, comment
from ..dify.app_info import AppProbe
from ..dify.form import FormField
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import command
from ..run.app_form import coerce
from ..run.inputs import is_template
from .key_input import asked, interactive
from .output import echo_err

_NEWEST = None  # a table stays a table: `run` makes of it what the server of that day wants


def drafted(seen: AppProbe, given: dict[str, str], *, files: bool) -> list[DraftInput]:
    """The inputs, or the files, as the form has them; a person is asked for what is missing.

    Raises JobError (usage).
    """
    form = [] if seen.parameters is None else [f for f in seen.parameters.form if f.takes_files == files]
    known_ones = [_of_field(field, given.get(field.variable)) for field in form]
    known = {field.variable for field in form}
    for name in given.keys() - known:
        if seen.parameters is not None:
            flag = "--file" if files else "-i"
            raise JobError(
                Outcome.USAGE,
                msg(
                    "{flag} {name}: the app {name2!r} has no such input",
                    flag=flag,
                    name=name,
                    name2=seen.name,
                ),
                msg(
                    "its inputs: {value}",
                    value=", ".join(sorted(f.variable for f in seen.parameters.form)) or "none",
                ),
            )
    return known_ones + [
        DraftInput(name=name, note=msg("as given"), value=value)
        for name, value in given.items()
        if name not in known
    ]


def _of_field(field: FormField, given: str | None) -> DraftInput:
    value: Any = given
    if given is not None and not field.takes_files and not is_template(given):
        try:
            value = coerce(field, given, _NEWEST)
        except ValueError as error:
            raise JobError(
                Outcome.USAGE,
                msg("-i {variable} {error}", variable=field.variable, error=error),
                command("dify-job", "init", "--help"),
            ) from None
    elif given is None and field.required and not field.takes_files:
        value = _default(field)
        if interactive():
            value = _asked(field, value)
    return DraftInput(name=field.variable, note=_note(field), value=value, required=field.required)


def _default(field: FormField) -> Any:
    """The form's own default; one that would be rendered as a template is left to the person."""
    default = field.default
    if default in (None, "") or (isinstance(default, str) and is_template(default)):
        return None
    with contextlib.suppress(ValueError):
        return coerce(field, default, _NEWEST) if isinstance(default, (str, int, float, bool)) else None
    return None


def _asked(field: FormField, default: Any) -> Any:
    echo_err(comment(_note(field)))
    while True:
        text = asked(comment(field.variable), "" if default is None else str(default))
        if not text:
            return None
        try:
            return text if is_template(text) else coerce(field, text, _NEWEST)
        except ValueError as error:
            echo_err(msg("  it {error}", error=error))


def _note(field: FormField) -> str:
    words = [field.kind, "required" if field.required else "optional"]
    if field.max_length is not None and field.kind != "file":  # a file's is that of texts, and does not count
        what = "files" if field.takes_files else "characters"
        words.append(msg("at most {max_length} {what}", max_length=field.max_length, what=what))
    if field.options:
        words.append(msg("one of {options}", options=", ".join(field.options)))
    if field.allowed_types:
        words.append(msg("of type {allowed_types}", allowed_types=", ".join(field.allowed_types)))
    label = f"{field.label}: " if field.label and field.label != field.variable else ""
    return label + ", ".join(words)
