"""Validation and conversion of inputs, like on the recorded servers: `error-input-*`, `error-file-*`."""

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from .apps import App
from .files import ErrorResponse, Uploads, type_of

_TRUE, _FALSE = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


class InvalidParam(Exception):  # a response, not a crash
    """A 400 `invalid_param` with this message."""


def convert_inputs(
    app: App, inputs: Mapping[str, Any], uploads: Uploads, version: tuple[int, int]
) -> dict[str, Any]:
    """Convert inputs to those that the workflow gets; without a form they are unchanged.

    Args:
        app: The app.
        inputs: Inputs of the request.
        uploads: Uploads that the run can use.
        version: Version of the server.

    Raises:
        InvalidParam: An input is invalid.
        ErrorResponse: An input causes another error.
    """
    if not app.form:
        return dict(inputs)
    got = {}
    for entry in app.form:
        for kind, control in entry.items():
            name = control["variable"]
            value = inputs.get(name)
            if value is None:
                if control.get("required"):
                    raise InvalidParam(f"{name} is required in input form")
                got[name] = control.get("default")
            else:
                got[name] = _READ[kind](name, kind, value, control, uploads, version)
    return got


def _text(name: str, kind: str, value: Any, control: Mapping[str, Any], *_: Any) -> Any:
    if not isinstance(value, str):
        raise InvalidParam(f"(type '{kind}') {name} in input form must be a string")
    longest = control.get("max_length")
    if longest and len(value) > longest:
        raise InvalidParam(f"{name} in input form must be less than {longest} characters")
    return value


def _select(name: str, kind: str, value: Any, control: Mapping[str, Any], *_: Any) -> Any:
    _text(name, kind, value, {})
    if value not in control.get("options", ()):
        raise InvalidParam(f"{name} in input form must be one of the following: {control.get('options')}")
    return value


def _number(name: str, _kind: str, value: Any, *_: Any) -> Any:
    if isinstance(value, (list, dict)):  # `error-input-number-is-list`; since 1.15 in the stream
        message = f"expected value type int, float or str, got {type(value)}, value: {value}"
        raise ErrorResponse(500, "internal_server_error", message)
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        raise InvalidParam(f"{name} in input form must be a valid number") from None


def _checkbox(_name: str, _kind: str, value: Any, *_: Any) -> Any:
    word = value.strip().lower() if isinstance(value, str) else None
    return True if word in _TRUE else False if word in _FALSE else value


def _object(name: str, _kind: str, value: Any, _control: Any, _uploads: Any, version: tuple[int, int]) -> Any:
    if version >= (1, 12):
        if not isinstance(value, dict):
            raise InvalidParam(f"{name} in input form must be a dict")
        return value
    if not isinstance(value, str):
        raise InvalidParam(f"{name} in input form must be a string")
    try:
        data = json.loads(value)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise InvalidParam(f"{name} in input form must be a valid JSON object")
    return data


def _file(name: str, _kind: str, value: Any, control: Mapping[str, Any], uploads: Uploads, *_: Any) -> Any:
    if value == "":
        return None
    if not isinstance(value, dict):
        raise InvalidParam(f"{name} in input form must be a file")
    return _mapping(value, control, uploads)


def _files(name: str, _kind: str, value: Any, control: Mapping[str, Any], uploads: Uploads, *_: Any) -> Any:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidParam(f"{name} in input form must be a list of files")
    most = control.get("max_length")
    if most and len(value) > most:
        raise InvalidParam(f"{name} in input form must be less than {most} files")
    return [_mapping(item, control, uploads) for item in value]


def _mapping(item: Mapping[str, Any], control: Mapping[str, Any], uploads: Uploads) -> dict[str, Any]:
    method = item.get("transfer_method")
    if method is None:
        raise InvalidParam("transfer_method is required in file mapping")
    if method == "local_file":
        about = _uploaded(item, uploads)
    elif method == "remote_url":
        if not item.get("url"):
            raise InvalidParam("Invalid file url")
        path = urlsplit(str(item["url"])).path
        about = {"filename": path.rpartition("/")[2], "mime_type": "", "size": -1}
    else:
        raise InvalidParam(f"No matching enum found for value {method!r}")
    extension = "." + about["filename"].rpartition(".")[2].lower() if "." in about["filename"] else ""
    found = type_of(extension, about["mime_type"])
    if found != item.get("type", "custom"):
        raise InvalidParam("Detected file type does not match the specified type. Please verify the file.")
    allowed = control.get("allowed_file_types") or ()
    custom = found == "custom" and extension not in (control.get("allowed_file_extensions") or ())
    if (allowed and found not in (*allowed, "custom")) or custom:
        raise InvalidParam(f"File validation failed for file: {about['filename']}")
    return {
        "dify_model_identity": "__dify__file__",
        "type": found,
        "transfer_method": method,
        "remote_url": item.get("url"),
        "related_id": item.get("upload_file_id"),
        "extension": extension,
        **about,
    }


def _uploaded(item: Mapping[str, Any], uploads: Uploads) -> dict[str, Any]:
    upload_id = item.get("upload_file_id")
    if not upload_id:
        raise InvalidParam("Invalid upload file id")
    try:
        uuid.UUID(str(upload_id))
    except ValueError:
        raise InvalidParam("Invalid upload file id format") from None
    upload = uploads.found.get(str(upload_id))
    if upload is None:
        raise InvalidParam("Invalid upload file")
    return {"filename": upload.name, "mime_type": upload.mime_type, "size": upload.size}


_READ: Mapping[str, Callable[..., Any]] = {
    "text-input": _text,
    "paragraph": _text,
    "select": _select,
    "number": _number,
    "checkbox": _checkbox,
    "json_object": _object,
    "file": _file,
    "file-list": _files,
}
