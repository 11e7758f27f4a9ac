"""Interrupt an install at its file operations and program calls by SIGKILL, a full disk or a failing program.

usage: kills.py BACKEND SCENARIO FAULT DIRECTORY FIRST STEP

Interrupts every STEP-th operation from FIRST on, each in a fork, and prints a JSON list of the states before
and after. Operations are counted in the os module.
"""

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dify_job.config.loader import load_config
from dify_job.config.model import ScheduleConfig
from dify_job.messages.errors import JobError
from dify_job.schedulers import cron, installation, systemctl
from dify_job.schedulers.backend import Backend, InstallOptions
from dify_job.schedulers.cron import CronFiles, UserCrontab
from dify_job.schedulers.job_spec import JobSpec
from dify_job.schedulers.model import Scope
from dify_job.schedulers.reconcile import Plan
from dify_job.schedulers.systemd import Systemd
from dify_job.system import subprocesses
from tests.support.fake_manager import TWO_DAYS, FakeCrontab, FakeManager

OPERATIONS = ("rename", "unlink", "mkdir", "rmdir", "fsync", "fchmod", "chmod", "open", "fdopen", "symlink")
real = {name: getattr(os, name) for name in OPERATIONS}
os.fsync = real["fsync"] = lambda _descriptor: None  # counted, but not executed
exit_now = os._exit


