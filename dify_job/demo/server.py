"""The loopback server of `dify-job demo`: one app with a form, whose run sends a few events."""

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ..messages.errors import no_thread
from .wire import Server, Wire

KEY, NAME = "app-standin-demo", "Daily report"
_VERSION = "1.14.2"
_FORM = [{"text-input": {"variable": "topic", "label": "Topic", "required": True, "max_length": 48}}]
# title, type, seconds, text, tokens
_NODES = (
    ("Start", "start", 0.0, "", 0),
    ("Read the figures", "http-request", 0.6, "", 0),
    ("Write the report", "llm", 1.2, "Sales rose by 3 %. ", 412),
    ("End", "end", 0.0, "", 0),
)


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass(slots=True)
class _Run:
    user: str
    inputs: Mapping[str, Any]
    run_id: str = field(default_factory=_new_id)
    task_id: str = field(default_factory=_new_id)
    status: str = "running"
    error: str | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    tokens: int = 0
    created_at: float = field(default_factory=time.time)
    finished_at: float | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    def execute(self) -> Iterator[dict[str, Any]]:
        """Run the nodes in order until the end or a stop."""
        yield self._event("workflow_started", {"inputs": dict(self.inputs)})
        for index, (title, node_type, seconds, text, tokens) in enumerate(_NODES):
            node = {"id": _new_id(), "node_id": f"n{index}", "node_type": node_type, "title": title}
            yield self._event("node_started", {**node, "index": index + 1, "inputs": None})
            for word in text.split():
                yield self._event(
                    "text_chunk", {"text": f"{word} ", "from_variable_selector": [node["node_id"]]}
                )
            if self.stopped.wait(seconds):
                self.status, self.error = "stopped", "Aborted: User requested stop"
                break
            self.steps, self.tokens = self.steps + 1, self.tokens + tokens
            metadata = {"total_tokens": tokens} if tokens else None
            end = {"status": "succeeded", "error": None, "outputs": {}, "execution_metadata": metadata}
            yield self._event("node_finished", {**node, **end})
        else:
            self.status = "succeeded"
            self.outputs = {"result": "".join(node[3] for node in _NODES), **self.inputs}
        self.finished_at = time.time()
        yield self._event("workflow_finished", self.detail() | {"exceptions_count": 0, "files": []})

    def _event(self, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
        head = {"id": self.run_id, "workflow_id": self.run_id, "created_at": int(self.created_at)}
        about = {} if kind.startswith(("node", "text")) else head
        ids = {"task_id": self.task_id, "workflow_run_id": self.run_id}
        return {"event": kind, **ids, "data": {**about, **data}}

    def detail(self) -> dict[str, Any]:
        """Return the run in the form of run detail."""
        end = self.finished_at
        return {
            "id": self.run_id,
            "workflow_id": self.run_id,
            "status": self.status,
            "inputs": json.dumps(dict(self.inputs)),
            "outputs": dict(self.outputs),
            "error": self.error,
            "total_steps": self.steps,
            "total_tokens": self.tokens,
            "created_at": int(self.created_at),
            "finished_at": None if end is None else int(end),
            "elapsed_time": 0 if end is None else round(end - self.created_at, 6),
        }


class DemoServer:
    """A server on 127.0.0.1; a context manager.

    Attributes:
        base_url: The address of its Service API.
    """

    def __init__(self, port: int = 0) -> None:
        """Listen.

        Args:
            port: TCP port; 0 takes any.

        Raises:
            OSError: The port cannot be used.
        """
        handler = type("Handler", (_Routes,), {"runs": {}})
        self._server = Server(("127.0.0.1", port), handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        try:
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        except RuntimeError as error:
            self._server.server_close()
            raise no_thread(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        if self._server.faults:
            raise self._server.faults[0]


class _Routes(Wire):
    version = _VERSION
    runs: dict[str, _Run]

    def answer(self, method: str) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self._refuse(401, "unauthorized", "Access token is invalid")
            return
        match method, path.strip("/").split("/"):
            case "POST", ["v1", "workflows", "run"]:
                self._run(json.loads(raw))
            case "POST", ["v1", "workflows", "tasks", task_id, "stop"]:
                for run in self._current_runs():
                    if run.task_id == task_id:
                        run.stopped.set()
                self.send_json(200, {"result": "success"})
            case "GET", ["v1", "workflows", "run", run_id] if run_id in self.runs:
                self.send_json(200, self.runs[run_id].detail())
            case "GET", ["v1", "workflows", "logs"]:
                self._logs(query)
            case "GET", ["v1", "info"]:
                about = {"name": NAME, "description": "", "tags": [], "mode": "workflow", "author_name": ""}
                self.send_json(200, about)
            case "GET", ["v1", "parameters"]:
                self.send_json(200, {"user_input_form": _FORM, "system_parameters": {}})
            case _:
                self._refuse(404, "not_found", "Not found.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send_json(status, {"code": code, "message": message, "status": status})

    def _current_runs(self) -> list[_Run]:
        return list(self.runs.values())  # a copy, because other threads add runs

    def _run(self, body: Mapping[str, Any]) -> None:
        topic = body["inputs"].get("topic")
        if topic is None:
            self._refuse(400, "invalid_param", "topic is required in input form")
            return
        if not isinstance(topic, str) or len(topic) > 48:
            self._refuse(400, "invalid_param", "topic in input form must be less than 48 characters")
            return
        run = _Run(str(body["user"]), {"topic": topic})
        self.runs[run.run_id] = run
        events = run.execute()
        if body.get("response_mode") == "streaming":
            try:
                self.send_events(events)
            finally:
                list(events)  # a run continues after its caller disconnects
        else:
            *_, last = events
            ids = {"task_id": run.task_id, "workflow_run_id": run.run_id}
            self.send_json(200, {**ids, "data": last["data"]})

    def _logs(self, query: str) -> None:
        rows = [
            {
                "id": run.task_id,
                "workflow_run": {name: value for name, value in run.detail().items() if "puts" not in name},
                "created_from": "service-api",
                "created_by_role": "end_user",
                "created_by_end_user": {"type": "service_api", "session_id": run.user},
            }
            for run in reversed(self._current_runs())
            if "created_by_end_user_session_id=" not in query or run.user in query
        ]
        self.send_json(200, {"page": 1, "limit": 20, "total": len(rows), "has_more": False, "data": rows})
