"""Modules that others import and a run never asks for, executed when something in them is asked for.

As Python 3.15 has it in the language (PEP 810). For importlib's LazyLoader the second import of a module is a
question already.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any


def lazy_import(*names: str) -> None:
    """Have imports of these modules find them, and nothing more; what is imported already stays as it is."""
    for name in names:
        if name not in sys.modules and (spec := PathFinder.find_spec(name)) is not None:
            sys.modules[name] = _Later(spec)


class _Later(ModuleType):
    """A module that is found and not executed."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__loader__ = spec, spec.loader
        self.__file__, self.__package__ = spec.origin, spec.parent
        if spec.submodule_search_locations is not None:
            self.__path__ = spec.submodule_search_locations
        spec.loader_state = [RLock(), spec.loader]

    def __getattr__(self, name: str) -> Any:
        """Called for what it does not have, as it has nothing before it is executed."""
        spec: Any = self.__spec__
        lock, loader = spec.loader_state
        with lock:  # another thread that asks waits until all is there
            if spec.loader_state[1] is not None:
                spec.loader_state[1] = None  # what it imports may ask it in turn
                try:
                    loader.exec_module(self)
                except BaseException:  # a signal's too: the next who asks has it executed again, as an import
                    spec.loader_state[1] = loader
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment] # an ordinary one now
        return ModuleType.__getattribute__(self, name)
