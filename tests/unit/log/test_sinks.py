import fcntl
import io
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dify_job import log
from dify_job.log.sinks import DatagramSocket, NonBlockingWriter, open_log_file

F_SETPIPE_SZ = 1031


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def read_all(reader: int) -> bytes:
    os.set_blocking(reader, False)
    read = b""
    try:
        while data := os.read(reader, 65536):
            read += data
    except BlockingIOError:
        pass
    return read


def test_full_pipe_does_not_block(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    writer = NonBlockingWriter(fd)
    began = time.monotonic()
    for _ in range(1000):
        writer.write(b"x" * 999 + b"\n")
    assert time.monotonic() - began < 60
    assert writer.lost > 700
    assert not writer.is_ready()
    assert (
        not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
    )  # other processes share the open file description
    assert read_all(reader).startswith(b"x" * 999 + b"\n")


def test_held_lines_arrive_in_order_once_the_reader_reads(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    writer = NonBlockingWriter(fd)
    lines = [b"line %d\n" % number for number in range(2000)]
    for line in lines:
        writer.write(line)
    read = b""
    while not writer.is_ready():
        read += read_all(reader)
    assert read + read_all(reader) == b"".join(lines)
    assert writer.lost == 0


def test_flag_fallback_restores_the_flags(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    _, fd = pipe

    def refuse(*_: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        writer = NonBlockingWriter(fd)
    writer.write(b"x" * 100_000)
    assert not writer.is_ready()
    assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK


def test_unread_socket_and_terminal_do_not_block() -> None:
    left, right = socket.socketpair()
    master, slave = os.openpty()
    for fd in (right.fileno(), slave):
        writer = NonBlockingWriter(fd)
        began = time.monotonic()
        for _ in range(1000):
            writer.write(b"x" * 2000 + b"\n")
        assert time.monotonic() - began < 60
        assert writer.lost
        writer.close()
    left.close()
    right.close()
    os.close(master)
    os.close(slave)


def test_lost_lines_are_counted_on_a_full_disk() -> None:
    with Path("/dev/full").open("wb") as full:
        writer = NonBlockingWriter(full.fileno())
        writer.write(b"one\ntwo\n")
        assert writer.lost == 2
        assert writer.is_ready()


def test_lost_lines_are_reported(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, fd = pipe
    for name in ("_logger", "_level"):
        monkeypatch.setattr(log, name, getattr(log, name))
    writer = NonBlockingWriter(fd)
    stream = io.TextIOWrapper(writer, write_through=True)  # type: ignore[type-var]
    log.set_up(log_format="json", level=log.INFO, job="daily", stream=stream)
    for number in range(3000):
        log.info("a line of some length " * 5, number=number)
    lost = writer.lost
    assert lost
    read = b""
    while not writer.is_ready():
        read += read_all(reader)
    read += read_all(reader)
    log.info("read again")
    lines = (read + read_all(reader)).decode().splitlines()
    assert len(lines) == 3000 - lost + 2
    assert f'"lines": {lost}' in lines[-2]
    assert "read again" in lines[-1]
    assert writer.lost == 0


def test_stuck_daemon_delays_the_first_message_alone(tmp_path: Path) -> None:
    daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    daemon.bind(str(tmp_path / "log"))
    sink = DatagramSocket(str(tmp_path / "log"))
    began = time.monotonic()
    sent = [sink.send(b"x" * 1000) for _ in range(2000)]
    assert time.monotonic() - began < 60
    assert sink.lost == sent.count(False) > 1000
    assert not sink.is_ready()
    while not sink.is_ready():
        daemon.recv(2000)
    assert sink.send(b"taken")
    assert not sink.stuck
    sink.close()
    daemon.close()


class _ContestedSocket:
    """A socket whose room another process takes, twice, between poll and send."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.attempts = 0

    def fileno(self) -> int:
        return self._real.fileno()

    def send(self, message: bytes, flags: int) -> int:
        self.attempts += 1
        if self.attempts < 3:
            raise BlockingIOError
        return self._real.send(message, flags)


def test_message_is_not_dropped_where_another_process_takes_the_room_first(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        sink = DatagramSocket(str(tmp_path / "log"))
        with sink._socket as real:
            sink._socket = contested = _ContestedSocket(real)  # type: ignore[assignment]
            assert sink.send(b"last line")
            assert contested.attempts == 3
            assert daemon.recv(100) == b"last line"
            assert (sink.lost, sink.stuck) == (0, False)


def test_log_file_refuses_a_fifo_and_counts_what_a_full_disk_loses(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=r"regular|No such device"):
        open_log_file(tmp_path / "fifo")
    file = open_log_file(tmp_path / "log")
    with Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), file.fileno())
    file.write("a line\n")
    sink = file.buffer
    assert isinstance(sink, NonBlockingWriter)
    assert sink.lost == 1


def test_log_file_can_be_in_a_directory_that_its_user_cannot_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.geteuid()
    directory = tmp_path / "logs"
    directory.mkdir()
    tmp_path.chmod(0o755)
    (directory / "daily.log").touch()
    if user == 0:
        os.chown(directory / "daily.log", 12345, -1)
    directory.chmod(0o111)
    monkeypatch.chdir(tmp_path)  # the directories above belong to the caller alone
    os.seteuid(user or 12345)
    try:
        with open_log_file(Path("logs/daily.log")) as file:
            file.write("a line\n")
    finally:
        os.seteuid(user)
        directory.chmod(0o755)
    assert (directory / "daily.log").read_text() == "a line\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is root's")
def test_log_file_is_not_opened_through_a_link_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "cron.d").mkdir()
    (tmp_path / "logs").symlink_to("cron.d")
    os.chown(tmp_path / "logs", 12345, -1, follow_symlinks=False)
    with pytest.raises(PermissionError, match="logs is a symbolic link of user 12345"):
        open_log_file(tmp_path / "logs/daily")
    assert not list((tmp_path / "cron.d").iterdir())
