"""Uploads, and files in outputs, like on the recorded servers."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

_MIB = 1024 * 1024
_LONGEST_NAME = 200
_TYPES = {
    "image": ("jpg", "jpeg", "png", "webp", "gif", "svg"),
    "video": ("mp4", "mov", "mpeg", "webm"),
    "audio": ("mp3", "m4a", "wav", "amr", "mpga"),
    "document": ("txt", "markdown", "md", "mdx", "pdf", "html", "htm", "xlsx", "xls", "docx", "csv"),
}
_IN_MIME = {"image": "image", "video": "video", "audio": "audio", "text": "document", "pdf": "document"}
_LIMITS = {
    "image": "image_file_size_limit",
    "audio": "audio_file_size_limit",
    "video": "video_file_size_limit",
}


class ErrorResponse(Exception):  # a response, not a crash
    """An error response.

    Args:
        status: HTTP status.
        code: Error code of Dify.
        message: Error message.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file.

    Attributes:
        name: File name.
        mime_type: MIME type.
        size: Size in bytes.
        user: End user that can use it; None for every user.
        content: Content.
        key: Key of the app that can use it; empty for every app.
    """

    name: str
    mime_type: str
    size: int
    user: str | None
    content: bytes
    key: str = ""


@dataclass(slots=True)
class Uploads:
    """All uploads.

    Attributes:
        found: Uploads by ID.
        blocked: File name extensions that the operator blocks.
        limits: Limits in MiB, as in `system_parameters`.
    """

    found: dict[str, Upload] = field(default_factory=dict)
    blocked: tuple[str, ...] = ()
    limits: dict[str, int] = field(
        default_factory=lambda: {
            "file_size_limit": 15,
            "image_file_size_limit": 10,
            "audio_file_size_limit": 50,
            "video_file_size_limit": 100,
            "workflow_file_upload_limit": 10,
        }
    )

    def of(self, user: str, key: str) -> "Uploads":
        """Return the uploads that a run of this user and app can use (`file-of-another-user`, 1.16)."""
        own = {
            upload_id: upload
            for upload_id, upload in self.found.items()
            if upload.user in (None, user) and upload.key in ("", key)
        }
        return Uploads(own, self.blocked, self.limits)

    def store(self, content_type: str | None, raw: bytes, key: str = "") -> Mapping[str, Any]:
        """Store an upload.

        Args:
            content_type: Header of the request.
            raw: Body of the request.
            key: Key of the app.

        Returns:
            The response, like `upload-txt`.

        Raises:
            ErrorResponse: The upload is rejected, like `error-upload-*`.
        """
        form = f"Content-Type: {content_type}\r\n\r\n".encode() + raw
        parts = [part for part in BytesParser(policy=HTTP).parsebytes(form).walk() if not part.is_multipart()]
        named = {part.get_param("name", header="Content-Disposition"): part for part in reversed(parts)}
        part = named.get("file")
        if part is None or part.get_filename() is None:
            raise ErrorResponse(400, "no_file_uploaded", "Please upload your file.")
        if sum(one.get_filename() is not None for name, one in named.items()) > 1:
            raise ErrorResponse(400, "too_many_files", "Only one file is allowed.")
        name = str(part.get_filename())
        if not name:
            raise ErrorResponse(400, "filename_not_exists_error", "The specified filename does not exist.")
        if "Content-Type" not in part:
            raise ErrorResponse(415, "unsupported_file_type", "File type not allowed.")
        if set(name) & set('/\\:*?"<>|'):
            raise ErrorResponse(400, "invalid_param", "Filename contains invalid characters")
        extension = name.rpartition(".")[2].lower() if "." in name else ""
        if extension in self.blocked:
            message = f"File extension '.{extension}' is not allowed for security reasons"
            raise ErrorResponse(400, "invalid_param", message)
        if len(name) > _LONGEST_NAME:  # `upload-filename-250`
            name = name.partition(".")[0][:_LONGEST_NAME] + "." + extension
        content = part.get_payload(decode=True)
        content = content if isinstance(content, bytes) else b""
        limit = self.limits[_LIMITS.get(type_of("." + extension, ""), "file_size_limit")] * _MIB
        if len(content) > limit:
            raise ErrorResponse(413, "file_too_large", "File size exceeded. {message}")
        user = named.get("user")
        text = str(user.get_payload()) if user is not None else None
        mime_type, upload_id = part.get_content_type(), str(uuid.uuid4())
        self.found[upload_id] = Upload(name, mime_type, len(content), text, content, key)
        return {
            "id": upload_id,
            "name": name,
            "size": len(content),
            "extension": extension,
            "mime_type": mime_type,
            "created_by": str(uuid.uuid4()),
            "created_at": int(time.time()),
            "preview_url": None,
            "source_url": "",
        }


def type_of(extension: str, mime_type: str) -> str:
    """Return the type that the server detects: by the extension, else by the MIME type."""
    for kind, extensions in _TYPES.items():
        if extension.lstrip(".").lower() in extensions:
            return kind
    return next((kind for word, kind in _IN_MIME.items() if word in mime_type), "custom")


def returned(name: str, mime_type: str, size: int, url: str) -> dict[str, Any]:
    """Return a file in the outputs of a run (`run-blocking-filemaker`)."""
    return {
        "dify_model_identity": "__dify__file__",
        "id": None,
        "tenant_id": str(uuid.uuid4()),
        "type": type_of("." + name.rpartition(".")[2], mime_type),
        "transfer_method": "tool_file",
        "remote_url": None,
        "related_id": str(uuid.uuid4()),
        "filename": name,
        "extension": "." + name.rpartition(".")[2] if "." in name else "",
        "mime_type": mime_type,
        "size": size,
        "url": url,
    }
