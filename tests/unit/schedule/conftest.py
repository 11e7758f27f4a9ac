from collections.abc import Iterator
from pathlib import Path

import pytest

from dify_job.schedule import zones


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[object]:
    """Function that sets the machine's zone: local("Europe/Berlin")."""

    def set_zone(name: str) -> None:
        link = tmp_path / "localtime"
        link.unlink(missing_ok=True)
        link.symlink_to(f"/usr/share/zoneinfo/{name}")
        zones._machines.cache_clear()
        monkeypatch.setattr(zones, "_LOCALTIME", link)

    yield set_zone
    zones._machines.cache_clear()
