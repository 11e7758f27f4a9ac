"""Fake Healthchecks and webhook servers on loopback, working and failing ones."""

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID


@dataclass(frozen=True)
class Ping:
    """A request to Healthchecks.

    Attributes:
        what: "start", "fail", "log" or an exit code.
        rid: Run ID of the request, a UUID.
        body: Text of the request.
        query: Other query parameters.
    """

    what: str
    rid: str
    body: str
    query: dict[str, list[str]]


@dataclass
class Receiver:
    """A server for both: /ping/UUID is a Healthchecks check, /hook/NAME a webhook for apprise's json://.

    Attributes:
        manner: "good", "silent" (never responds), "trickle" (a byte each 0.5 s) or "broken" (HTTP 500).
        pings: Received pings.
        hooks: Received webhook messages, as pairs of NAME and JSON.
    """

    manner: str = "good"
    pings: list[Ping] = field(default_factory=list)
    hooks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    CHECK = "1a2b3c4d-0000-4000-8000-00000000beef"

    def __enter__(self) -> "Receiver":
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                receiver._take(self.path, body)
                if receiver.manner == "silent":
                    time.sleep(100)
                    return
                self.send_response(500 if receiver.manner == "broken" else 200)
                known = receiver.CHECK in self.path or "/hook/" in self.path
                answer = b"OK" if known else b"OK (not found)"  # as Healthchecks answers
                self.send_header(
                    "Content-Length", "1000" if receiver.manner == "trickle" else str(len(answer))
                )
                self.end_headers()
                with contextlib.suppress(OSError):
                    for _ in range(200 * (receiver.manner == "trickle")):
                        self.wfile.write(b"x")
                        time.sleep(0.5)
                    self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def check(self) -> str:
        """URL for the setting `healthchecks`."""
        return f"http://{self.address}/ping/{self.CHECK}"

    def urls(self, path: Path, *names: str) -> str:
        """Write a file of apprise URLs.

        Args:
            path: The file.
            names: Names of the webhooks.

        Returns:
            Value for a list of `notify`.
        """
        lines = [f"json://person:s3cret-pass@{self.address}/hook/{name}" for name in names]
        path.write_text("# receivers\n\n" + "\n".join(lines) + "\n")
        path.chmod(0o600)
        return f"apprise-url-from-file:{path}"

    def messages(self, name: str) -> list[dict[str, Any]]:
        """Return the messages to a webhook."""
        return [message for hook, message in self.hooks if hook == name]

    @property
    def ends(self) -> list[Ping]:
        """All pings but start pings."""
        return [ping for ping in self.pings if ping.what != "start"]

    def _take(self, path: str, body: bytes) -> None:
        parts = urlsplit(path)
        if parts.path.startswith("/hook/"):
            self.hooks.append((parts.path.removeprefix("/hook/").rstrip("/"), json.loads(body)))
            return
        query = parse_qs(parts.query)
        rid = query.pop("rid", [""])[0]
        UUID(rid)
        self.pings.append(Ping(parts.path.rpartition("/")[2], rid, body.decode(), query))
