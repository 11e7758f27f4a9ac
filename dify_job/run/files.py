"""Input files of a run: find them, check them against the app's form, and name them in the request.

The types follow Dify's api/factories/file_factory.py (1.11) and the recordings `upload-*`, `error-upload-*`
and `error-file-*`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from .. import log
from ..dify.form import FormField, Parameters
from ..dify.multipart import open_plain
from ..dify.transport import UnreadableFileError
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import join, msg, text_of

_TYPES = {
    "image": ("jpg", "jpeg", "png", "webp", "gif", "svg"),
    "video": ("mp4", "mov", "mpeg", "webm"),
    "audio": ("mp3", "m4a", "wav", "amr", "mpga"),
    "document": (
        "txt", "markdown", "md", "mdx", "pdf", "html", "htm", "xlsx", "xls", "docx", "csv", "vtt",
        "properties",
    ),
}  # fmt: skip
_TYPE_OF = {extension: kind for kind, extensions in _TYPES.items() for extension in extensions}
_BY_MIME = {"image": "image", "video": "video", "audio": "audio", "text": "document", "pdf": "document"}
# Documents on a server with ETL_TYPE=Unstructured, otherwise of type custom.
_DEPENDS = ("doc", "ppt", "pptx", "eml", "msg", "epub")
_UNKNOWN = "application/octet-stream"
# The MIME types of uploads. The machine's table (/etc/mime.types) and Python's differ, and the server uses
# this type for extensions that its lists lack.
_MIME_TYPES = {
    "image": {"jpg": "jpeg", "jpeg": "jpeg", "svg": "svg+xml", "tif": "tiff", "tiff": "tiff", "ico": "x-icon"}
    | {name: name for name in ("png", "webp", "gif", "bmp", "heic", "heif", "avif")},
    "video": {"mp4": "mp4", "mov": "quicktime", "avi": "x-msvideo", "mkv": "x-matroska"}
    | {name: name for name in ("mpeg", "webm")},
    "audio": {"mp3": "mpeg", "mpga": "mpeg", "m4a": "mp4", "aif": "x-aiff"}
    | {name: name for name in ("wav", "amr", "aac", "ogg", "opus", "flac")},
    "text": {
        "md": "markdown",
        "mdx": "markdown",
        "markdown": "markdown",
        "htm": "html",
        "tsv": "tab-separated-values",
    }
    | {"js": "javascript", "mjs": "javascript", "py": "x-python", "ics": "calendar", "vcf": "vcard"}
    | {name: name for name in ("html", "xml", "css", "csv", "vtt")}
    | dict.fromkeys(("txt", "text", "log", "properties", "conf", "ini", "c", "h", "bat"), "plain"),
    "application": {"doc": "msword", "xls": "vnd.ms-excel", "ppt": "vnd.ms-powerpoint"}
    | {"msg": "vnd.ms-outlook", "epub": "epub+zip", "gz": "gzip", "tgz": "gzip"}
    | {"docx": "vnd.openxmlformats-officedocument.wordprocessingml.document"}
    | {"xlsx": "vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
    | {"pptx": "vnd.openxmlformats-officedocument.presentationml.presentation"}
    | {name: name for name in ("pdf", "json", "zip", "rtf", "yaml", "toml")},
    "message": {"eml": "rfc822"},
}
_MIME_TYPE_OF = {name: f"{kind}/{sub}" for kind, names in _MIME_TYPES.items() for name, sub in names.items()}


class InputFile(NamedTuple):
    """One file of one input: a local file with its size in bytes, or an address."""

    variable: str
    name: str
    mime_type: str
    path: Path | None = None
    size: int = 0
    url: str = ""

    @property
    def extension(self) -> str:
        """The extension in lower case, without the dot."""
        return PurePosixPath(self.name).suffix.lstrip(".").lower()


def mime_type_of(name: str) -> str:
    """Return the MIME type of an upload, by the file name."""
    return _MIME_TYPE_OF.get(PurePosixPath(name).suffix.lstrip(".").lower(), _UNKNOWN)


def find_files(files: Mapping[str, Sequence[str]]) -> dict[str, tuple[InputFile, ...]]:
    """Find every file before any call is made.

    Args:
        files: Paths and addresses by the name of their input.

    Raises:
        JobError: A file cannot be read (no-input), or is neither a path nor an address (config).
    """
    return {key: tuple(_find_file(key, name) for name in names) for key, names in files.items()}


def file_type(file: InputFile, field: FormField) -> str:
    """Return the type that the server detects; the request must name it (`error-file-type-mismatch`).

    Args:
        file: The file.
        field: The field of its input.
    """
    extension = file.extension
    if extension in _TYPE_OF:
        return _TYPE_OF[extension]
    if extension in _DEPENDS:
        return "custom" if f".{extension}" in _lower(field.allowed_extensions) else "document"
    found = next((kind for word, kind in _BY_MIME.items() if word in file.mime_type), None)
    if found is None and file.url:
        # The address does not show the type, and Dify checks the downloaded file.
        found = next((kind for kind in field.allowed_types if kind != "custom"), None)
    return found or "custom"


def rejection_reason(file: InputFile, field: FormField, limits: Mapping[str, int]) -> str | None:
    """Return why the app or its server will reject a file, as the end of a sentence, or None.

    Args:
        file: The file.
        field: The field of its input.
        limits: The limits of the server, in bytes.
    """
    kind = file_type(file, field)
    allowed = field.allowed_types
    by_extension = "custom" in allowed and f".{file.extension}" in _lower(field.allowed_extensions)
    if allowed and not by_extension and (kind == "custom" or kind not in allowed):
        return msg(
            "the file {file} has the type {kind}, but the input {key} takes only {allowed}",
            kind=kind,
            allowed=_accepted_types(field),
            file=display_name(file),
            key=field.variable,
        )
    method = "remote_url" if file.url else "local_file"
    if kind != "image" and field.allowed_methods and method not in field.allowed_methods:
        if file.url:
            return msg(
                "the app takes only uploaded files for the input {key}, not the address {file}",
                file=display_name(file),
                key=field.variable,
            )
        return msg(
            "the app takes only http or https addresses for the input {key}, not the file {file}",
            file=display_name(file),
            key=field.variable,
        )
    limit = limits.get(kind if kind in ("image", "audio", "video") else "document")
    if not file.url and limit is not None and file.size > limit:
        return msg(
            "the file {file} for the input {key} has {size} bytes, but the server "
            "takes at most {limit} bytes for the type {kind}",
            size=file.size,
            limit=limit,
            kind=kind,
            file=display_name(file),
            key=field.variable,
        )
    return None


def check_files(files: Mapping[str, Sequence[InputFile]], form: Parameters) -> None:
    """Check the files against the form and the limits before any is sent.

    Args:
        files: The files by the name of their input.
        form: The form of the app, with the limits of its server.

    Raises:
        JobError: (rejected) Files do not match the form; the error lists every mistake.
    """
    mistakes: list[str] = []
    for key, given in files.items():
        field = form.field(key)
        if field is None:
            mistakes.append(
                msg("the job gives a file for the input {key}, but the app has no such input", key=key)
            )
        elif not field.takes_files:
            mistakes.append(
                msg("the input {key} takes no file, because its type is {kind}", key=key, kind=field.kind)
            )
        elif field.kind == "file" and len(given) > 1:
            mistakes.append(
                msg(
                    "the input {key} takes one file, but the job gives {count} files",
                    key=key,
                    count=len(given),
                )
            )
        elif field.max_length is not None and len(given) > field.max_length:
            mistakes.append(
                msg(
                    "the input {key} takes at most {maximum} files, but the job gives {count} files",
                    key=key,
                    maximum=field.max_length,
                    count=len(given),
                )
            )
        else:
            mistakes += filter(None, (rejection_reason(file, field, form.limits) for file in given))
    if mistakes:
        raise JobError(
            Outcome.REJECTED,
            join("; ", mistakes),
            msg("compare the job's files with the input fields of the app's Start node in Dify"),
        )


def request_value(file: InputFile, field: FormField, upload_id: str | None) -> dict[str, Any]:
    """Return the request's value for one file.

    Args:
        file: The file.
        field: The field of its input.
        upload_id: The server's id of a local file; None for an address.
    """
    kind = file_type(file, field)
    if upload_id is None:
        return {"type": kind, "transfer_method": "remote_url", "url": file.url}
    return {"type": kind, "transfer_method": "local_file", "upload_file_id": upload_id}


def display_name(file: InputFile) -> str:
    """Return the name of the file for a message; the query of an address can be a secret."""
    if file.path is not None:
        return str(file.path)
    parts = urlsplit(file.url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _find_file(key: str, name: str) -> InputFile:
    if "://" in name:
        parts = urlsplit(name)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise JobError(
                Outcome.CONFIG,
                msg("a file of the input {key} is neither a path nor an http or https address", key=key),
                msg("give a local file by its path, or an http or https address that Dify itself can fetch"),
            )
        for secret in (parts.query, parts.password or ""):
            log.add_secret(secret)  # a signature, which Dify quotes if it cannot fetch the file
        base = unquote(PurePosixPath(parts.path).name)
        return InputFile(key, base, mime_type_of(base), url=name)
    path = Path(name).expanduser()
    if not path.is_absolute():
        raise JobError(
            Outcome.CONFIG,
            msg("the file {name} of the input {key} is not an absolute path", name=name, key=key),
            msg("write the absolute path of the file, beginning with /"),
        )
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
    except UnreadableFileError as error:
        raise no_input(key, path, text_of(error)) from None
    return InputFile(key, path.name, mime_type_of(path.name), path, size)


def no_input(key: str, path: Path, why: str) -> JobError:
    """Return the error for a file that does not exist or cannot be read.

    Args:
        key: The input.
        path: The file.
        why: The reason.
    """
    return JobError(
        Outcome.NO_INPUT,
        msg("the file {path} of the input {key} cannot be read: {reason}", path=path, key=key, reason=why),
        msg(
            "a system job reads files as the user of its unit; to check the path and its "
            "permissions, run: {command}",
            command=command("ls", "-l", str(path)),
        ),
    )


def _lower(extensions: Sequence[str]) -> set[str]:
    return {extension.lower() for extension in extensions}


def _accepted_types(field: FormField) -> str:
    taken = [kind for kind in field.allowed_types if kind != "custom"]
    taken += field.allowed_extensions if "custom" in field.allowed_types else ()
    return join(", ", taken) or msg("none")
