"""Uploads, and the files that workflows return, as the recorded servers have them."""

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


class Refused(Exception):  # an answer, not a fault
    """An answer that is none of the good ones."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Upload:
    """One file that came. user: None and key: empty where anybody may use it."""

    name: str
    mime_type: str
    size: int
    user: str | None
    content: bytes
    key: str = ""


@dataclass(slots=True)
class Uploads:
    """What was uploaded. limits: as `system_parameters` tells them, in MiB. blocked: the operator's list."""

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
        """The uploads that a run of this user and app may use (`file-of-another-user`, 1.16)."""
        own = {
            upload_id: upload
            for upload_id, upload in self.found.items()
            if upload.user in (None, user) and upload.key in ("", key)
        }
        return Uploads(own, self.blocked, self.limits)

    def take(self, content_type: str | None, raw: bytes, key: str = "") -> Mapping[str, Any]:
        """The answer to one upload, `upload-txt`. Raises Refused, as the recordings `error-upload-*`."""
        form = f"Content-Type: {content_type}\r\n\r\n".encode() + raw
        parts = [part for part in BytesParser(policy=HTTP).parsebytes(form).walk() if not part.is_multipart()]
        named = {part.get_param("name", header="Content-Disposition"): part for part in reversed(parts)}
        part = named.get("file")
        if part is None or part.get_filename() is None:
            raise Refused(400, "no_file_uploaded", "Please upload your file.")
        if sum(one.get_filename() is not None for name, one in named.items()) > 1:
            raise Refused(400, "too_many_files", "Only one file is allowed.")
        name = str(part.get_filename())
        if not name:
            raise Refused(400, "filename_not_exists_error", "The specified filename does not exist.")
        if "Content-Type" not in part:
            raise Refused(415, "unsupported_file_type", "File type not allowed.")
        if set(name) & set('/\\:*?"<>|'):
            raise Refused(400, "invalid_param", "Filename contains invalid characters")
        extension = name.rpartition(".")[2].lower() if "." in name else ""
        if extension in self.blocked:
            message = f"File extension '.{extension}' is not allowed for security reasons"
            raise Refused(400, "invalid_param", message)
        if len(name) > _LONGEST_NAME:  # `upload-filename-250`
            name = name.partition(".")[0][:_LONGEST_NAME] + "." + extension
        content = part.get_payload(decode=True)
        content = content if isinstance(content, bytes) else b""
        limit = self.limits[_LIMITS.get(type_of("." + extension, ""), "file_size_limit")] * _MIB
        if len(content) > limit:
            raise Refused(413, "file_too_large", "File size exceeded. {message}")
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
    """The type that the server finds, by the extension before the MIME type."""
    for kind, extensions in _TYPES.items():
        if extension.lstrip(".").lower() in extensions:
            return kind
    return next((kind for word, kind in _IN_MIME.items() if word in mime_type), "custom")


def returned(name: str, mime_type: str, size: int, url: str) -> dict[str, Any]:
    """A file in a run's outputs (`run-blocking-filemaker`)."""
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
