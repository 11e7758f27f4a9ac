"""The rules of the house: which room may know which, who prints, who speaks HTTP."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "dify_job"

GROUND = {
    "caller",
    "directory",
    "errors",
    "exits",
    "files",
    "history",
    "journal",
    "kept",
    "later",
    "log",
    "mailbox",
    "ownership",
    "plain",
    "process",
    "state",
    "templates",
    "timespan",
    "values",
    "words",
    "xdg",
    "",
}
# wing -> what it may import besides the ground
ALLOWED = {
    "cli": {
        "running",
        "scheduling",
        "config",
        "dify",
        "standin",
        "doctor",
        "installing",
        "service",
        "http",
        "cli",
    },
    "doctor": {"doctor", "running", "scheduling", "config", "dify"},
    "http": {"http", "service", "scheduling", "config"},
    "installing": {"scheduling", "config"},
    "service": {"running", "scheduling", "config", "installing"},
    "running": {"running", "dify", "config"},
    "scheduling": {"scheduling", "config"},
    "config": {"config"},
    "dify": {"dify"},
    "standin": {"standin"},
    "__init__": {"running"},  # the names for Python programs
}
# module -> the only rooms that may import it
ONLY = {
    "requests": {"dify/client", "dify/download", "dify/transport", "running/notify"},
    "apprise": {"running/notify"},
    "urllib3": {"dify/transport"},
    "http.client": {"dify/transport"},
    "subprocess": {"process"},
    "jinja2": {"templates"},
    "click": {"cli/"},
    "structlog": {"log"},
    # the classes of schedulers: all others are given a Backend
    "dify_job.scheduling.systemd": {"scheduling/host", "cli/render", "doctor/case"},
    "dify_job.scheduling.cron": {"scheduling/cron_files", "scheduling/cron_table"},
    "dify_job.scheduling.cron_files": {"scheduling/host", "cli/render"},
    "dify_job.scheduling.cron_table": {"scheduling/host", "cli/render"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def wing_of(room: str) -> str:
    if room == "__main__":
        return "cli"
    return room.split("/", maxsplit=1)[0] if "/" in room or room in ALLOWED else ""


def imports(room: str, source: str) -> Iterator[str]:
    """Absolute names of what is imported; ours begin with dify_job."""
    package = ["dify_job", *room.split("/")[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def violations(room: str, source: str) -> list[str]:
    wing = wing_of(room)
    found = [f"{room} imports {name}" for name in imports(room, source) if not may_import(room, name)]
    if len(source.splitlines()) >= 300:
        found.append(f"{room} is two rooms")
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="print" | "exit" | "quit")) if wing != "cli":
                found.append(f"{room}:{node.lineno} prints or exits")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="sys" | "os"), attr="exit" | "_exit")) if (
                wing != "cli"
            ):
                found.append(f"{room}:{node.lineno} exits")
            case ast.Attribute(attr="fsync") if room != "directory":
                found.append(f"{room}:{node.lineno} writes a whole file by itself")
    return found


def may_import(room: str, name: str) -> bool:
    if name.startswith("dify_job."):
        target = name.split(".")[1]
        if target not in GROUND | ALLOWED.get(wing_of(room), set()) and (PACKAGE / target).exists():
            return False
    rooms = [rooms for module, rooms in ONLY.items() if name == module or name.startswith(module + ".")]
    return all(
        any(room == only or (only.endswith("/") and room.startswith(only)) for only in allowed)
        for allowed in rooms
    )


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=room_of)
def test_a_room_keeps_the_rules(path: Path) -> None:
    assert violations(room_of(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("scheduling/cron", "from ..running import runner"),
        ("running/runner", "from ..scheduling.cron import x"),
        ("scheduling/systemd", "from .. import dify"),
        ("running/runner", "import requests"),
        ("config/read", "import subprocess"),
        ("state", "from .config.read import load_config"),
        ("standin/server", "from ..config import model"),
        ("running/runner", "print(1)"),
        ("state", "import sys\nsys.exit(1)"),
        ("running/inputs", "def f():\n    import jinja2"),
        ("cli/install", "from ..scheduling.systemd import Systemd"),
        ("state", "\n" * 300),
        ("state", "import os\nos.fsync(fd)"),
    ],
)
def test_the_checker_sees_what_breaks_them(room: str, source: str) -> None:
    assert violations(room, source)


def test_no_room_is_reached_again_by_what_it_imports() -> None:
    rooms = {room_of(path): path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    known = {f"dify_job.{room.replace('/', '.')}": room for room in rooms}
    below = {
        room: {known[name] for name in imports(room, path.read_text()) if name in known}
        for room, path in rooms.items()
    }
    while below:  # takes away those that stand on nothing, floor by floor
        ready = {room for room, on in below.items() if not on & below.keys()}
        assert ready, f"a circle, and what stands on it: {sorted(below)}"
        below = {room: on for room, on in below.items() if room not in ready}


def test_nothing_names_a_path_outside_the_project() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    names = [
        name for name in listed.stdout.decode().split("\0") if name and not name.startswith("tests/data/")
    ]
    assert names, "not a git checkout"
    forbidden = ["/".join(("", "work", "")), "/".join(("..", "shared")), "/".join(("", "root", ".pyenv"))]
    for name in names:
        text = (ROOT / name).read_text(errors="replace")
        assert not [word for word in forbidden if word in text], name
