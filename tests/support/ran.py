"""How a command ended."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass
class Ran:
    """An exit code, and what was printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The JSON on stdout."""
        result: dict[str, Any] = json.loads(self.stdout)
        return result
