"""The head of an HTTP request: parsed unambiguously or rejected."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.compat.http_request import HttpError, end_of_head, read_head
from tests.support.http_calls import CALL, with_fields


def test_request_of_curl_is_parsed() -> None:
    head = with_fields(
        "Host: localhost:8000", "User-Agent: curl/8.5.0", "Accept: */*", "Content-Length: 2",
        first="POST /api/dify/scheduler/start?interval_hours=2&job=daily HTTP/1.1",
    )  # fmt: skip
    request = read_head(head)
    assert (request.method, request.path) == ("POST", "/api/dify/scheduler/start")
    assert request.query == {"interval_hours": "2", "job": "daily"}
    assert (request.fields["host"], request.length, request.expects_continue) == ("localhost:8000", 2, False)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (with_fields("Host: a", first="POST  /x HTTP/1.1"), 400),
        (with_fields("Host: a", first="POST /x HTTP/2.0"), 400),
        (with_fields("Host: a", first="POST /x"), 400),
        (with_fields("Host: a", first="post /x HTTP/1.1"), 400),
        (with_fields("Host: a", first="POST http://evil/x HTTP/1.1"), 400),
        (with_fields("Host: a", first="POST x HTTP/1.1"), 400),
        (with_fields("Host: a", first="OPTIONS * HTTP/1.1"), 400),
        (with_fields("Host: a", first="POST /x\t HTTP/1.1"), 400),
        (with_fields("Host: a", first="POST /x?a=1&a=2 HTTP/1.1"), 400),
        (with_fields("Host: a", first="POST /x?a HTTP/1.1"), 400),
        (with_fields("Host: a", first="POST /x?a=%ff HTTP/1.1"), 400),
        (with_fields("Host: a", "Host: b"), 400),
        (with_fields("Host: a", "Content-Length: 5", "Content-Length: 6"), 400),
        (with_fields("Host: a", "Content-Length: 5", "Content-Length: 5"), 400),
        (with_fields("Host: a", "Content-Length: 5, 5"), 400),
        (with_fields("Host: a", "Content-Length: +5"), 400),
        (with_fields("Host: a", "Content-Length: -5"), 400),
        (with_fields("Host: a", "Content-Length: 0x5"), 400),
        (with_fields("Host: a", "Content-Length: \xb2"), 400),
        (with_fields("Host: a", "Content-Length: " + "9" * 30), 400),
        (with_fields("Host: a", "Content-Length:"), 400),
        (with_fields("Host: a", "Content-Length: 10000000"), 413),
        (with_fields("Host: a", "Transfer-Encoding: chunked"), 411),
        (with_fields("Host: a", "Content-Length: 5", "Transfer-Encoding: chunked"), 411),
        (with_fields("Host: a", "Transfer-Encoding: xchunked"), 411),
        (with_fields("Host: a", "Transfer-Encoding : chunked"), 400),
        (with_fields("Host: a", " Transfer-Encoding: chunked"), 400),
        (with_fields("Host: a", "X: a\n b"), 400),
        (with_fields("Host: a", "X: a", "\tfolded"), 400),
        (with_fields("Host: a", "X: a\rTransfer-Encoding: chunked"), 400),
        (with_fields("Host: a", "X: a\0b"), 400),
        (with_fields("Host: a", ": a"), 400),
        (with_fields("Host: a", "no colon"), 400),
        (with_fields("Host: a", "Authorization: Bearer a", "Authorization: Bearer b"), 400),
        (with_fields("Host: a", "Origin: http://a", "Origin: http://b"), 400),
        (with_fields("Host: a", *[f"X-{n}: 1" for n in range(70)]), 431),
        (b"\r\n\r\n", 400),
    ],
)
def test_ambiguous_request_is_rejected(head: bytes, status: int) -> None:
    with pytest.raises(HttpError) as caught:
        read_head(head)
    assert caught.value.status == status


def test_field_of_blanks_is_parsed_in_linear_time() -> None:
    assert read_head(with_fields("Host: \t a \t ")).fields["host"] == "a"
    began = time.process_time()
    with pytest.raises(HttpError):
        read_head(with_fields("Host: a", "X:" + " " * 8000 + "\0"))
    assert time.process_time() - began < 1


def test_head_that_is_too_long_or_has_bare_line_feeds_is_rejected() -> None:
    assert end_of_head(CALL[:-1]) is None
    assert end_of_head(CALL + b"rest") == len(CALL)
    with pytest.raises(HttpError, match="CR LF"):
        end_of_head(b"GET / HTTP/1.1\nHost: a\n\n")
    for data in (b"x" * 9000, b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n"):
        with pytest.raises(HttpError) as caught:
            end_of_head(data)
        assert caught.value.status == 431


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"POST /{text}\r\n\r\n".encode()))
def test_any_bytes_are_parsed_or_rejected(data: bytes) -> None:
    with contextlib.suppress(HttpError):
        end = end_of_head(data)
        if end is not None:
            read_head(data[:end])


@given(st.integers(0, len(CALL) - 1), st.binary(min_size=1, max_size=3))
def test_damaged_request_is_never_a_different_call(at: int, put: bytes) -> None:
    head = CALL[:at] + put + CALL[at + len(put) :]
    try:
        end = end_of_head(head)
        request = read_head(head[:end]) if end is not None else None
    except HttpError:
        return
    assert request is None or request.length == 0
