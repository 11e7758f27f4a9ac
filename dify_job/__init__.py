"""One-shot runs of Dify workflows for the operating system's own scheduler.

For Python programs: `run_workflow` is what the command `dify-job run` calls. It prints nothing, never exits,
and leaves signals and logging alone.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import JobError
    from .exits import Outcome
    from .running.result import Result
    from .running.workflow import run_workflow

__version__ = "0.1.0"
__all__ = ["JobError", "Outcome", "Result", "run_workflow"]

_ROOMS = {
    "JobError": "errors",
    "Outcome": "exits",
    "Result": "running.result",
    "run_workflow": "running.workflow",
}

if not TYPE_CHECKING:  # where it stood before a type checker, every name would be one

    def __getattr__(name: str) -> Any:
        """Import what is asked for: the other commands do not pay for `run`."""
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - for programs that import from here

        return getattr(import_module(f".{_ROOMS[name]}", __name__), name)
