import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.dify.sse import Parser


def parse(*chunks: bytes) -> list[tuple[str, bytes]]:
    parser = Parser()
    return [tuple(event) for chunk in chunks for event in parser.feed(chunk)]


# The examples of the WHATWG page, and what Dify's streams add to them.
STREAMS = {
    "the three fields of the stock ticker": (
        b"data: YHOO\ndata: +2\ndata: 10\n\n",
        [("message", b"YHOO\n+2\n10")],
    ),
    "a comment, an id and an id reset": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [("message", b"first event"), ("message", b"second event"), ("message", b" third event")],
    ),
    "empty data and a block that is never closed": (
        b"data\n\ndata\ndata\n\ndata:",
        [("message", b""), ("message", b"\n")],
    ),
    "with and without the space": (b"data:test\n\ndata: test\n\n", [("message", b"test")] * 2),
    "a ping without data is no event": (b"event: ping\n\ndata: {}\n\n", [("message", b"{}")]),
    "the name is forgotten after the empty line": (
        b"event: a\ndata: 1\n\ndata: 2\n\n",
        [("a", b"1"), ("message", b"2")],
    ),
    "carriage returns": (
        b"data: 1\r\rdata: 2\r\n\r\ndata: 3\r\n\n",
        [("message", b"1"), ("message", b"2"), ("message", b"3")],
    ),
    "a byte order mark": (b"\xef\xbb\xbfdata: 1\n\n", [("message", b"1")]),
    "U+2028, U+0085 and an emoji are data": (
        'data: {"a": "x\u2028y\u0085z\U0001f600"}\n\n'.encode(),
        [("message", '{"a": "x\u2028y\u0085z\U0001f600"}'.encode())],
    ),
    "unknown fields and retry": (b"retry: 10\nfoo: bar\nfoo\ndata: 1\n\n", [("message", b"1")]),
    "an event without its empty line is a cut": (b"data: 1\n\ndata: 2\n", [("message", b"1")]),
}


@pytest.mark.parametrize("name", STREAMS)
def test_every_stream_gives_the_same_events_at_every_cut(name: str) -> None:
    stream, expected = STREAMS[name]
    assert parse(stream) == expected
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == expected
    for cut in range(len(stream) + 1):
        assert parse(stream[:cut], stream[cut:]) == expected, cut


def test_an_event_is_given_with_the_first_byte_of_its_line_end() -> None:
    assert parse(b"data: 1\r\r") == [("message", b"1")]


@given(
    st.lists(
        st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
    st.lists(st.integers(0, 200)),
)
def test_data_comes_back_whole_however_it_is_cut(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    stream = b"".join(b"data: " + line + end for line in lines) + end
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert parse(*chunks) == [("message", b"\n".join(lines))]


def test_one_event_of_20_mb_is_linear_and_whole() -> None:
    data = b"x" * 20_000_000
    stream = b"data: " + data + b"\n\n"
    chunks = [stream[i : i + 65536] for i in range(0, len(stream), 65536)]
    assert parse(*chunks) == [("message", data)]
