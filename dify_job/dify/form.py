"""The input form of an app, as `GET /parameters` tells it. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..messages.message import msg
from ..system.values import dataclass
from .models import json_object

FILE_KINDS = frozenset({"file", "file-list"})
_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class FormField:
    """One input. kind: text-input, paragraph, number, select, checkbox, json_object, file, file-list.

    max_length: characters of a text, files of a list. allowed_ is for files: types (image, document, audio,
    video, custom), extensions with their dot, and ways to hand one over (local_file, remote_url).
    """

    variable: str
    kind: str
    label: str = ""
    required: bool = False
    max_length: int | None = None
    options: tuple[str, ...] = ()
    default: Any = None
    allowed_types: tuple[str, ...] = ()
    allowed_extensions: tuple[str, ...] = ()
    allowed_methods: tuple[str, ...] = ()

    @property
    def takes_files(self) -> bool:
        """True for what a job gives in `files`, not in `inputs`."""
        return self.kind in FILE_KINDS


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The server's largest file of each type in bytes, None where it does not tell."""

    document: int | None = None
    image: int | None = None
    audio: int | None = None
    video: int | None = None


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What an app wants to be started with."""

    form: tuple[FormField, ...] = ()
    limits: Limits = Limits()

    def field(self, variable: str) -> FormField | None:
        """The input of that name."""
        return next((one for one in self.form if one.variable == variable), None)


def read_parameters(body: bytes) -> Parameters | None:
    """The answer of `GET /parameters`; None for what is not Dify's (`parameters-echo`)."""
    data = json_object(body)
    if data is None or not isinstance(data.get("user_input_form"), list):
        return None
    system = data.get("system_parameters")
    sizes = system if isinstance(system, dict) else {}
    return Parameters(
        form=tuple(field for entry in data["user_input_form"] for field in _fields(entry)),
        limits=Limits(
            document=_bytes(sizes.get("file_size_limit")),
            image=_bytes(sizes.get("image_file_size_limit")),
            audio=_bytes(sizes.get("audio_file_size_limit")),
            video=_bytes(sizes.get("video_file_size_limit")),
        ),
    )


def empty_required(form: Sequence[FormField], given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the required inputs of a form for which nothing is given.

    Args:
        form: The fields of the app's form.
        given: Inputs and files by name. Dify takes an empty text as a value; here it is nothing.
    """
    filled = {name for name, value in given.items() if value not in (None, "", (), [], {})}
    return tuple(field.variable for field in form if field.required and field.variable not in filled)


def fault_of(field: FormField, value: Any) -> str | None:
    """What Dify refuses in the value of an input that takes no files, as the end of a sentence.

    By the recordings `error-input-*`: an empty text is a value, a number may be written as text.
    """
    if value is None:
        return msg("is required by the app") if field.required else None
    match field.kind:
        case "text-input" | "paragraph" | "select" if not isinstance(value, str):
            return msg("must be a string: the app's input is of type {kind}", kind=field.kind)
        case "text-input" | "paragraph" if field.max_length is not None and len(value) > field.max_length:
            return msg(
                "has {len} characters, and the app takes {max_length}",
                len=len(value),
                max_length=field.max_length,
            )
        case "select" if field.options and value not in field.options:
            return msg("must be one of {map}", map=", ".join(map(repr, field.options)))
        case "number" if not _is_number(value):
            return msg("must be a number")
        case "json_object" if not isinstance(value, dict) and not _is_object(value):
            return msg("must be a table (a JSON object)")
    return None


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value or 0)
        except ValueError:
            return False
        return True
    return isinstance(value, (int, float))


def _is_object(value: Any) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except (TypeError, ValueError, RecursionError):
        return False


def _fields(entry: Any) -> list[FormField]:
    """The field of one entry, an object whose only key is the kind."""
    if not isinstance(entry, dict):
        return []
    return [
        FormField(
            variable=control["variable"],
            kind=kind,
            label=control["label"] if isinstance(control.get("label"), str) else "",
            required=control.get("required") is True,
            max_length=_whole(control.get("max_length")),
            options=_strings(control.get("options")),
            default=control.get("default"),
            allowed_types=_strings(control.get("allowed_file_types")),
            allowed_extensions=_strings(control.get("allowed_file_extensions")),
            allowed_methods=_strings(control.get("allowed_file_upload_methods")),
        )
        for kind, control in entry.items()
        if isinstance(control, Mapping) and isinstance(control.get("variable"), str)
    ]


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _bytes(mebibytes: Any) -> int | None:
    """`system_parameters` counts in MiB (`parameters-file-small-limit`)."""
    known = isinstance(mebibytes, (int, float)) and not isinstance(mebibytes, bool) and mebibytes > 0
    return int(mebibytes * _MIB) if known else None
