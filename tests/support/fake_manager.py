"""Fake `systemctl` and `crontab` over files, as classes and as programs on PATH.

The fake manager distinguishes loaded units from those on disk. It writes `run JOB` to its log where systemd
would start a service: on a start of the service, on a start of a Persistent= timer with an old stamp, and on
a reload with a changed active timer (systemd#14899).
"""

import ast
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TWO_DAYS = 172_800
PROGRAMS = ("systemctl", "crontab")
CALL = "fake_manager.program"
Settings = tuple[str, str, int, str, str]  # program, home, systemd version, crontab kind, error of crontab


class FakeManager:
    """The user manager of a home, with its state in HOME/manager.json.

    Args:
        home: The home directory.
        version: systemd version.
    """

    def __init__(self, home: Path, version: int = 252) -> None:
        self.version = version
        self.units = home / "config/systemd/user"
        self.stamps = home / "data/systemd/timers"
        self._state = home / "manager.json"
        self._log = home / "manager.log"

    # For assertions

    def log(self) -> list[str]:
        """Return all commands, and `run JOB` for each started service."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def runs(self) -> list[str]:
        """Return a line per started service."""
        return [line for line in self.log() if line.startswith("run ")]

    def active(self) -> set[str]:
        """Return the active units."""
        return set(self._read()["active"])

    def enabled(self) -> set[str]:
        """Return the enabled timers."""
        wants = self.units / "timers.target.wants"
        return {link.name for link in wants.iterdir()} if wants.is_dir() else set()

    def unread(self) -> set[str]:
        """Return units that changed on disk after they were loaded."""
        loaded = self._read()["loaded"]
        return {
            name
            for name in loaded
            if (self.units / name).is_file() and (self.units / name).read_text() != loaded[name]
        }

    # Commands of systemctl

    def main(self, words: list[str]) -> tuple[int, str, str]:
        """Run `systemctl WORDS`; return exit code, stdout and stderr."""
        if "--version" in words:
            return 0, f"systemd {self.version} ({self.version}-fake)\n+PAM\n", ""
        verb, *names = [word for word in words if not word.startswith("-")]
        with self._log.open("a") as log:
            log.write(" ".join([verb, *names]) + "\n")
        match verb:
            case "show" if "--property=UnitPath" in words:
                own = (
                    self.units.with_name("user.control"),
                    Path("/run/user/1/systemd/user.control"),
                    self.units,
                )
                data = self.stamps.with_name("user")
                shown = (*own, Path("/etc/systemd/user"), data, Path("/usr/lib/systemd/user"))
                return 0, f"UnitPath={' '.join(map(str, shown))}\n", ""
            case "show":
                state, enabled = self._read(), self.enabled()
                return 0, "\n".join(self._properties_of(name, state, name in enabled) for name in names), ""
            case "daemon-reload":
                return self._reload()
            case "start" | "stop":
                return self._set_active(verb, names)
            case "enable" | "disable":
                return self._set_enabled(verb, names)
        return 0, "", ""

    def _properties_of(self, name: str, state: dict[str, Any], enabled: bool) -> str:
        path = self.units / name
        masked = path.is_symlink()
        loaded = name in state["loaded"] or masked or path.is_file()
        stale = path.is_file() and not masked and state["loaded"].get(name, "") != path.read_text()
        properties = {
            "Id": name,
            "LoadState": "masked" if masked else "loaded" if loaded else "not-found",
            "ActiveState": "active" if name in state["active"] else "inactive",
            "UnitFileState": "enabled" if enabled else "disabled" if loaded else "",
            "FragmentPath": str(path) if loaded else "",
            "DropInPaths": " ".join(map(str, sorted((self.units / f"{name}.d").glob("*.conf")))),
            "NeedDaemonReload": "yes" if stale and name in state["loaded"] else "no",
            "Result": "success",
            "ExecMainStatus": "0",
            "ExecMainExitTimestamp": "n/a",
            "NextElapseUSecRealtime": "",
        }
        return "".join(f"{key}={value}\n" for key, value in properties.items())

    def _reload(self) -> tuple[int, str, str]:
        state = self._read()
        files = [path for path in sorted(self.units.glob("dify-job-*")) if path.is_file()]
        loaded = {path.name: path.read_text() for path in files}
        for name in state["active"]:
            if name in loaded and loaded[name] != state["loaded"].get(name):
                self._run(name)
        state["loaded"] = loaded
        self._write(state)
        return 0, "", ""

    def _set_active(self, verb: str, names: list[str]) -> tuple[int, str, str]:
        state = self._read()
        for name in names:
            if verb == "stop":
                state["active"] = [other for other in state["active"] if other != name]
                continue
            if name not in state["loaded"] and not (self.units / name).is_file():
                return 5, "", f"Failed to start {name}: Unit {name} not found.\n"
            state["loaded"].setdefault(name, (self.units / name).read_text())
            if name.endswith(".service"):
                self._run(name)
                continue
            stamp = self.stamps / f"stamp-{name}"
            old = stamp.exists() and time.time() - stamp.stat().st_mtime > TWO_DAYS / 2
            if "Persistent=yes" in state["loaded"][name] and old and name not in state["active"]:
                self._run(name)
            state["active"] = sorted({*state["active"], name})
        self._write(state)
        return 0, "", ""

    def _set_enabled(self, verb: str, names: list[str]) -> tuple[int, str, str]:
        wants = self.units / "timers.target.wants"
        for name in names:
            if verb == "enable":
                if not (self.units / name).exists():
                    return 1, "", f"Failed to enable unit: Unit file {name} does not exist.\n"
                wants.mkdir(exist_ok=True)
                if not (wants / name).is_symlink():
                    (wants / name).symlink_to(self.units / name)
            else:
                (wants / name).unlink(missing_ok=True)
        return 0, "", ""

    def _run(self, name: str) -> None:
        with self._log.open("a") as log:
            log.write(f"run {name.rpartition('.')[0]}\n")

    def _read(self) -> dict[str, Any]:
        return json.loads(self._state.read_text()) if self._state.exists() else {"loaded": {}, "active": []}

    def _write(self, state: dict[str, Any]) -> None:
        temporary = self._state.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(state))
        temporary.rename(self._state)


class FakeCrontab:
    """`crontab` over one file.

    Args:
        home: Directory of the file.
        kind: Implementation with its messages: "debian" or "busybox".
        crontab_error: Error message of every command, if not None.
    """

    def __init__(self, home: Path, kind: str = "debian", crontab_error: str | None = None) -> None:
        self.table = home / "crontab.table"
        self._kind = kind
        self._error = crontab_error

    def main(self, words: list[str]) -> tuple[int, bytes, str]:
        """Run `crontab WORDS`; return exit code, stdout and stderr."""
        if self._error is not None:
            return 1, b"", self._error
        match words:
            case ["-l"]:
                if self.table.exists():
                    return 0, self.table.read_bytes(), ""
                return 1, b"", self._none()
            case ["-r"]:
                self.table.unlink(missing_ok=True)
                return 0, b"", ""
            case [file]:
                temporary = self.table.with_suffix(f".{os.getpid()}")
                temporary.write_bytes(Path(file).read_bytes())
                temporary.rename(self.table)
                return 0, b"", ""
        return 1, b"", "crontab: usage error: unrecognized option\n"

    def _none(self) -> str:
        if self._kind == "busybox":
            return "crontab: can't open 'maria': No such file or directory\n"
        return "no crontab for maria\n"


def install_programs(
    home: Path,
    bin_directory: Path,
    *,
    version: int = 252,
    kind: str = "debian",
    crontab_error: str = "",
    started: bool = False,
) -> None:
    """Write fake systemctl, crontab and systemd-analyze programs.

    Args:
        home: Home directory with the state of the fakes.
        bin_directory: Directory of the programs.
        version: systemd version.
        kind: Implementation of crontab.
        crontab_error: Error message of every crontab command; empty for none.
        started: Forked commands start them as processes, instead of calling the fakes directly.
    """
    bin_directory.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        program = bin_directory / name
        settings: Settings = (name, str(home), version, kind, crontab_error)
        program.write_text(
            f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"import fake_manager\n{'True and ' * started}{CALL}({settings!r})\n"
        )
        program.chmod(0o755)
    (bin_directory / "systemd-analyze").write_text("#!/bin/sh\nexit 0\n")
    (bin_directory / "systemd-analyze").chmod(0o755)


def answer(settings: Settings, words: list[str]) -> tuple[int, bytes, str]:
    """Run a fake program; return exit code, stdout and stderr."""
    name, home, version, kind, crontab_error = settings
    if name == "crontab":
        return FakeCrontab(Path(home), kind, crontab_error or None).main(words)
    code, out, err = FakeManager(Path(home), version).main(words)
    return code, out.encode(), err


def program(settings: Settings) -> None:
    code, out, err = answer(settings, sys.argv[1:])
    sys.stdout.buffer.write(out)
    sys.stderr.write(err)
    sys.exit(code)


def answer_in_process(argv: Sequence[str]) -> tuple[int, bytes, str] | None:
    """Call the fake of a program on PATH directly; None if the program is not one of install_programs."""
    path = shutil.which(argv[0]) if argv[0] in PROGRAMS else None
    text = "" if path is None else Path(path).read_text(errors="replace")
    _, called, settings = text.partition(f"\n{CALL}")
    return answer(ast.literal_eval(settings.strip()), list(argv[1:])) if called else None
