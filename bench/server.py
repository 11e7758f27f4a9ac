"""A Dify server with prepared responses, so that benchmarks measure only the client.

The base URL selects the run: `/EVENTS/BYTES/FRAMING/v1` is a stream of EVENTS text chunks of BYTES bytes.
FRAMING is `chunks` (an HTTP chunk per event, like gunicorn), `blocks` (of 64 KiB), `end` (until the end of
the connection), `trickle` (an event every 25 ms, with the time as its title), `trickle-end` (the same without
chunks) or `failed` (blocks of a failed run). If EVENTS is 0, the outputs have BYTES bytes.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator

RUN, TASK = "7b1e3a52-0000-4000-8000-00000000000a", "3f0c7a11-0000-4000-8000-00000000000b"
FINISHED = {
    "id": RUN, "workflow_id": "w", "status": "succeeded", "outputs": {"result": "ok"}, "error": None,
    "elapsed_time": 0.01, "total_tokens": 12, "total_steps": 2, "created_at": 1700000000,
    "finished_at": 1700000001,
}  # fmt: skip
BLOCK = 65536


def event(kind: str, data: dict[str, object]) -> bytes:
    content = {"event": kind, "workflow_run_id": RUN, "task_id": TASK, "data": data}
    return b"data: " + json.dumps(content).encode() + b"\n\n"


STARTED = event("workflow_started", {"id": RUN, "workflow_id": "w", "inputs": {}, "created_at": 1700000000})
NODE = event("node_started", {"id": "n", "node_id": "1", "title": "Start", "node_type": "start", "index": 1})
END = event("workflow_finished", FINISHED)
ANSWER = json.dumps({"workflow_run_id": RUN, "task_id": TASK, "data": FINISHED}).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def with_outputs(body: bytes, size: int) -> bytes:
    return body.replace(b'"ok"', b'"' + b"x" * size + b'"')


def stream(events: int, size: int, framing: str) -> Iterator[bytes]:
    """The body of a stream in pieces of about 64 KiB."""
    if framing.startswith("trickle"):
        for _ in range(events):
            time.sleep(0.025)
            yield event("node_started", {"title": str(time.monotonic())})
        yield END
        return
    text = event("text_chunk", {"text": "", "from_variable_selector": ["1", "text"]})
    text = text.replace(b'"text": ""', b'"text": "' + b"x" * max(0, size - len(text)) + b'"')
    text = chunk(text) if framing == "chunks" else text
    yield from (chunk(part) if framing == "chunks" else part for part in (STARTED, NODE))
    at_once = max(1, BLOCK // len(text))
    yield from (text * at_once for _ in range(events // at_once))
    yield text * (events % at_once)
    end = END if events else with_outputs(END, size)
    if framing == "failed":
        end = end.replace(b"succeeded", b"failed")
    yield chunk(end) if framing == "chunks" else end


def answer(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb") as request:
        line, length = request.readline(), 0
        while (header := request.readline()) not in (b"\r\n", b""):
            if header.lower().startswith(b"content-length:"):
                length = int(header.partition(b":")[2])
        body = request.read(length)
        _, events, size, framing, *_ = line.split()[1].decode().split("/")
        head = b"HTTP/1.1 200 OK\r\nX-Version: 1.13.0\r\nConnection: close\r\nContent-Type: "
        if b"blocking" in body:
            content = ANSWER if int(events) else with_outputs(ANSWER, int(size))
            of_length = b"" if framing == "end" else b"Content-Length: %d\r\n" % len(content)
            connection.sendall(head + b"application/json\r\n" + of_length + b"\r\n" + content)
            return
        head += b"text/event-stream; charset=utf-8\r\n"
        whole = framing.endswith("end")
        connection.sendall(head + (b"\r\n" if whole else b"Transfer-Encoding: chunked\r\n\r\n"))
        for piece in stream(int(events), int(size), framing):
            connection.sendall(piece if whole or framing == "chunks" or not piece else chunk(piece))
        if not whole:
            connection.sendall(b"0\r\n\r\n")


def answer_or_ignore(connection: socket.socket) -> None:
    try:
        answer(connection)
    except OSError:
        return  # the client has closed the connection


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=answer_or_ignore, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
