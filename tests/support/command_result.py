"""Result of a command."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass
class CommandResult:
    """Exit code and output of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The JSON object on stdout."""
        result: dict[str, Any] = json.loads(self.stdout)
        return result
