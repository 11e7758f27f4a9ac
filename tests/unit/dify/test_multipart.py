"""Encoding the body of an upload: complete for any read sizes, and decodable by other parsers."""

from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.dify.multipart import Part
from dify_job.dify.transport import UnreadableFileError

letters = st.characters(codec="utf-8", exclude_characters="/\0")
names = st.text(letters, min_size=1, max_size=60).filter(lambda name: name not in (".", ".."))
pieces = st.lists(st.integers(1, 200), min_size=1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("upload")


@given(name=names, content=st.binary(max_size=300), sizes=pieces, user=st.text())
def test_body_is_complete_for_any_read_sizes(
    directory: Path, name: str, content: bytes, sizes: list[int], user: str
) -> None:
    path = directory / name
    path.write_bytes(content)
    part = Part(path, "text/plain")
    with part.opened(user) as body:
        for _ in range(2):
            body.rewind()
            read, turn = b"", 0
            while piece := body.read(sizes[turn % len(sizes)]):
                read += piece
                turn += 1
            assert len(read) == len(body)
    head = f"Content-Type: {body.content_type}\r\n\r\n".encode()
    parts = list(BytesParser(policy=HTTP).parsebytes(head + read).iter_parts())
    assert [one.get_param("name", header="Content-Disposition") for one in parts] == ["user", "file"]
    assert parts[1].get_payload(decode=True) == content
    assert parts[1].get_content_type() == "text/plain"
    assert part.name
    assert not set(part.name) & set('/\\:*?"<>|\r\n')
    path.unlink()


def test_truncated_file_is_not_sent_as_complete(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1000)
    with Part(path, "text/plain").opened("u") as body:
        body.read(len(body) - 1200)
        path.write_bytes(b"")
        with pytest.raises(UnreadableFileError, match="became shorter"):
            list(iter(lambda: body.read(100), b""))


def test_growing_file_is_sent_with_its_initial_size(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with Part(path, "text/plain").opened("u") as body:
        with path.open("ab") as file:
            file.write(b"y" * 1000)
        assert b"yy" not in b"".join(iter(lambda: body.read(100), b""))
