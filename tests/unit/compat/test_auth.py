"""Authorisation of HTTP requests."""

import pytest

from dify_job.compat.auth import Guard, Peer
from dify_job.compat.http_request import HttpError, Request, read_head
from tests.support.http_calls import with_fields


def asked(*fields: str) -> Request:
    return read_head(with_fields(*fields))


ALICE = Peer("127.0.0.1", 1000)


BY_SOCKET = Guard(frozenset({0, 1000}))


BY_TOKEN = Guard(frozenset({0, 1000}), b"0123456789abcdef0123")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
def test_installing_user_and_root_are_authorised_by_their_uid(host: str) -> None:
    BY_SOCKET.admit(ALICE)
    BY_SOCKET.admit(Peer("127.0.0.1", 0))
    BY_SOCKET.admit(Peer("::1", 0))
    BY_SOCKET.check(asked(f"Host: {host}"))
    BY_SOCKET.check(asked(f"Host: {host}", f"Origin: http://{host}", "Sec-Fetch-Site: same-origin"))


@pytest.mark.parametrize(
    "peer",
    [
        Peer("127.0.0.1", 1001),
        Peer("127.0.0.1"),
        Peer("192.0.2.7", 1000),
        Peer("192.0.2.7", 0),
        Peer("::2", 0),
    ],
)
def test_other_users_are_rejected(peer: Peer) -> None:
    with pytest.raises(HttpError, match="only root"):
        BY_SOCKET.admit(peer)


@pytest.mark.parametrize(
    "fields",
    [
        ["Host: evil.example.com"],
        ["Host: localhost.evil.example.com:8000"],
        ["Host: 127.0.0.1.nip.io"],
        ["Host: 192.0.2.1:8000"],
        ["Host: localhost:8000", "Origin: http://evil.example.com"],
        ["Host: localhost:8000", "Origin: null"],
        ["Host: localhost:8000", "Origin: http://localhost:8000.evil.example.com"],
        ["Host: localhost:8000", "Origin: http://localhost:3000"],
        ["Host: localhost:8000", "Origin: "],
        ["Host: localhost:8000", "Sec-Fetch-Site: cross-site"],
        ["Host: localhost:8000", "Sec-Fetch-Site: same-site"],
        ["Host: localhost:8000", "Sec-Fetch-Site: "],
    ],
)
def test_cross_origin_request_is_rejected(fields: list[str]) -> None:
    with pytest.raises(HttpError) as caught:
        BY_SOCKET.check(asked(*fields))
    assert caught.value.status == 403


@pytest.mark.parametrize("fields", [[], ["Host: "], ["Host: a b"], ["Host: a@b"], ["Host: [::1"]])
def test_host_header_is_required(fields: list[str]) -> None:
    with pytest.raises(HttpError) as caught:
        BY_SOCKET.check(asked(*fields))
    assert caught.value.status == 400


def test_token_replaces_the_check_of_the_uid() -> None:
    bearer = "Authorization: Bearer 0123456789abcdef0123"
    BY_TOKEN.admit(Peer("192.0.2.7"))
    BY_TOKEN.check(asked("Host: job.example.com", bearer))
    BY_TOKEN.check(asked("Host: job.example.com", bearer.replace("Bearer", "bearer")))
    longer, shorter = "Bearer 0123456789abcdef01234", "Bearer 0123456789abcdef012"
    for wrong in ("", "Bearer", "Bearer x", "Basic 0123456789abcdef0123", longer, shorter, "Bearer \xff"):
        with pytest.raises(HttpError) as caught:
            BY_TOKEN.check(asked("Host: localhost", f"Authorization: {wrong}"))
        assert caught.value.status == 401
    with pytest.raises(HttpError) as caught:
        BY_TOKEN.check(asked("Host: a.example.com", bearer, "Origin: http://evil.example.com"))
    assert caught.value.status == 403
