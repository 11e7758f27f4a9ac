"""The fake Dify server handles files like the recorded servers: each recorded request is sent to it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.fake_dify.apps import App
from tests.support.fake_dify.files import Upload
from tests.support.fake_dify.server import FakeDify
from tests.support.patience import PATIENCE
from tests.support.recordings import KEY, Recording, load, names

SERVERS = ("1.11.2", "1.12.1")
APPS = {"file": KEY, "file-required": "app-required"}
# Dify fetched these URLs, which the fake server does not; a proxy answered; another key or other settings;
# test_demo_fidelity sends 15 MB.
NOT_COMPARABLE = {
    "error-file-remote-bad-url", "error-file-remote-closed-port",
    "error-upload-too-large-nginx-413", "error-upload-wrong-key", "error-upload-api-disabled",
    "error-upload-too-large-1mb", "error-upload-too-large-txt", "upload-at-limit-txt",
}  # fmt: skip
FILES = [load(version, name) for version in SERVERS for name in names(version) if name not in NOT_COMPARABLE]
UPLOADS = [recording for recording in FILES if recording.path == "/v1/files/upload"]
RUNS = [r for r in FILES if r.path == "/v1/workflows/run" and r.app in APPS and "streaming" not in r.name]


def name_of(recording: Recording) -> str:
    return f"{recording.version}-{recording.name}"


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, FakeDify]]:
    made = {version: FakeDify([], version=version) for version in SERVERS}
    for version, server in made.items():
        for name, key in APPS.items():
            form = json.loads(load(version, f"parameters-{name}").bytes)["user_input_form"]
            server.apps[key] = App(key, form=tuple(form))
        for recording in UPLOADS:
            if recording.version == version and recording.status == 201:
                data = json.loads(recording.bytes)
                upload = Upload(data["name"], data["mime_type"], data["size"], None, b"")
                server.uploads.found[data["id"]] = upload
        server.__enter__()
    yield made
    for server in made.values():
        server.__exit__()


def test_enough_recordings_are_comparable() -> None:
    assert len(UPLOADS) > 40
    assert len(RUNS) > 40


@pytest.mark.parametrize("recording", RUNS, ids=name_of)
def test_response_to_a_run_with_files_equals_the_recording(
    servers: dict[str, FakeDify], recording: Recording
) -> None:
    server = servers[recording.version]
    for upload_id in ids_in(recording.request["inputs"]):
        known = upload_id in server.uploads.found or not upload_id[:8].strip("0") or upload_id == "abc"
        if not known:  # its upload was not recorded
            kind = ("a.png", "image/png") if recording.status == 200 else ("n.txt", "text/plain")
            server.uploads.found[upload_id] = Upload(*kind, 1, None, b"")
    answer = send(server, APPS[recording.app], "/workflows/run", json=recording.request)
    assert answer == recorded(recording)


@pytest.mark.parametrize("recording", UPLOADS, ids=name_of)
def test_response_to_an_upload_equals_the_recording(
    servers: dict[str, FakeDify], recording: Recording
) -> None:
    server = servers[recording.version]
    server.uploads.blocked = ("exe",) if "blocked" in recording.name else ()
    parts = recording.request.get("multipart") if recording.request else None
    if parts is None:
        answer = send(server, KEY, "/files/upload", json=recording.request)
    else:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = send(server, KEY, "/files/upload", data=multipart(parts), headers=headers)
    assert answer == recorded(recording)


def send(server: FakeDify, key: str, path: str, **settings: Any) -> tuple[Any, ...]:
    headers = {"Authorization": f"Bearer {key}"} | settings.pop("headers", {})
    response = requests.post(server.base_url + path, headers=headers, timeout=PATIENCE, **settings)
    return outcome(response.status_code, response.json())


def recorded(recording: Recording) -> tuple[Any, ...]:
    return outcome(recording.status, json.loads(recording.bytes))


def outcome(status: int | None, body: dict[str, Any]) -> tuple[Any, ...]:
    """The parts of a response that do not differ from run to run."""
    return status, *(body.get(key) for key in ("code", "message", "name", "size", "extension", "mime_type"))


def ids_in(inputs: dict[str, Any]) -> list[str]:
    items = [item for value in inputs.values() for item in (value if isinstance(value, list) else [value])]
    return [item["upload_file_id"] for item in items if isinstance(item, dict) and "upload_file_id" in item]


def multipart(request: dict[str, Any]) -> bytes:
    parts = [f'form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in request["fields"].items()]
    for file in request["files"]:
        filename = "" if file["filename"] is None else f'; filename="{file["filename"]}"'
        kind = "" if file["content_type"] is None else f"\r\nContent-Type: {file['content_type']}"
        head = f'form-data; name="{file["field"]}"{filename}{kind}\r\n\r\n'
        parts.append(head.encode() + b"x" * file["bytes"])
    return b"".join(b"--b\r\nContent-Disposition: " + part + b"\r\n" for part in parts) + b"--b--\r\n"
