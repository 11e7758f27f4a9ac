from collections.abc import Callable
from pathlib import Path

import pytest

from .play import HERE

CompareSnapshot = Callable[[str | Path, str], None]


@pytest.fixture
def compare_snapshot(request: pytest.FixtureRequest) -> CompareSnapshot:
    """Function that compares a text with a file, or writes it there with --renew-contract.

    A relative path is in tests/contract.
    """

    def compare(path: str | Path, text: str) -> None:
        if request.config.getoption("--renew-contract"):
            (HERE / path).write_text(text)
        assert text == (HERE / path).read_text(), f"{path} changed; if that is intended: make contract"

    return compare