class Faults:
    """Counts operations, and makes one of them fail.

    Args:
        kind: "kill", "full" (disk), "failing" (program) or "none".
        aim: Number of the operation that fails.
    """

    def __init__(self, kind: str, aim: int) -> None:
        self.kind = kind
        self.aim = aim
        self.count = 0

    def point(self, what: str) -> None:
        self.count += 1
        if self.count != self.aim:
            return
        if self.kind == "kill":
            exit_now(137)
        if self.kind == "full" and what in ("open", "fsync", "mkdir", "rename", "write"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), what)

    def around(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                return real["open"](*args, **named)
            self.point(name)
            result = real[name](*args, **named)
            if self.kind == "kill":
                self.point(name)
            return HalfWriter(result, self) if name == "fdopen" else result

        return call


class HalfWriter:
    """A file that can fail in the middle of a write."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file = file
        self._faults = faults

    def write(self, data: bytes) -> None:
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        self._faults.point("write")
        self._file.write(data[len(data) // 2 :])

    def __enter__(self) -> "HalfWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def plans(*, new: bool, service_alone: bool = False) -> list[JobSpec]:
    return [
        JobSpec(
            job=job,
            description="after" if new and not service_alone else "before",
            schedule=ScheduleConfig(every=7200.0 if new and not service_alone else 3600.0, catch_up=True),
            config_path=Path("/etc/dify-job/config.toml"),
            python=Path("/usr/bin/python3"),
            timeout=900.0 if new else 600.0,
            fingerprint=("b" if new and not service_alone else "a") * 16,
            notify="" if new and not service_alone else "{}",  # the change removes its failure handler
        )
        for job in ("daily", "weekly")
    ]


class Home:
    """A user's home with fake programs, and the back end under test."""

    def __init__(self, directory: Path, backend: str) -> None:
        self.directory = directory
        self.backend = backend
        os.environ |= {
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "XDG_DATA_HOME": str(directory / "data"),
            "XDG_STATE_HOME": str(directory / "state"),
        }
        self.manager = FakeManager(directory)
        self.table = FakeCrontab(directory)
        self.faults = Faults("none", 0)
        subprocesses.run = self.run  # type: ignore[assignment]
        subprocesses.is_on_path = lambda _name: True  # type: ignore[assignment]
        systemctl.Manager.unavailable_reason = lambda _self: None  # type: ignore[method-assign, assignment]
        cron.is_running = lambda: True
        directory.mkdir(parents=True)
        if backend == "cron.d":
            (directory / "cron.d").mkdir()
        if backend == "crontab":
            self.table.table.write_bytes(b"# mine\r\n0 0 * * * x \xff\n")

    def run(self, argv: list[str], **_: Any) -> subprocesses.Completed:
        if argv[0] == "systemd-analyze":
            return subprocesses.Completed(0, b"", b"")
        self.faults.point("program")
        if self.faults.kind == "failing" and self.faults.count == self.faults.aim:
            return subprocesses.Completed(1, b"", b"Failed: connection timed out")
        fake = self.table if argv[0] == "crontab" else self.manager
        os.__dict__.update(real)  # do not count the operations of the fake program
        code, out, err = fake.main(list(argv[1:]))
        self.enable_faults()
        self.faults.point("program")
        return subprocesses.Completed(code, out if isinstance(out, bytes) else out.encode(), err.encode())

    def scheduler(self) -> Backend:
        if self.backend == "systemd":
            return Systemd(Scope.USER)
        if self.backend == "crontab":
            return UserCrontab(Scope.USER)
        scheduler = CronFiles(self.directory / "cron.d")
        scheduler.base = self.directory / "state/dify-job"
        return scheduler

    def enable_faults(self) -> None:
        if self.faults.kind != "none":
            os.__dict__.update({name: self.faults.around(name) for name in OPERATIONS})

    def files(self) -> dict[str, str]:
        own = (self.directory / "config/dify-job", self.directory / "state/dify-job")
        places = [self.manager.units, self.directory / "cron.d", *own]
        found = {
            str(path.relative_to(self.directory)): path.read_text()
            for place in places
            if place.is_dir()
            for path in place.rglob("*")
            if path.is_file() and not path.is_symlink() and path.name != "install.lock"
        }
        if self.table.table.exists():
            found["crontab"] = self.table.table.read_bytes().decode("latin-1")
        return found

    def snapshot(self) -> dict[str, Any]:
        return {
            "files": self.files(),
            "active": sorted(self.manager.active()),
            "enabled": sorted(self.manager.enabled()),
            "unread": sorted(self.manager.unread()),
        }


def prepare(home: Home, scenario: str) -> None:
    (home.directory / ".env").write_text("DIFY_API_KEY=app-canary-0123456789\n")
    if scenario in ("fresh", "env-file"):
        return
    scheduler = home.scheduler()
    installation.apply_plan(scheduler, partial(scheduler.plan_install, plans(new=False), InstallOptions()))
    for stamp in home.manager.units.glob("*.timer"):
        path = home.manager.stamps / f"stamp-{stamp.name}"
        if path.exists():
            os.utime(path, (time.time() - TWO_DAYS, time.time() - TWO_DAYS))
    if scenario in ("paused", "start", "resume"):
        scheduler = home.scheduler()
        installation.apply_plan(scheduler, partial(scheduler.plan_pause, ["weekly"], paused=True))


def plan_of(home: Home, scenario: str) -> tuple[Backend, Callable[[], Plan]]:
    """Return the scheduler, and the function that makes the plan of the interrupted command."""
    scheduler = home.scheduler()
    match scenario:
        case "uninstall":
            return scheduler, partial(scheduler.plan_install, (), InstallOptions(), ["daily", "weekly"])
        case "pause" | "resume":
            return scheduler, partial(scheduler.plan_pause, ["weekly"], paused=scenario == "pause")
        case "env-file":  # with its config, its key and its schedule
            config = load_config(env_file=home.directory / ".env")
            flags = ScheduleConfig(every=7200.0)
            ready = installation.prepare(config, config.jobs["default"], flags, None, Scope.USER)
            return scheduler, partial(installation.plan_install, scheduler, [ready], InstallOptions())
    wanted = plans(new=True, service_alone=scenario == "service")
    options = InstallOptions(start=True if scenario == "start" else None)
    return scheduler, partial(scheduler.plan_install, wanted, options)


def act(home: Home, scenario: str) -> None:
    installation.apply_plan(*plan_of(home, scenario))


def run_interrupted(backend: str, scenario: str, kind: str, aim: int, directory: Path) -> dict[str, Any]:
    home = Home(directory, backend)
    prepare(home, scenario)
    before = home.snapshot()
    child = os.fork()
    if child == 0:
        home.faults = Faults(kind, aim)
        home.enable_faults()
        try:
            act(home, scenario)
            code = 0 if home.faults.count >= aim else 99  # fewer operations than aimed at
        except JobError as error:
            (directory / "error").write_text(f"{error.outcome}: {error.message}")
            code = 3
        exit_now(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    after = home.snapshot()
    error_file = directory / "error"
    error_text = error_file.read_text() if error_file.exists() else ""
    _, make_plan = plan_of(home, scenario)
    shown = bool(make_plan().changes())
    act(home, scenario)
    return {
        "aim": aim,
        "code": code,
        "error": error_text,
        "shown": shown,
        "before": before,
        "after": after,
        "end": home.snapshot(),
        "runs": home.manager.runs(),
    }


def main() -> None:
    backend, scenario, kind, place, first, step = sys.argv[1:]
    found = []
    for aim in range(int(first), 1000, int(step)):
        directory = Path(place, "home")  # the same path for all, since written files contain it
        found.append(run_interrupted(backend, scenario, kind, aim, directory))
        shutil.rmtree(directory)
        if found[-1]["code"] == 99:
            break
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
