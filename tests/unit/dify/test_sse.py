import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.dify.models import IRRELEVANT_LINES, Event, read_event
from dify_job.dify.sse import Content, Parser, ServerSentEvent, content_of


def parse(*chunks: bytes) -> list[tuple[str, bytes]]:
    parser = Parser()
    return [(kind, data) for chunk in chunks for kind, data in parser.feed(chunk)]


# Examples of the WHATWG specification, and extensions in Dify's streams.
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
def test_stream_has_the_same_events_at_every_cut(name: str) -> None:
    stream, expected = STREAMS[name]
    assert parse(stream) == expected
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == expected
    for cut in range(len(stream) + 1):
        assert parse(stream[:cut], stream[cut:]) == expected, cut


def test_event_is_returned_with_the_first_byte_of_its_line_end() -> None:
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
def test_data_is_decoded_from_any_pieces(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    stream = b"".join(b"data: " + line + end for line in lines) + end
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert parse(*chunks) == [("message", b"\n".join(lines))]


def test_event_of_20_mb_takes_linear_time() -> None:
    """One buffer grows in place and is copied once, at the end."""
    parser = Parser(skip=IRRELEVANT_LINES)
    piece = b"x" * 65536
    assert list(parser.feed(b"data: ")) == []
    buffer = parser._line
    for _ in range(300):
        assert list(parser.feed(piece)) == []
        assert parser._line is buffer
    assert list(parser.feed(b"\n\n")) == [("message", piece * 300)]


# Lines that can be skipped, and lines that only look like those.
LINES = st.sampled_from(
    [
        b'data: {"event": "text_chunk", "data": {}}',
        b'data:{"event": "text_chunk"}',
        b'data: {"event":"tts_message"}',
        b'data: {"event": "text_chunk',
        b'data: {"event": "node_started"}',
        b'data: {"event": "workflow_finished", "data": {"status": "succeeded"}}',
        b"event: ping",
        b": text_chunk",
        b"data",
        b"",
        b"",
    ]
)


def read(parser: Parser, *chunks: bytes) -> list[Event]:
    events = (read_event(raw) for chunk in chunks for raw in parser.feed(chunk))
    return [event for event in events if event is not None]


@given(st.lists(LINES, max_size=12), st.sampled_from([b"\n", b"\r", b"\r\n"]), st.lists(st.integers(0, 400)))
def test_skipping_changes_no_event_at_any_cut(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    stream = b"".join(line + end for line in lines)
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert read(Parser(skip=IRRELEVANT_LINES), *chunks) == read(Parser(), stream)


def test_skipped_text_chunks_are_neither_split_nor_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[object] = []
    monkeypatch.setattr("dify_job.dify.models.loads_answer", decoded.append)
    event = b'data: {"event": "text_chunk", "data": {"text": "x"}}\n\n'
    assert list(Parser(skip=IRRELEVANT_LINES).feed(event * 1000)) == []
    for cut in range(len(event)):
        parser = Parser(skip=IRRELEVANT_LINES)
        for raw in (*parser.feed(event[:cut]), *parser.feed(event[cut:])):
            assert isinstance(raw, ServerSentEvent)
            assert read_event(raw) is None
    assert decoded == []


@pytest.mark.parametrize("skip", [(), IRRELEVANT_LINES])
def test_memory_does_not_grow_with_the_length_of_a_stream(skip: tuple[bytes, ...]) -> None:
    block = b'data: {"event": "text_chunk", "data": {"text": "%b"}}\n\n' % (b"x" * 1000) * 60

    def peak(blocks: int) -> int:
        parser = Parser(skip)
        tracemalloc.start()
        for _ in range(blocks):
            assert not [raw for raw in parser.feed(block) if read_event(raw) is not None]
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(200) < peak(5) + len(block)


def test_large_event_takes_at_most_twice_its_size_in_memory() -> None:
    size = 8_000_000
    stream = b'data: {"event": "workflow_finished", "x": "%b"}\n\n' % (b"x" * size)
    chunks = [stream[i : i + 65536] for i in range(0, len(stream), 65536)]
    del stream
    parser = Parser(skip=IRRELEVANT_LINES)
    tracemalloc.start()
    while chunks:
        for raw in parser.feed(chunks.pop(0)):
            assert len(raw.data) > size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.2 * size


@pytest.mark.parametrize("line", [b"data: " + b"x" * 60_000, b"data:", b"data"])
def test_pending_size_counts_all_lines_of_an_event(line: bytes) -> None:
    parser = Parser()
    before = 0
    for _ in range(50):
        assert list(parser.feed(line + b"\n")) == []
        assert parser.pending >= before + len(line)
        before = parser.pending
    assert len(list(parser.feed(b"\n"))) == 1
    assert parser.pending == 0


@pytest.mark.parametrize(
    ("head", "content"),
    [
        (b"", Content.UNDECIDED),
        (b"\xef\xbb", Content.UNDECIDED),
        (b"\xef\xbb\xbf\r\n da", Content.UNDECIDED),
        (b"da", Content.UNDECIDED),
        (b"data: {", Content.EVENTS),
        (b"event: ping\n\n", Content.EVENTS),
        (b": comment", Content.EVENTS),
        (b"\xef\xbb\xbfid:1", Content.EVENTS),
        (b'\n {"data": 1}', Content.JSON),
        (b"[1]", Content.JSON),
        (b"<html>", Content.OTHER),
        (b"database: down", Content.OTHER),
        (b"\n" * 5000, Content.UNDECIDED),
        (b"\n" * 5000 + b"id: 1", Content.EVENTS),
        (b"\n" * 2**20, Content.OTHER),
    ],
)
def test_content_type_is_detected_by_the_first_bytes(head: bytes, content: Content) -> None:
    assert content_of(head) is content
