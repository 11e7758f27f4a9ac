import mimetypes
from pathlib import Path

import pytest

from dify_job.dify.form import FormField
from dify_job.run.files import InputFile, file_type, find_files, mime_type_of, rejection_reason

DOCUMENTS = FormField(
    variable="f", kind="file", allowed_types=("document",), allowed_methods=("local_file", "remote_url")
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.xml", "document"), ("a.js", "document"), ("a.py", "document"), ("a.bin", "custom"), ("a", "custom")],
)
def test_type_does_not_depend_on_mime_tables_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / name).write_text("x")
    [file] = find_files({"f": [str(tmp_path / name)]})["f"]
    for table in ({}, {".xml": "application/xml", ".js": "application/javascript", ".bin": "text/plain"}):
        monkeypatch.setattr(mimetypes, "types_map", table)
        monkeypatch.setattr(mimetypes, "guess_type", lambda *_: ("application/x-other", None))
        assert find_files({"f": [str(tmp_path / name)]})["f"] == (file,)
        assert file_type(file, DOCUMENTS) == kind
        assert (rejection_reason(file, DOCUMENTS, {}) is None) == (kind == "document")


def test_url_with_unknown_extension_is_left_to_the_server() -> None:
    file = InputFile("f", "a.rst", mime_type_of("a.rst"), url="https://example.com/a.rst")
    assert rejection_reason(file, DOCUMENTS, {}) is None


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("remote_url", "the app takes only http or https addresses for the input f, not the file a.txt"),
        (
            "local_file",
            "the app takes only uploaded files for the input f, not the address https://example.com/a.txt",
        ),
    ],
)
def test_file_with_an_upload_method_that_the_app_forbids_is_rejected(method: str, reason: str) -> None:
    sent = {
        "local_file": InputFile("f", "a.txt", mime_type_of("a.txt"), path=Path("a.txt")),
        "remote_url": InputFile("f", "a.txt", mime_type_of("a.txt"), url="https://example.com/a.txt"),
    }
    form = DOCUMENTS._replace(allowed_methods=(method,))
    assert rejection_reason(sent.pop(method), form, {}) is None
    [other] = sent.values()
    assert rejection_reason(other, form, {}) == reason
