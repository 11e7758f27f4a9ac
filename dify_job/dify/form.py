"""The input form of an app, from `GET /parameters`. Pure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from .models import json_object

FILE_KINDS = frozenset({"file", "file-list"})
_MIB = 1024 * 1024
_LIMITS = {"document": "file_size_limit"} | {
    kind: f"{kind}_file_size_limit" for kind in ("image", "audio", "video")
}


class FormField(NamedTuple):
    """One input.

    Attributes:
        variable: Its name in `inputs`.
        kind: text-input, paragraph, number, select, checkbox, json_object, file or file-list.
        max_length: Maximum number of characters of a text, or of files of a list.
        allowed_types: Of files: image, document, audio, video, custom.
        allowed_extensions: Of files, with their dot.
        allowed_methods: How a file can be given: local_file, remote_url.
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
        """True for an input that a job sets in `files`, not in `inputs`."""
        return self.kind in FILE_KINDS


class Parameters(NamedTuple):
    """The form of an app, and the limits of its server for files.

    Attributes:
        limits: The maximum file size in bytes by type (document, image, audio, video), as far as the server
            reports it.
    """

    form: tuple[FormField, ...] = ()
    limits: Mapping[str, int] = MappingProxyType({})

    def field(self, variable: str) -> FormField | None:
        """Return the field of an input."""
        return next((one for one in self.form if one.variable == variable), None)


def read_parameters(body: bytes) -> Parameters | None:
    """Parse the answer of `GET /parameters`; None if it is not an answer of Dify (`parameters-echo`)."""
    data = json_object(body)
    if data is None or not isinstance(data.get("user_input_form"), list):
        return None
    system = data.get("system_parameters")
    sizes = system if isinstance(system, dict) else {}
    return Parameters(
        form=tuple(field for entry in data["user_input_form"] for field in _fields(entry)),
        limits={
            kind: size for kind, name in _LIMITS.items() if (size := _bytes(sizes.get(name))) is not None
        },
    )


def empty_required(form: Sequence[FormField], given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the required inputs of a form without a value.

    Args:
        form: The fields of the app's form.
        given: Inputs and files by name. An empty text counts as no value, unlike in Dify.
    """
    filled = {name for name, value in given.items() if value not in (None, "", (), [], {})}
    return tuple(field.variable for field in form if field.required and field.variable not in filled)


def _fields(entry: Any) -> list[FormField]:
    """Return the field of one entry, an object with the kind as its only key; empty if it is malformed."""
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
    """Convert MiB, the unit of `system_parameters` (`parameters-file-small-limit`), to bytes."""
    known = isinstance(mebibytes, (int, float)) and not isinstance(mebibytes, bool) and mebibytes > 0
    return int(mebibytes * _MIB) if known else None
