import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dify_job.system.lazy_import import lazy_import

SLOW = """
import time, asked_elsewhere
told = []
time.sleep(0.2)
told.append(1)
def twice(number): return 2 * number
"""
ELSEWHERE = "import asked_late\nassert not hasattr(asked_late, 'twice')\nhere = __name__\n"


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module that takes its time, and one that it imports and that asks it back."""
    (tmp_path / "asked_late.py").write_text(SLOW)
    (tmp_path / "asked_elsewhere.py").write_text(ELSEWHERE)
    (tmp_path / "asked_parent").mkdir()
    (tmp_path / "asked_parent/__init__.py").write_text("name = 'parent'\n")
    (tmp_path / "asked_parent/child.py").write_text("name = 'child'\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("asked_")]:
        del sys.modules[name]


def test_a_module_is_executed_once_something_in_it_is_asked_for() -> None:
    lazy_import("asked_late", "asked_parent")
    import asked_late  # noqa: PLC0415
    import asked_parent.child  # noqa: PLC0415

    assert "told" not in vars(asked_late)
    assert "asked_elsewhere" not in sys.modules
    assert asked_parent.child.name == "child"
    assert asked_parent.name == "parent"

    from asked_late import twice  # noqa: PLC0415

    assert (twice(2), asked_late.told, asked_late.__file__) == (4, [1], asked_late.__spec__.origin)
    assert type(asked_late) is type(sys)
    with pytest.raises(AttributeError, match=r"asked_late.*nothing"):
        _ = asked_late.nothing


def test_a_module_that_was_interrupted_is_executed_again() -> None:
    lazy_import("asked_late")
    import asked_late  # noqa: PLC0415

    def interrupt(_signum: int, _frame: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(InterruptedError):
        asked_late.twice(2)
    signal.signal(signal.SIGALRM, before)
    assert (asked_late.twice(2), asked_late.told) == (4, [1])


def test_threads_that_ask_at_once_all_get_the_whole_module() -> None:
    lazy_import("asked_late")
    import asked_late  # noqa: PLC0415

    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(asked_late.twice(2))) for _ in range(4)]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join(10)
    assert (answers, asked_late.told) == ([4] * 4, [1])


def test_what_is_imported_already_and_what_is_not_there_stay_as_they_are() -> None:
    before = sys.modules["json"]
    lazy_import("json", "asked_nowhere")
    assert sys.modules["json"] is before
    with pytest.raises(ModuleNotFoundError, match="asked_nowhere"):
        import asked_nowhere  # noqa: F401, PLC0415
