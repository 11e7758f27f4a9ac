"""The fake server and its routes; responses are like those of the recorded servers."""

import json
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .apps import App
from .engine import Engine, RunRecord
from .files import ErrorResponse, Uploads
from .form import InvalidParam, convert_inputs
from .wire import RecordedWire, Replay, Server

_HTML_404 = b"<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n"


_TOO_MANY = (
    "Too many requests. Please try again later. "
    "The current maximum concurrent requests allowed for app is {limit}."
)


@dataclass(frozen=True, slots=True)
class Received:
    """A received request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class FakeDify:
    """A fake Dify server on 127.0.0.1, as a context manager.

    Args:
        apps: Apps of the server.
        version: Dify version to imitate, as in X-Version.
        port: Port; 0 for any free one.
        ping: Seconds between pings of a stream.

    Attributes:
        received: All requests.
        replay: A recorded response for each further POST of a run, if not None.
        uploads: Uploaded files.
        files: Content type and content of files that are served without a key, by path and query.
    """

    def __init__(
        self, apps: Iterable[App], *, version: str = "1.14.2", port: int = 0, ping: float = 10.0
    ) -> None:
        major, minor, *_ = version.split(".")
        self.version = version
        self.apps = {app.key: app for app in apps}
        self.engine = Engine((int(major), int(minor)))
        self.ping = ping
        self.received: list[Received] = []
        self.replay: Replay | None = None
        self.uploads = Uploads()
        self.files: dict[str, tuple[str, bytes]] = {}
        self.closing = threading.Event()
        server = self

        class Handler(_Routes):
            server_of_apps = server
            version = server.version
            pings_first = server.engine.in_worker
            closing = server.closing

        self._server = Server(("127.0.0.1", port), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "FakeDify":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        if self._server.faults:
            raise self._server.faults[0]

    def serve_connection(self, connection: socket.socket) -> None:
        """Serve an existing connection."""
        self._server.process_request(connection, ("127.0.0.1", 0))

    @property
    def runs(self) -> list[RunRecord]:
        """All runs that were created."""
        return list(self.engine.runs.values())

    @property
    def paths(self) -> list[str]:
        """Paths of the received requests, without /v1."""
        return [request.path.removeprefix("/v1") for request in self.received]

    @property
    def posts(self) -> int:
        """Number of received requests to start a run."""
        return sum(request.method == "POST" and request.path.endswith("/run") for request in self.received)


class _Routes(RecordedWire):
    server_of_apps: FakeDify

    def answer(self, method: str) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        url = urlsplit(self.path)
        server = self.server_of_apps
        server.received.append(Received(method, self.path, dict(self.headers), body))
        steps = [unquote(step) for step in url.path.split("/") if step]
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        try:
            self._route(method, steps, query, body, raw)
        except ErrorResponse as refused:
            self.send_json(
                refused.status, {"code": refused.code, "message": refused.message, "status": refused.status}
            )
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _route(  # noqa: C901, PLR0912 - one case a route is the table
        self, method: str, steps: list[str], query: Mapping[str, str], body: Any, raw: bytes
    ) -> None:
        url = self.path
        match method, steps:
            case "GET", ["health"]:
                self.send_json(200, {"pid": 1, "status": "ok", "version": self.server_of_apps.version})
            case "POST", ["v1", "workflows", "run"] | ["v1", "workflows", _, "run"]:
                self._run(self._app(), body)
            case "POST", ["v1", "workflows", "tasks", task_id, "stop"]:
                self._app()
                if not isinstance(body, dict) or not body.get("user"):
                    raise ErrorResponse(400, "invalid_param", "Arg user must be provided.")
                self.server_of_apps.engine.stop(task_id)
                self.send_json(200, {"result": "success"})
            case "GET", ["v1", "workflows", "run", run_id]:
                self._detail(self._app(), run_id)
            case "GET", ["v1", "workflows", "logs"]:
                self._logs(self._app(), query)
            case "GET", ["v1", "workflow", run_id, "events"] if self.server_of_apps.engine.in_worker:
                self._join(self._app(), run_id, query)
            case "POST", ["v1", "files", "upload"]:
                key, kind = self._app().key, self.headers.get("Content-Type")
                self.send_json(201, self.server_of_apps.uploads.store(kind, raw, key))
            case "GET", ["v1", "info"]:
                app = self._app()
                self.send_json(
                    200,
                    {"name": app.name, "description": "", "tags": [], "mode": app.mode, "author_name": ""},
                )
            case "GET", ["v1", "parameters"]:
                app = self._app()
                if not app.published:
                    message = "App unavailable, please check your app configurations."
                    raise ErrorResponse(400, "app_unavailable", message)
                limits = self.server_of_apps.uploads.limits
                self.send_json(200, {"user_input_form": list(app.form), "system_parameters": limits})
            case "GET", ["files", *_] if url in self.server_of_apps.files:
                content_type, content = self.server_of_apps.files[url]
                self.send_bytes(200, content_type, content)
            case _, ["v1", "workflows", "run"]:
                raise ErrorResponse(
                    405, "method_not_allowed", "The method is not allowed for the requested URL."
                )
            case _:
                self.send_bytes(404, "text/html; charset=utf-8", _HTML_404)

    def _app(self) -> App:
        scheme, _, key = (self.headers.get("Authorization") or "").partition(" ")
        if not key.strip():
            raise ErrorResponse(
                401, "unauthorized", "Authorization header must be provided and start with 'Bearer'"
            )
        if scheme.lower() != "bearer":
            raise ErrorResponse(401, "unauthorized", "Authorization scheme must be 'Bearer'")
        app = self.server_of_apps.apps.get(key.strip())
        if app is None:
            raise ErrorResponse(401, "unauthorized", "Access token is invalid")
        if not app.api_enabled:
            raise ErrorResponse(403, "forbidden", "The app's API service has been disabled.")
        return app

    def _run(self, app: App, body: Any) -> None:
        if self.server_of_apps.replay is not None:
            self.send_replay(self.server_of_apps.replay)
            return
        engine = self.server_of_apps.engine
        _check(app, body)
        streaming = body.get("response_mode") == "streaming"
        if engine.is_full(app, streaming=streaming):
            raise ErrorResponse(400, "invalid_param", _TOO_MANY.format(limit=app.limit))
        error, inputs = self._convert(app, body, streaming=streaming)
        if error and not (streaming and engine.in_worker):
            raise ErrorResponse(400, "invalid_param", error)
        if error and engine.rejects_by_run:
            self.send_events(engine.rejected_run_events(body["inputs"], error))
            return
        if error:
            # 1.14 does not close the stream after an error event (`error-input-required-missing-streaming`).
            self.send_events([{"event": "error", "message": error, "status": 500}], hold=engine.in_worker)
            return
        run, listener = engine.start(app, str(body["user"]), inputs, streaming=streaming)
        ping = self.server_of_apps.ping
        if streaming:
            self.send_events(engine.events(listener, ping, queued=engine.in_worker))
        else:
            self.send_json(200, engine.answer(run, engine.events(listener, ping)))

    def _convert(self, app: App, body: Mapping[str, Any], *, streaming: bool) -> tuple[str, dict[str, Any]]:
        """Return an error message or "", and the inputs that the workflow gets."""
        engine, uploads = self.server_of_apps.engine, self.server_of_apps.uploads
        inputs = dict(body["inputs"])
        if engine.rejects_by_run:
            uploads = uploads.of(str(body["user"]), app.key)
        try:
            return "", convert_inputs(app, inputs, uploads, engine.version)
        except InvalidParam as found:
            return str(found), inputs
        except ErrorResponse as refused:
            if not (streaming and engine.rejects_by_run):
                raise
            return refused.message, inputs

    def _detail(self, app: App, run_id: str) -> None:
        engine = self.server_of_apps.engine
        run = engine.runs.get(run_id)
        if len(run_id) != 36:
            raise ErrorResponse(500, "unknown", "Internal Server Error")
        if run is not None and run.app.key == app.key:
            self.send_json(200, engine.detail(run))
        elif engine.in_worker:
            raise ErrorResponse(404, "not_found", "Workflow run not found.")
        else:  # every field null (`detail-unknown-id`)
            self.send_json(
                200, dict.fromkeys(("id", "workflow_id", "status", "inputs", "outputs", "error"), None)
            )

    def _logs(self, app: App, query: Mapping[str, str]) -> None:
        engine = self.server_of_apps.engine
        user = query.get("created_by_end_user_session_id")
        if engine.version < (1, 5):
            user = None  # older versions have no filter
        # Before 1.11 the row is written at the end of the run.
        shown = [
            run
            for run in self.server_of_apps.runs
            if run.app.key == app.key
            and user in (None, run.user)
            and (engine.version >= (1, 11) or run.finished_at is not None)
        ]
        private = ("inputs", "outputs")
        rows = [
            {
                "id": run.task_id,
                "workflow_run": {k: v for k, v in engine.detail(run).items() if k not in private},
                "created_from": "service-api",
                "created_by_role": "end_user",
                "created_by_end_user": {"type": "service_api", "session_id": run.user},
            }
            for run in reversed(shown)
        ]
        self.send_json(200, {"page": 1, "limit": 20, "total": len(rows), "has_more": False, "data": rows})

    def _join(self, app: App, run_id: str, query: Mapping[str, str]) -> None:
        engine = self.server_of_apps.engine
        run = engine.runs.get(run_id)
        if run is None or run.app.key != app.key or query.get("user") != run.user:
            raise ErrorResponse(404, "not_found", "Workflow run not found")
        if run.finished_at is not None:  # exactly one event (`events-after-finish`)
            self.send_events([run.past[-1]], ping_first=False)
            return
        listener = engine.listen(run)
        past = list(run.past) if query.get("include_state_snapshot") == "true" else []
        self.send_events(past, more=engine.events(listener, self.server_of_apps.ping))


def _check(app: App, body: Any) -> None:
    """Validate a request in the order of real servers: body, user, other fields (`order-*`)."""
    if not isinstance(body, dict):
        message = "The browser (or proxy) sent a request that this server could not understand."
        raise ErrorResponse(400, "bad_request", message)
    if not body.get("user"):
        raise ErrorResponse(400, "invalid_param", "Arg user must be provided.")
    if app.mode != "workflow":
        raise ErrorResponse(
            400, "not_workflow_app", "Please check if your app mode matches the right API route."
        )
    if not isinstance(body.get("inputs"), dict):
        message = "1 validation error for WorkflowRunPayload\ninputs\n  Input should be a valid dictionary"
        raise ErrorResponse(400, "invalid_param", message)
    if not app.published:
        raise ErrorResponse(400, "invalid_param", "Workflow not published")
