"""The HTTP interface in parts: what is read, who is let in, whose socket it is, how long one waits."""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.compat import server as exchanging
from dify_job.compat.auth import Guard, Peer
from dify_job.compat.http_request import HttpRefusal, Request, end_of_head, read_head
from dify_job.compat.openapi import openapi
from dify_job.compat.peer_credentials import owner_of, peer_of
from dify_job.compat.routes import Routes
from dify_job.compat.server import Answer, Handle, as_json, exchange
from dify_job.messages.errors import JobError
from dify_job.schedulers.backend import Scope
from dify_job.schedulers.http_socket import HttpSocketConfig, address_of, render_door
from dify_job.schedulers.systemd_paths import SystemdPaths

CALL = b"POST /api/dify/call HTTP/1.1\r\nHost: localhost:8000\r\n\r\n"


def with_fields(*fields: str, first: str = "POST /api/dify/call HTTP/1.1") -> bytes:
    return "\r\n".join([first, *fields, "", ""]).encode("latin-1")


# Reading


def test_what_curl_sends_is_read() -> None:
    head = with_fields(
        "Host: localhost:8000", "User-Agent: curl/8.5.0", "Accept: */*", "Content-Length: 2",
        first="POST /api/dify/scheduler/start?interval_hours=2&job=daily HTTP/1.1",
    )  # fmt: skip
    request = read_head(head)
    assert (request.method, request.path) == ("POST", "/api/dify/scheduler/start")
    assert request.query == {"interval_hours": "2", "job": "daily"}
    assert (request.fields["host"], request.length, request.waits) == ("localhost:8000", 2, False)


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
def test_what_two_readers_could_read_differently_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(HttpRefusal) as caught:
        read_head(head)
    assert caught.value.status == status


def test_a_field_of_blanks_costs_no_more_than_another() -> None:
    assert read_head(with_fields("Host: \t a \t ")).fields["host"] == "a"
    began = time.process_time()
    with pytest.raises(HttpRefusal):
        read_head(with_fields("Host: a", "X:" + " " * 8000 + "\0"))
    assert time.process_time() - began < 1


def test_a_head_that_is_too_long_or_has_bare_line_feeds_is_refused() -> None:
    assert end_of_head(CALL[:-1]) is None
    assert end_of_head(CALL + b"rest") == len(CALL)
    with pytest.raises(HttpRefusal, match="CR LF"):
        end_of_head(b"GET / HTTP/1.1\nHost: a\n\n")
    for data in (b"x" * 9000, b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n"):
        with pytest.raises(HttpRefusal) as caught:
            end_of_head(data)
        assert caught.value.status == 431


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"POST /{text}\r\n\r\n".encode()))
def test_no_bytes_bring_it_down(data: bytes) -> None:
    with contextlib.suppress(HttpRefusal):
        end = end_of_head(data)
        if end is not None:
            read_head(data[:end])


@given(st.integers(0, len(CALL) - 1), st.binary(min_size=1, max_size=3))
def test_a_damaged_request_is_never_another_call(at: int, put: bytes) -> None:
    head = CALL[:at] + put + CALL[at + len(put) :]
    try:
        end = end_of_head(head)
        request = read_head(head[:end]) if end is not None else None
    except HttpRefusal:
        return
    assert request is None or request.length == 0


# Who


def asked(*fields: str) -> Request:
    return read_head(with_fields(*fields))


ALICE = Peer("127.0.0.1", 1000)
BY_SOCKET = Guard(frozenset({0, 1000}))
BY_TOKEN = Guard(frozenset({0, 1000}), b"0123456789abcdef0123")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
def test_the_user_who_installed_it_and_root_come_in_by_their_sockets(host: str) -> None:
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
def test_others_do_not(peer: Peer) -> None:
    with pytest.raises(HttpRefusal, match="only root"):
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
def test_a_page_of_another_origin_cannot_ask_in_their_name(fields: list[str]) -> None:
    with pytest.raises(HttpRefusal) as caught:
        BY_SOCKET.check(asked(*fields))
    assert caught.value.status == 403


@pytest.mark.parametrize("fields", [[], ["Host: "], ["Host: a b"], ["Host: a@b"], ["Host: [::1"]])
def test_a_host_is_needed(fields: list[str]) -> None:
    with pytest.raises(HttpRefusal) as caught:
        BY_SOCKET.check(asked(*fields))
    assert caught.value.status == 400


def test_with_a_token_it_alone_decides_wherever_the_peer_is() -> None:
    bearer = "Authorization: Bearer 0123456789abcdef0123"
    BY_TOKEN.admit(Peer("192.0.2.7"))
    BY_TOKEN.check(asked("Host: job.example.com", bearer))
    BY_TOKEN.check(asked("Host: job.example.com", bearer.replace("Bearer", "bearer")))
    longer, shorter = "Bearer 0123456789abcdef01234", "Bearer 0123456789abcdef012"
    for wrong in ("", "Bearer", "Bearer x", "Basic 0123456789abcdef0123", longer, shorter, "Bearer \xff"):
        with pytest.raises(HttpRefusal) as caught:
            BY_TOKEN.check(asked("Host: localhost", f"Authorization: {wrong}"))
        assert caught.value.status == 401
    with pytest.raises(HttpRefusal) as caught:
        BY_TOKEN.check(asked("Host: a.example.com", bearer, "Origin: http://evil.example.com"))
    assert caught.value.status == 403


