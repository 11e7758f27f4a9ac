"""Cost of `install`, a second `install`, `status` and `uninstall` for COUNT jobs, without systemctl's cost.

Prints JSON: for each command CPU and wall seconds, calls per verb of systemctl, and changed files (opened for
writing, renamed, removed or created).
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dify_job.cli.main import cli
from dify_job.cli.options import Globals
from dify_job.schedulers import systemctl
from dify_job.system import subprocesses, user

KEY = "app-bench-0123456789"


_WRITING = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.chmod",
    "os.truncate",
}


class Writes:
    """Records changes of the file system with an audit hook."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        sys.addaudithook(self.record)

    def record(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "os.mkdir" and Path(args[0]).is_dir():
            return  # it is there already, so nothing is written
        if event in _WRITING or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)):
            self.seen.append(f"{event} {args[0]}")


class InstantManager:
    """A fake systemctl that completes every command at once."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.active: set[str] = set()
        self.enabled: set[str] = set()

    def run(self, argv: Sequence[str], **_: Any) -> subprocesses.Completed:
        if "--version" in argv:
            return subprocesses.Completed(0, b"systemd 252 (252)\n", b"")
        verb, *names = [word for word in argv[1:] if not word.startswith("-")]
        self.calls[f"{argv[0]} {verb}"] += 1
        if verb == "start":
            self.active |= set(names)
        if verb == "show":
            return subprocesses.Completed(0, "\n".join(map(self.shown, names)).encode(), b"")
        if verb == "enable":
            wants = Path(os.environ["XDG_CONFIG_HOME"], "systemd/user/timers.target.wants")
            wants.mkdir(parents=True, exist_ok=True)
            self.enabled |= set(names)
            for name in names:
                (wants / name).symlink_to(wants.parent / name)
        return subprocesses.Completed(0, b"", b"")

    def shown(self, name: str) -> str:
        state = "active" if name in self.active else "inactive"
        at_boot = "enabled" if name in self.enabled else "disabled"
        return (
            f"Id={name}\nLoadState=loaded\nActiveState={state}\nUnitFileState={at_boot}\nNeedDaemonReload=no\n"
            "Result=success\nExecMainStatus=0\nExecMainExitTimestamp=n/a\nNextElapseUSecRealtime=n/a\n"
        )


def main(count: int, home: Path) -> None:
    os.environ |= {"HOME": str(home), "XDG_CONFIG_HOME": f"{home}/c", "XDG_STATE_HOME": f"{home}/s"}
    os.environ["XDG_DATA_HOME"] = f"{home}/d"
    user.account_home = lambda: home  # install marks the state of jobs there, too
    config, key = home / "c/dify-job/config.toml", home / "key"
    config.parent.mkdir(parents=True)
    key.write_text(KEY)
    key.chmod(0o600)
    jobs = (f'[jobs.job-{n}]\nevery = "1h"\njitter = "5min"\ninputs = {{ n = {n} }}\n' for n in range(count))
    config.write_text(
        f'[defaults]\nbase_url = "http://127.0.0.1/v1"\napi_key_file = "{key}"\n' + "".join(jobs)
    )
    subprocesses.is_on_path = lambda name: name == "systemctl"
    systemctl.Manager.unavailable_reason = lambda _self: None  # type: ignore[method-assign]
    manager, results, writes = InstantManager(), {}, Writes()
    subprocesses.run = manager.run  # type: ignore[assignment]
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    for name, words in (
        ("install", ["install", "--user", "--backend", "systemd"]),
        ("install, unchanged", ["install", "--user", "--backend", "systemd"]),
        ("status", ["status", "--user", "--backend", "systemd"]),
        ("uninstall", ["uninstall", "--all", "--purge", "--user", "--backend", "systemd"]),
    ):
        manager.calls.clear()
        writes.seen.clear()
        cpu, wall = time.process_time(), time.monotonic()
        cli.main(words, prog_name="dify-job", standalone_mode=False, obj=Globals())
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        results[name] = {"cpu": cpu, "wall": wall, "calls": dict(manager.calls), "writes": writes.seen[:]}
    sys.__stdout__.write(json.dumps(results))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        main(int(sys.argv[1]), Path(directory))
