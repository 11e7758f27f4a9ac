"""A stand-in for `systemctl` and for `crontab` over files: a class, and programs on PATH.

It keeps what the manager has read apart from what is on disk, and says `run JOB` in its log where the real
one would start a service: on a start of a service, of a Persistent= timer whose stamp is old, and on a reload
under an active timer that changed (systemd#14899).
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
Settings = tuple[str, str, int, str, str]  # program, home, version of systemd, kind of crontab, refusal


class FakeManager:
    """The user manager of one home. version: of systemd. Its state is in HOME/manager.json."""

    def __init__(self, home: Path, version: int = 252) -> None:
        self.version = version
        self.units = home / "config/systemd/user"
        self.stamps = home / "data/systemd/timers"
        self._state = home / "manager.json"
        self._log = home / "manager.log"

    # What tests ask

    def log(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def runs(self) -> list[str]:
        return [line for line in self.log() if line.startswith("run ")]

    def active(self) -> set[str]:
        return set(self._read()["active"])

    def enabled(self) -> set[str]:
        wants = self.units / "timers.target.wants"
        return {link.name for link in wants.iterdir()} if wants.is_dir() else set()

    def unread(self) -> set[str]:
        """Units that changed on disk since the manager read them."""
        loaded = self._read()["loaded"]
        return {
            name
            for name in loaded
            if (self.units / name).is_file() and (self.units / name).read_text() != loaded[name]
        }

    # What systemctl does

    def main(self, words: list[str]) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `systemctl WORDS`."""
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
                return 0, "\n".join(self._shown(name, state, name in enabled) for name in names), ""
            case "daemon-reload":
                return self._reload()
            case "start" | "stop":
                return self._active(verb, names)
            case "enable" | "disable":
                return self._enabled(verb, names)
        return 0, "", ""

    def _shown(self, name: str, state: dict[str, Any], enabled: bool) -> str:
        path = self.units / name
        masked = path.is_symlink()
        loaded = name in state["loaded"] or path.exists()
        stale = path.exists() and not masked and state["loaded"].get(name, "") != path.read_text()
        properties = {
            "Id": name,
            "LoadState": "masked" if masked else "loaded" if loaded else "not-found",
            "ActiveState": "active" if name in state["active"] else "inactive",
            "UnitFileState": "enabled" if enabled else "disabled" if loaded else "",
            "FragmentPath": str(path) if loaded else "",
            "DropInPaths": "",
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

    def _active(self, verb: str, names: list[str]) -> tuple[int, str, str]:
        state = self._read()
        for name in names:
            if verb == "stop":
                state["active"] = [other for other in state["active"] if other != name]
                continue
            if name not in state["loaded"] and not (self.units / name).exists():
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

    def _enabled(self, verb: str, names: list[str]) -> tuple[int, str, str]:
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
    """`crontab` over one file, with the words of one implementation; refusal: why `crontab -l` fails."""

    def __init__(self, home: Path, kind: str = "debian", refusal: str | None = None) -> None:
        self.table = home / "crontab.table"
        self._kind = kind
        self._refusal = refusal

    def main(self, words: list[str]) -> tuple[int, bytes, str]:
        """Exit code, stdout and stderr of `crontab WORDS`."""
        if self._refusal is not None:
            return 1, b"", self._refusal
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
    refusal: str = "",
    started: bool = False,
) -> None:
    """systemctl, crontab and systemd-analyze as programs of a directory, speaking to the fakes of `home`.

    started: forked commands start them, too, where that is the point.
    """
    bin_directory.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        program = bin_directory / name
        settings: Settings = (name, str(home), version, kind, refusal)
        program.write_text(
            f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"import fake_manager\n{'True and ' * started}{CALL}({settings!r})\n"
        )
        program.chmod(0o755)
    (bin_directory / "systemd-analyze").write_text("#!/bin/sh\nexit 0\n")
    (bin_directory / "systemd-analyze").chmod(0o755)


def answer(settings: Settings, words: list[str]) -> tuple[int, bytes, str]:
    """Exit code, stdout and stderr of the program with these settings."""
    name, home, version, kind, refusal = settings
    if name == "crontab":
        return FakeCrontab(Path(home), kind, refusal or None).main(words)
    code, out, err = FakeManager(Path(home), version).main(words)
    return code, out.encode(), err


def program(settings: Settings) -> None:
    code, out, err = answer(settings, sys.argv[1:])
    sys.stdout.buffer.write(out)
    sys.stderr.write(err)
    sys.exit(code)


def answer_in_process(argv: Sequence[str]) -> tuple[int, bytes, str] | None:
    """What the program on PATH prints where it is one of install_programs, else None."""
    path = shutil.which(argv[0]) if argv[0] in PROGRAMS else None
    text = "" if path is None else Path(path).read_text(errors="replace")
    _, called, settings = text.partition(f"\n{CALL}")
    return answer(ast.literal_eval(settings.strip()), list(argv[1:])) if called else None
