"""Raw requests to the HTTP interface, and reading of responses."""

import socket

CALL = b"POST /api/dify/call HTTP/1.1\r\nHost: localhost:8000\r\n\r\n"


def with_fields(*fields: str, first: str = "POST /api/dify/call HTTP/1.1") -> bytes:
    """Return the head of a request with these header lines."""
    return "\r\n".join([first, *fields, "", ""]).encode("latin-1")


def read_response(client: socket.socket) -> bytes:
    """Read until the server closes the connection, and close it."""
    data = b""
    with client:
        client.settimeout(15)
        while part := client.recv(65536):
            data += part
    return data
