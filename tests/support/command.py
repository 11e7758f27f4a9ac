"""dify-job as a process, the apps of the demo server that tests call, and their key."""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dify_job.demo.apps import App, Node
from dify_job.demo.server import StandIn
from tests.support.home import Ran

KEY = "app-canary-0123456789abcdef"

APPS = (
    App(KEY, "Echo"),
    App("app-fails", nodes=(Node("Start"), Node("Ask the service", error="[Errno 111] Connection refused"))),
    App("app-partial", nodes=(Node("Start"), Node("Ask", error="no", absorbed=True), Node("End"))),
    App("app-slow", nodes=(Node("Start"), Node("Think", 30.0), Node("End"))),
    App("app-six-seconds", nodes=(Node("Start"), Node("Think", 6.0), Node("End"))),
    App("app-two-seconds", nodes=(Node("Start"), Node("Think", 2.0), Node("End"))),
    App("app-human", nodes=(Node("Start"), Node("Ask a human", pauses=True))),
    App("app-unpublished", published=False),
    App("app-off", api_enabled=False),
    App("app-chat", mode="advanced-chat"),
    App("app-form", form=({"text-input": {"variable": "text", "required": True, "max_length": 48}},)),
)


@dataclass
class Command:
    """dify-job as a process, in a home of its own."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(
        self, *args: str, env: Mapping[str, str] | None = None, **settings: Any
    ) -> "subprocess.Popen[str]":
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        settings = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "stdin": subprocess.DEVNULL,
        } | settings
        return subprocess.Popen(
            [sys.executable, "-m", "dify_job", *args],
            env={
                **kept,
                "HOME": str(self.home),
                "STATE_DIRECTORY": str(self.home / "state"),
                **self.env,
                **(env or {}),
            },
            cwd=self.home,
            text=True,
            **settings,
        )

    def __call__(self, *args: str, env: Mapping[str, str] | None = None, **settings: Any) -> Ran:
        stdin = settings.pop("input", None)
        if stdin is not None:
            settings["stdin"] = subprocess.PIPE
        process = self.start(*args, env=env, **settings)
        stdout, stderr = process.communicate(stdin, timeout=60)
        return Ran(process.returncode, stdout or "", stderr or "")

    def signal_when(self, process: "subprocess.Popen[str]", ready: Any, signum: int = signal.SIGTERM) -> Ran:
        until = time.monotonic() + 20
        while not ready() and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signum)
        stdout, stderr = process.communicate(timeout=30)
        return Ran(process.returncode, stdout, stderr)


def tls(server: StandIn, certificate: tuple[Path, Path]) -> StandIn:
    """The same server behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    return server
