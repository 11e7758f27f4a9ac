"""Where systemd keeps the units and stamps of a scope, and we the lock of install."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from ..system.paths import data_home
from .backend import Scope
from .failure_unit import SYSTEM_UNITS, user_units


@dataclass(frozen=True, slots=True)
class SystemdPaths:
    """Directories of one scope."""

    units: Path
    stamps: Path
    base: Path  # the lock, and what an install that was killed had still to do

    @classmethod
    def of(cls, scope: Scope) -> "SystemdPaths":
        """The places that systemd and the state of jobs have (systemd.unit(5), systemd.timer(5))."""
        if scope is Scope.SYSTEM:
            return cls(SYSTEM_UNITS, Path("/var/lib/systemd/timers"), scope.base)
        data = data_home()
        return cls(user_units(), data / "systemd/timers", scope.base)

    def wanted(self, timer: str) -> Path:
        """The link that arms a timer at boot."""
        return self.units / "timers.target.wants" / timer

    def stamp(self, timer: str) -> Path:
        """When a Persistent= timer elapsed last."""
        return self.stamps / f"stamp-{timer}"

    def touch_stamp(self, timer: str) -> None:
        """A stamp of now: a Persistent= timer that starts has missed nothing (systemd.timer(5))."""
        stamp = self.stamp(timer)
        with contextlib.suppress(OSError):
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.touch()
