"""A Dify that answers at once: what it says is made before it is asked, so that only the client is measured.

The base URL chooses the run. `/EVENTS/BYTES/FRAMING/v1`: a stream of EVENTS chunks of text, BYTES bytes each,
in `chunks` (one HTTP chunk an event, as gunicorn sends them), in `blocks` of 64 KiB, or to the `end` of the
connection; where EVENTS is 0, the outputs have BYTES. `trickle`: an event every 25 ms, named after the moment
it left; `trickle-end`: without chunks. `failed`: in blocks, and the run fails.
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
    told = {"event": kind, "workflow_run_id": RUN, "task_id": TASK, "data": data}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


STARTED = event("workflow_started", {"id": RUN, "workflow_id": "w", "inputs": {}, "created_at": 1700000000})
NODE = event("node_started", {"id": "n", "node_id": "1", "title": "Start", "node_type": "start", "index": 1})
END = event("workflow_finished", FINISHED)
ANSWER = json.dumps({"workflow_run_id": RUN, "task_id": TASK, "data": FINISHED}).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def with_outputs(told: bytes, size: int) -> bytes:
    return told.replace(b'"ok"', b'"' + b"x" * size + b'"')


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
            told = ANSWER if int(events) else with_outputs(ANSWER, int(size))
            of_length = b"" if framing == "end" else b"Content-Length: %d\r\n" % len(told)
            connection.sendall(head + b"application/json\r\n" + of_length + b"\r\n" + told)
            return
        head += b"text/event-stream; charset=utf-8\r\n"
        whole = framing.endswith("end")
        connection.sendall(head + (b"\r\n" if whole else b"Transfer-Encoding: chunked\r\n\r\n"))
        for piece in stream(int(events), int(size), framing):
            connection.sendall(piece if whole or framing == "chunks" or not piece else chunk(piece))
        if not whole:
            connection.sendall(b"0\r\n\r\n")


def quietly(connection: socket.socket) -> None:
    try:
        answer(connection)
    except OSError:
        return  # the client has hung up, as it may


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=quietly, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
