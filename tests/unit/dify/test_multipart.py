"""Encoding the body of an upload: complete each time, and decodable by other parsers."""

from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.dify.multipart import opened_body
from dify_job.dify.transport import UnreadableFileError

letters = st.characters(codec="utf-8", exclude_characters="/\0")
names = st.text(letters, min_size=1, max_size=60).filter(lambda name: name not in (".", ".."))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("upload")


@given(name=names, content=st.binary(max_size=300), user=st.text())
def test_body_is_complete_each_time_it_is_sent(directory: Path, name: str, content: bytes, user: str) -> None:
    path = directory / name
    path.write_bytes(content)
    with opened_body(path, "text/plain", user) as body:
        sent = b"".join(body)
        assert b"".join(body) == sent
        assert len(sent) == len(body)
    head = f"Content-Type: {body.content_type}\r\n\r\n".encode()
    parts = list(BytesParser(policy=HTTP).parsebytes(head + sent).iter_parts())
    assert [one.get_param("name", header="Content-Disposition") for one in parts] == ["user", "file"]
    assert parts[1].get_payload(decode=True) == content
    assert parts[1].get_content_type() == "text/plain"
    [disposition] = [line for line in sent.split(b"\r\n") if b"filename=" in line]
    name_sent = disposition.split(b'filename="')[1].removesuffix(b'"')
    assert name_sent
    assert not set(name_sent) & set(b'/\\:*?"<>|')
    path.unlink()


def test_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1_000_000)
    with opened_body(path, "text/plain", "u") as body:
        pieces = list(body)
    assert max(map(len, pieces)) < 100_000
    assert sum(map(len, pieces)) == len(body)


def test_truncated_file_is_not_sent_as_complete(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1000)
    with opened_body(path, "text/plain", "u") as body:
        pieces = iter(body)
        next(pieces)
        path.write_bytes(b"")
        with pytest.raises(UnreadableFileError, match="became shorter"):
            list(pieces)


def test_growing_file_is_sent_with_its_initial_size(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with opened_body(path, "text/plain", "u") as body:
        with path.open("ab") as file:
            file.write(b"y" * 1000)
        assert b"yy" not in b"".join(body)
