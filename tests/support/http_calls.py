"""Requests to the HTTP interface as bytes."""

CALL = b"POST /api/dify/call HTTP/1.1\r\nHost: localhost:8000\r\n\r\n"


def with_fields(*fields: str, first: str = "POST /api/dify/call HTTP/1.1") -> bytes:
    return "\r\n".join([first, *fields, "", ""]).encode("latin-1")
