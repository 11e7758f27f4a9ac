"""A booted host: systemd as PID 1, journald and cron in a container that shares this machine's programs.

Any root directory with systemd works (tests/matrix). Needs root and systemd-nspawn.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.command_result import CommandResult

from . import overlay


class Machine:
    """A container with its file system in memory.

    Args:
        lower: Root directory that the container's overlay is based on.
        name: Prefix of the machine name.
    """

    def __init__(self, lower: Path = Path("/"), name: str = "dify-job-test") -> None:
        self._lower = lower
        self._name = f"{name}-{os.getpid()}"
        self._tmp = Path(tempfile.mkdtemp(prefix="dify-job-host-"))
        self.root = self._tmp / "root"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._cgroup = _cgroup2() / self._name  # --keep-unit: each machine needs a cgroup of its own

    @property
    def leader(self) -> int:
        """Process ID of the container's PID 1, as seen from outside."""
        return self._leader

    def mount(self) -> None:
        """Mount the overlay; its upper layer is in memory and discarded with it."""
        _call("mount", "-t", "tmpfs", "-o", "size=4g,mode=755", "tmpfs", str(self._tmp))
        for part in ("upper", "work", "root"):
            (self._tmp / part).mkdir()
        overlay.prepare(self._lower, self._tmp / "upper")
        options = f"lowerdir={self._lower},upperdir={self._tmp}/upper,workdir={self._tmp}/work"
        _call("mount", "-t", "overlay", "-o", options, "overlay", str(self.root))
        overlay.fill(self._lower, self.root)
        Path("/run/systemd/nspawn").mkdir(parents=True, exist_ok=True)
        if not _is_mount("/run/systemd/nspawn"):
            _call("mount", "-t", "tmpfs", "tmpfs", "/run/systemd/nspawn")

    def start(self) -> None:
        """Boot, and wait until systemd has started all units.

        Raises:
            RuntimeError: The container did not boot.
        """
        self._cgroup.mkdir(exist_ok=True)
        self._nspawn = subprocess.Popen(
            [
                "sh", "-c", 'echo $$ >"$0"/cgroup.procs && exec "$@"', str(self._cgroup),
                "setpriv", "--pdeathsig=TERM",  # end the host when the tests are killed
                "systemd-nspawn", "-q", "-D", str(self.root), "--boot", "--register=no", "--keep-unit",
                "--link-journal=no", "--console=pipe", "--timezone=off", f"--machine={self._name}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )  # fmt: skip
        until = time.monotonic() + 60
        while time.monotonic() < until:
            children = subprocess.run(
                ["pgrep", "-P", str(self._nspawn.pid)], capture_output=True, text=True, check=False
            )
            if children.stdout.split():
                self._leader = int(children.stdout.split()[0])
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
                if state in ("running", "degraded"):
                    return
            if self._nspawn.poll() is not None:
                raise RuntimeError(f"systemd-nspawn ended with {self._nspawn.returncode}")
            time.sleep(0.1)
        raise RuntimeError("the container did not boot within 60 s")

    def stop(self) -> None:
        """Power off; the file system stays, so that `start` boots it again."""
        if self._nspawn is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._nspawn.pid, signal.SIGTERM)
            try:
                self._nspawn.wait(10)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
            self._nspawn = None
            for directory, _, _ in os.walk(self._cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    Path(directory).rmdir()

    def discard(self) -> None:
        """Power off and discard the file system."""
        self.stop()
        overlay.discard(self._tmp)

    def run(
        self,
        *argv: str,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        check: bool = True,
        stdin: str | None = None,
        timeout: float = 60,
    ) -> CommandResult:
        """Run a program in the container with a clean environment.

        Args:
            argv: Command line.
            user: Name of the user.
            env: Additional environment variables.
            check: Raise if the program fails.
            stdin: Standard input.
            timeout: Limit in seconds.

        Raises:
            AssertionError: The program failed, and `check` is set.
        """
        variables = {
            "PATH": "/opt/dify-job/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": _home(user),
            **(env or {}),
        }
        prefix = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        if user != "root":
            prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *prefix]
        done = subprocess.run(
            [
                "sh", "-c", '{ echo $$ >"$0"; } 2>/dev/null; exec "$@"', str(self._cgroup_inside()),
                "nsenter", "-t", str(self._leader), "-a", *prefix, *argv,
            ],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd="/",
            check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def _cgroup_inside(self) -> Path:
        """Return a cgroup of the container: logind of systemd 257 knows no caller from outside."""
        return self._cgroup / "payload/init.scope/cgroup.procs"

    def write(self, path: str, content: str, mode: int = 0o644, owner: str | None = None) -> None:
        """Write a file in the container; replace a symlink at its path, never follow one out of it."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        assert target.parent.resolve().is_relative_to(self.root.resolve()), f"{path} is outside of the host"
        if target.is_symlink():
            target.unlink()
        target.write_text(content)
        target.chmod(mode)
        if owner is not None:
            self.run("chown", owner, path)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path.lstrip("/"))


def _cgroup2() -> Path:
    """Return the mount point of the unified cgroup hierarchy, which can coexist with version 1."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next(Path(mount[1]) for mount in mounts if mount[2] == "cgroup2")


def _home(user: str) -> str:
    return "/root" if user == "root" else f"/home/{user}"


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def _is_mount(path: str) -> bool:
    return any(line.split()[1] == path for line in Path("/proc/mounts").read_text().splitlines())