# Whose socket

LINE = "   0: {here} {there} {state} 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0000 20"
V4_HERE, V4_THERE = "0100007F:A001", "0100007F:1F40"
V6_HERE, V6_THERE = "0000000000000000FFFF00000100007F:A001", "0000000000000000FFFF00000100007F:1F40"
ENDS = ((bytes([127, 0, 0, 1]), 0xA001), (bytes([127, 0, 0, 1]), 8000))


def line(
    here: str = V4_HERE, there: str = V4_THERE, state: str = "01", uid: int = 1000, inode: int = 77
) -> str:
    return LINE.format(here=here, there=there, state=state, uid=uid, inode=inode)


def test_the_kernel_s_table_tells_the_owner() -> None:
    assert owner_of([line()], *ENDS) == 1000
    assert owner_of([line(here=V6_HERE, there=V6_THERE, uid=1001)], *ENDS) == 1001
    assert owner_of([line(here=V4_THERE, there=V4_HERE, uid=0)], *ENDS) is None  # our own end
    assert owner_of([line(state=state, uid=0) for state in ("06", "04", "05", "08", "0A")], *ENDS) is None
    assert owner_of([line(uid=0, inode=0)], *ENDS) is None  # nobody holds it any more
    assert owner_of([line(), line(here=V6_HERE, there=V6_THERE, uid=0)], *ENDS) is None
    assert owner_of(["", "nonsense", line(here="zz:1")], *ENDS) is None


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2])
        accepted, _ = server.accept()
        with client, accepted:
            yield client, accepted


