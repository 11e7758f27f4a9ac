import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.dify.chunked import Chunks


def chunked(*bodies: bytes, extension: bytes = b"") -> bytes:
    return b"".join(b"%x%b\r\n%b\r\n" % (len(body), extension, body) for body in bodies) + b"0\r\n\r\n"


def body_of(*pieces: bytes) -> bytes:
    chunks = Chunks()
    body = b"".join(chunks.feed(piece) for piece in pieces)
    assert chunks.ended
    return body


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(0, 300)))
def test_body_is_decoded_from_any_pieces(bodies: list[bytes], cuts: list[int]) -> None:
    stream = chunked(*bodies)
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    assert body_of(*(stream[a:b] for a, b in itertools.pairwise(edges))) == b"".join(bodies)


def test_extension_and_trailer_are_parsed_at_every_cut() -> None:
    stream = (
        chunked(b"a" * 17, b"\r\n\r\n0\r\n", b"end", extension=b"; name=value") + b"Expires: never\r\n\r\n"
    )
    for cut in range(len(stream)):
        assert body_of(stream[:cut], stream[cut:]) == b"a" * 17 + b"\r\n\r\n0\r\nend"
    assert body_of(*(stream[i : i + 1] for i in range(len(stream)))) == b"a" * 17 + b"\r\n\r\n0\r\nend"


def test_received_part_of_a_chunk_is_returned_at_once() -> None:
    chunks = Chunks()
    assert chunks.feed(b"10\r\nhalf") == b"half"
    assert chunks.feed(b" of it") == b" of it"
    assert not chunks.ended


@pytest.mark.parametrize("end", [b"0\r\n", b"0\n", b"0; last\r\n", b"000\r\nTrailer: 1\r\n\r\n"])
def test_last_chunk_ends_the_body_before_the_trailer(end: bytes) -> None:
    chunks = Chunks()
    assert chunks.feed(b"1\r\nx\r\n" + end) == b"x"
    assert chunks.ended


@pytest.mark.parametrize(
    "stream", [b"zz\r\nx", b"-1\r\nx", b"\r\n", b"3\r\nabcdef", b"1\r\nx22\r\n", b"x" * 70_000]
)
def test_invalid_chunk_is_rejected(stream: bytes) -> None:
    chunks = Chunks()
    with pytest.raises(ValueError, match=r"chunk|int"):
        chunks.feed(stream + b"\r\n" * (len(stream) < 100))


def test_large_chunk_is_not_copied() -> None:
    """20 MB in pieces of 64 KiB: each piece is returned without a copy, so the cost is linear."""
    chunks = Chunks()
    piece = b"x" * 65536
    assert chunks.feed(b"%x\r\n" % (300 * len(piece))) == b""
    assert all(chunks.feed(piece) is piece for _ in range(300))
    assert chunks.feed(b"\r\n0\r\n") == b""
    assert chunks.ended
