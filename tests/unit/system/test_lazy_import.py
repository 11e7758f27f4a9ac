"""Modules that are executed on first use."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from inspect import getsource
from pathlib import Path

import pytest

from dify_job.system.lazy_import import LazyModule, execute, lazy_import

SLOW = """
import time, lazy_client
done = []
time.sleep(0.2)
done.append(1)
def twice(number): return factor * number
time.sleep(0.2)
factor = 2
"""
CLIENT = "import lazy_slow\nassert not hasattr(lazy_slow, 'twice')\nhere = __name__\n"


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Write a slow module, a module in an import cycle with it, and a package."""
    (tmp_path / "lazy_slow.py").write_text(SLOW)
    (tmp_path / "lazy_client.py").write_text(CLIENT)
    (tmp_path / "lazy_package").mkdir()
    (tmp_path / "lazy_package/__init__.py").write_text("name = 'package'\n")
    (tmp_path / "lazy_package/module.py").write_text("name = 'module'\n")
    (tmp_path / "lazy_package/user.py").write_text(
        "from . import module\nfrom lazy_package import module as again\ndef use(): return module.name\n"
    )
    (tmp_path / "lazy_package/taker.py").write_text("from .module import name\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("lazy_")]:
        del sys.modules[name]


def executed(name: str) -> bool:
    return name in sys.modules and type(sys.modules[name]) is not LazyModule


def test_module_is_executed_at_first_use_of_a_name() -> None:
    lazy_import("lazy_slow", "lazy_package")
    slow, module = import_module("lazy_slow"), import_module("lazy_package.module")
    assert import_module("lazy_slow") is slow
    assert not executed("lazy_slow")
    assert "lazy_client" not in sys.modules
    assert module.name == "module"
    assert not executed("lazy_package")
    assert sys.modules["lazy_package"].name == "package"

    assert (slow.twice(2), slow.done) == (4, [1])
    assert type(slow) is type(sys)
    assert getsource(slow) == SLOW
    with pytest.raises(AttributeError, match=r"lazy_slow.*nothing"):
        _ = slow.nothing


def test_from_import_of_a_module_stays_lazy_and_of_a_name_does_not() -> None:
    lazy_import("lazy_package.module")
    user = import_module("lazy_package.user")
    assert not executed("lazy_package.module")
    assert sys.modules["lazy_package"].module is user.again
    assert not executed("lazy_package.module")
    assert user.use() == "module"
    assert executed("lazy_package.module")

    del sys.modules["lazy_package.module"]
    assert import_module("lazy_package.taker").name == "module"


def test_from_import_of_a_submodule_does_not_execute_its_lazy_package(tmp_path: Path) -> None:
    (tmp_path / "lazy_package/second.py").write_text(
        "from lazy_package import module\nfrom . import module as again\n"
    )
    lazy_import("lazy_package")
    second = import_module("lazy_package.second")
    assert second.module is second.again is sys.modules["lazy_package.module"]
    assert not executed("lazy_package")
    assert not hasattr(second, "missing")

    assert sys.modules["lazy_package"].name == "package"
    assert executed("lazy_package")
    with pytest.raises(AttributeError, match="missing"):
        _ = sys.modules["lazy_package"].missing


def test_execute_loads_a_module_before_its_first_use() -> None:
    lazy_import("lazy_package.module")
    module = import_module("lazy_package.module")
    Path(str(module.__file__)).unlink()
    with pytest.raises(FileNotFoundError):
        execute(module)
    Path(str(module.__file__)).write_text("name = 'renewed'\n")
    execute(module)
    assert executed("lazy_package.module")
    Path(str(module.__file__)).unlink()
    execute(module)
    execute(sys)
    assert module.name == "renewed"


def test_interrupted_module_is_executed_again() -> None:
    lazy_import("lazy_slow")
    slow = import_module("lazy_slow")

    def interrupt(_signum: int, _frame: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(InterruptedError):
        slow.twice(2)
    signal.signal(signal.SIGALRM, before)
    assert (slow.twice(2), slow.done) == (4, [1])


def test_threads_that_use_a_module_at_once_see_it_completely() -> None:
    lazy_import("lazy_slow")
    slow = import_module("lazy_slow")
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(slow.twice(2))) for _ in range(4)]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join(10)
    assert (answers, slow.done) == ([4] * 4, [1])


def test_imported_and_missing_modules_are_unaffected() -> None:
    before = sys.modules["json"]
    lazy_import("json", "lazy_missing")
    assert import_module("json") is before
    with pytest.raises(ModuleNotFoundError, match="lazy_missing"):
        import_module("lazy_missing")
