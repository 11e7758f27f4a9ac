"""One-shot runs of Dify workflows for the operating system's own scheduler."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exits import Outcome
    from .running.result import Result
    from .running.workflow import run_workflow

__all__ = ["Outcome", "Result", "run_workflow"]
__version__ = "0.1.0"

_HOMES = {"Outcome": "exits", "Result": "running.result", "run_workflow": "running.workflow"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: `import dify_job` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
