"""What a kill in the middle of an install must not lose: which timers were still to be armed."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from ..system.transaction import FileTransaction

_FILE = "install-unfinished.json"


@dataclass(frozen=True, slots=True)
class Left:
    """Unit names of timers that an install which did not end had still to enable, and to start."""

    enable: frozenset[str] = frozenset()
    start: frozenset[str] = frozenset()


class PendingInstall:
    """The record of a scope, beside its lock, which the caller holds."""

    def __init__(self, base: Path) -> None:
        self._path = base / _FILE

    def read(self) -> Left:
        """What is left; nothing where there is no record, or none that can be read."""
        try:
            told = json.loads(self._path.read_bytes())
            return Left(frozenset(map(str, told["enable"])), frozenset(map(str, told["start"])))
        except (OSError, ValueError, LookupError, TypeError):
            return Left()

    def add(self, *, enable: set[str], start: set[str]) -> None:
        """Remember before anything is touched. Raises OSError."""
        if enable or start:
            left = self.read()
            self._write(Left(left.enable | enable, left.start | start))

    def drop(self, names: set[str]) -> None:
        """These are as they should be; what was left of other jobs stays. Raises OSError."""
        FileTransaction().clear([self._path])
        left = self.read()
        rest = Left(left.enable - names, left.start - names)
        if rest.enable or rest.start:
            self._write(rest)
        else:
            self._path.unlink(missing_ok=True)

    def _write(self, left: Left) -> None:
        told = {"enable": sorted(left.enable), "start": sorted(left.start)}
        FileTransaction().put(self._path, json.dumps(told).encode(), 0o600)


def forget(base: Path, timer: str) -> None:
    """Somebody has decided about this timer since: pause, resume, uninstall."""
    with contextlib.suppress(OSError):
        PendingInstall(base).drop({timer})
