import contextlib
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dify_job.demo.apps import App, Node
from dify_job.demo.server import StandIn

from .accepting import Saying, Says
from .home import Home, Ran

if TYPE_CHECKING:
    from .forked import Forks

KEY = "app-canary-0123456789abcdef"


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


@pytest.fixture
def dify_job(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def cron_home(tmp_path: Path) -> Home:
    return Home(tmp_path, booted=False)


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


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(APPS, ping=0.5) as made:
        yield made


@pytest.fixture
def old_server() -> Iterator[StandIn]:
    with StandIn(APPS, version="1.11.2", ping=0.5) as made:
        yield made


@pytest.fixture
def environ(server: StandIn) -> dict[str, str]:
    return {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    key, cert = directory / "key.pem", directory / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-keyout", str(key), "-out", str(cert), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


@pytest.fixture(scope="module")
def forks() -> Iterator["Forks"]:
    from .forked import Forks  # noqa: PLC0415 - which imports all that a run does

    with Forks() as made:
        yield made


@pytest.fixture
def saying() -> Iterator[Says]:
    """Makes servers that give one answer each."""
    with contextlib.ExitStack() as servers:
        yield lambda *args, **settings: servers.enter_context(Saying(*args, **settings))


def tls(server: StandIn, certificate: tuple[Path, Path]) -> StandIn:
    """The same server behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    return server
