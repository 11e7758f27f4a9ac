"""Load modules on first use, with ordinary imports at the top of the modules that use them.

PEP 810 adds this to the language (Python 3.15). importlib.util.LazyLoader is not suitable: importing a module
twice executes it, and on Python 3.11 two threads may see an incomplete module.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

# The import system itself reads these of a module that is in sys.modules already.
_READ_BY_IMPORT = {
    "__spec__", "__path__", "__dict__", "__class__", "__name__", "__file__", "__loader__", "__package__",
    "__cached__",
}  # fmt: skip


def lazy_import(*names: str) -> None:
    """Make later imports of these modules lazy: they are found, and executed when one of their names is used.

    `from package import module` and `import module` stay lazy, also where the package is lazy;
    `from module import name` uses the name.

    Args:
        names: Full module names. A module that is imported already, or that does not exist, is unaffected.
    """
    _finder.names.update(names)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def execute(module: ModuleType) -> None:
    """Execute a lazy module now; any other module is unaffected.

    Args:
        module: The module, as `import` returned it.

    Raises:
        Exception: What executing the module raises. The next use executes it again, as an import would.
    """
    if type(module) is not LazyModule:
        return
    spec: Any = module.__spec__
    lazy: _Loader = spec.loader_state
    with lazy.lock:  # another thread waits until the module is complete
        if lazy.executing or spec.loader is not lazy:
            return  # a circular import, or another thread was first
        lazy.executing = True
        try:
            lazy.loader.exec_module(module)
        finally:  # also after the exception of a signal handler
            lazy.executing = False
        spec.loader = module.__loader__ = lazy.loader
        module.__class__ = ModuleType  # type: ignore[assignment] # an ordinary one from now on


class LazyModule(ModuleType):
    """A module that was found and is not executed yet."""

    def __getattribute__(self, name: str) -> Any:
        if name not in _READ_BY_IMPORT and not _import_submodule(self, name):
            execute(self)
        return ModuleType.__getattribute__(self, name)


def _import_submodule(package: ModuleType, name: str) -> bool:
    """Import a submodule for `from package import submodule`, which does not execute the package.

    Returns:
        Whether a module has this name.
    """
    if "__path__" not in ModuleType.__getattribute__(package, "__dict__"):
        return False
    full_name = f"{package.__name__}.{name}"
    try:
        import_module(full_name)
    except ModuleNotFoundError as error:
        if error.name != full_name:
            raise
        return False
    return True


class _Loader:
    """A loader that creates a LazyModule."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.lock = RLock()
        self.executing = False

    def create_module(self, spec: "ModuleSpec") -> ModuleType:
        return LazyModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        spec: Any = module.__spec__
        spec.loader_state = self


class _Finder:
    """A finder that uses the other finders and replaces the loader of lazy modules."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> "ModuleSpec | None":
        if name not in self.names:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)  # type: ignore[assignment] # the two methods suffice
                return spec
        return None


_finder = _Finder()
