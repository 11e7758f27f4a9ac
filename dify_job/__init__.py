"""One-shot runs of Dify workflows for the operating system's own scheduler.

For Python programs: `run_workflow` is what the command `dify-job run` calls. It prints nothing, never exits,
and leaves signals and logging alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exit_codes import Outcome
    from .messages.errors import JobError
    from .run.api import run_workflow
    from .run.result import Result

__version__ = "0.1.0"
__all__ = ["JobError", "Outcome", "Result", "run_workflow"]

_PUBLIC = {
    "JobError": "messages.errors",
    "Outcome": "exit_codes",
    "Result": "run.result",
    "run_workflow": "run.api",
}

if not TYPE_CHECKING:  # a type checker that sees it takes every name for defined

    def __getattr__(name: str) -> Any:
        """Import a public name on first use, so that other commands do not load `run`."""
        if name not in _PUBLIC:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