def test_a_connection_of_this_machine_has_its_owner(pair: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = pair
    assert peer_of(accepted).uid == os.geteuid()
    client.close()
    assert peer_of(accepted).uid is None


# Waiting


def served(
    pair: tuple[socket.socket, socket.socket], handle: object = None
) -> list[tuple[str, int, str | None]]:
    told: list[tuple[str, int, str | None]] = []
    answer = handle or (lambda _request, body: as_json({"got": len(body)}))
    threading.Thread(target=lambda: told.append(exchange(pair[1], lambda: answer)), daemon=True).start()  # type: ignore[arg-type]
    return told


def everything(client: socket.socket) -> bytes:
    client.settimeout(15)
    data = b""
    while part := client.recv(65536):
        data += part
    return data


def test_one_request_is_answered_and_what_follows_is_not(pair: tuple[socket.socket, socket.socket]) -> None:
    seen: list[Request] = []

    def handle(request: Request, _body: bytes) -> Answer:
        seen.append(request)
        return as_json({"success": True})

    told = served(pair, handle)
    pair[0].sendall(CALL + CALL.replace(b"call", b"scheduler/stop"))
    data = everything(pair[0])
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in data
    assert len(seen) == 1
    pair[0].close()
    while not told:
        time.sleep(0.01)
    assert told == [("POST /api/dify/call", 200, None)]


def test_who_is_not_admitted_is_told_so_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    def admit() -> Handle:
        raise HttpRefusal(403, "not you")

    threading.Thread(target=lambda: exchange(pair[1], admit), daemon=True).start()
    assert everything(pair[0]).startswith(b"HTTP/1.1 403 ")


def test_what_asks_for_the_head_gets_no_body(pair: tuple[socket.socket, socket.socket]) -> None:
    served(pair)
    pair[0].sendall(CALL.replace(b"POST", b"HEAD"))
    head, _, body = everything(pair[0]).partition(b"\r\n\r\n")
    assert b"Content-Length: 10" in head
    assert body == b""


def test_a_body_is_read_to_its_length_and_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    served(pair)
    head = CALL.replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n")
    pair[0].sendall(head)
    pair[0].settimeout(5)
    assert pair[0].recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    pair[0].sendall(b"abc")
    time.sleep(0.1)
    pair[0].sendall(b"defGET / HTTP/1.1\r\n\r\n")
    assert everything(pair[0]).endswith(b'{"got": 6}')


def test_a_head_that_drips_is_cut_off(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanging, "_HEAD_WITHIN", 0.6)
    served(pair)
    began = time.monotonic()

    def drip() -> None:
        for byte in CALL:
            try:
                pair[0].sendall(bytes([byte]))
            except OSError:
                return
            time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    assert everything(pair[0]).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 5


def test_a_body_that_does_not_come_is_cut_off(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanging, "_BODY_WITHIN", 0.3)
    served(pair)
    pair[0].sendall(CALL.replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\n\r\nab"))
    assert everything(pair[0]).startswith(b"HTTP/1.1 408 ")


def test_ten_megabytes_are_refused_and_the_answer_arrives(pair: tuple[socket.socket, socket.socket]) -> None:
    served(pair)
    head = CALL.replace(b"\r\n\r\n", b"\r\nContent-Length: 10485760\r\n\r\n")

    def pour() -> None:
        try:
            pair[0].sendall(head + bytes(600_000))
        except OSError:
            return

    threading.Thread(target=pour, daemon=True).start()
    assert everything(pair[0]).startswith(b"HTTP/1.1 413 ")


def test_a_peer_that_leaves_is_no_trouble(pair: tuple[socket.socket, socket.socket]) -> None:
    told = served(pair)
    pair[0].sendall(CALL[:10])
    pair[0].close()
    until = time.monotonic() + 5
    while not told and time.monotonic() < until:
        time.sleep(0.01)
    assert told
    assert told[0][1] in (0, 400)


# Calls


@pytest.mark.parametrize(
    ("line", "body", "status"),
    [
        ("GET / HTTP/1.1", b"", 404),
        ("GET /api/dify/call HTTP/1.1", b"", 405),
        ("POST /api/dify/scheduler/status HTTP/1.1", b"", 405),
        ("POST /api/dify/call/ HTTP/1.1", b"", 404),
        ("POST //api/dify/call HTTP/1.1", b"", 404),
        ("POST /api/dify/%63all HTTP/1.1", b"", 404),
        ("POST /api/../api/dify/call HTTP/1.1", b"", 404),
        ("POST /api/dify/call?job=other HTTP/1.1", b"", 404),
        ("POST /api/dify/call?job=../daily HTTP/1.1", b"", 404),
        ("POST /api/dify/call?joob=daily HTTP/1.1", b"", 422),
        ("POST /api/dify/call HTTP/1.1", b'{"inputs": {"a": 1}}', 422),
        ("POST /api/dify/call HTTP/1.1", b"not json", 422),
        ("POST /api/dify/scheduler/start?interval_hours=0 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=-1 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=1.5 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=%D9%A1 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours= HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=1e3 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=999999 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=01 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=%201 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hours=9223372036854775808 HTTP/1.1", b"", 422),
        ("POST /api/dify/scheduler/start?interval_hour=2 HTTP/1.1", b"", 422),
    ],
)
def test_what_is_not_there_or_not_so_is_refused(line: str, body: bytes, status: int, tmp_path: Path) -> None:
    routes = Routes(["daily"], tmp_path / "config.toml")
    with pytest.raises(HttpRefusal) as caught:
        routes.answer(read_head(with_fields("Host: localhost", first=line)), body)
    assert caught.value.status == status
    assert caught.value.allow == (
        {"GET": "POST", "POST": "GET"}[line.split(maxsplit=1)[0]] if status == 405 else ""
    )


def test_of_several_jobs_one_must_be_named(tmp_path: Path) -> None:
    routes = Routes(["daily", "weekly"], tmp_path / "config.toml")
    with pytest.raises(HttpRefusal, match="daily, weekly"):
        routes.answer(read_head(CALL), b"")


def test_the_description_has_each_call_with_its_method() -> None:
    told = openapi(["daily", "weekly"])
    assert json.loads(json.dumps(told)) == told
    assert {path: list(calls) for path, calls in told["paths"].items()} == {
        "/api/dify/call": ["post"],
        "/api/dify/scheduler/start": ["post"],
        "/api/dify/scheduler/stop": ["post"],
        "/api/dify/scheduler/status": ["get"],
    }


# Units

PLACES = SystemdPaths(Path("/etc/systemd/system"), Path("/var/lib/systemd/timers"), Path("/var/lib/dify-job"))
DOOR = HttpSocketConfig(
    listen="127.0.0.1:8000", jobs=["daily"], config_path=Path("/etc/dify-job/config.toml"),
    python=Path("/opt/dify-job/bin/python"), uid=1000,
)  # fmt: skip


@pytest.mark.parametrize(
    "listen", ["", "nine", "localhost:8000", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "::1:80"]
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(JobError, match="no address"):
        address_of(listen)


def test_addresses() -> None:
    assert address_of("8000") == ("127.0.0.1", 8000)
    assert address_of("[::1]:8000") == ("::1", 8000)


@pytest.mark.parametrize("listen", ["0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000", "[2001:db8::1]:8000"])
def test_without_a_token_it_listens_on_loopback_alone(listen: str) -> None:
    with pytest.raises(JobError, match="no token"):
        render_door(replace(DOOR, listen=listen), Scope.SYSTEM, 252, PLACES)
    with_token = replace(DOOR, listen=listen, token_file=Path("/etc/dify-job/http.token"))
    text = render_door(with_token, Scope.SYSTEM, 252, PLACES)[0].text
    assert listen in text
    assert "MaxConnectionsPerSource=8\n" in text


def test_the_units_say_what_the_handler_may() -> None:
    socket_unit, service = (artifact.text for artifact in render_door(DOOR, Scope.SYSTEM, 252, PLACES))
    assert "ListenStream=127.0.0.1:8000\n" in socket_unit
    assert "Accept=yes\n" in socket_unit
    assert "CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_CHOWN\n" in service
    assert "RestrictAddressFamilies=AF_UNIX\n" in service
    assert "dify_job http --config /etc/dify-job/config.toml --allow-uid 1000 -- daily\n" in service
    assert "# jobs: daily\n" in service
