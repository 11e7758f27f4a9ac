import os
from pathlib import Path

import pytest

from dify_job.state import places
from dify_job.system import user


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(places, "account_home", lambda: tmp_path / "home")
    return tmp_path / "home"


def test_state_of_an_installed_job_does_not_follow_the_shell(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.pin("daily")
    place = home / ".local/state/dify-job/daily"
    assert places.directory_of("daily", None) == place
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "elsewhere"))
    assert places.directory_of("daily", None) == places.pinned_elsewhere("daily") == place
    assert places.directory_of("other", None) == home / "elsewhere/dify-job/other"
    places.unpin("daily")
    assert places.directory_of("daily", None) == home / "elsewhere/dify-job/daily"


def test_unit_finds_the_state_that_the_installing_shell_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "mine"))
    places.pin("daily")
    here = places.directory_of("daily", None)
    assert places.pinned_elsewhere("daily") is None
    monkeypatch.delenv("XDG_STATE_HOME")
    assert places.directory_of("daily", None).samefile(here)
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "third"))
    assert places.directory_of("daily", None).samefile(here)
    monkeypatch.setenv("HOME", "/nonexistent")
    assert places.directory_of("daily", None).samefile(here)
    for place in places.places_of("daily", places.base_of(system=False)):
        assert place.is_relative_to(home) or not place.exists()
    assert here.resolve() in places.places_of("daily", places.base_of(system=False))


def test_earlier_state_directory_is_still_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = home / ".local/state/dify-job/daily"
    plain.mkdir(parents=True)
    (plain / "history.jsonl").write_text("{}\n")
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "mine"))
    places.pin("daily")
    assert (places.directory_of("daily", None) / "history.jsonl").read_text() == "{}\n"


@pytest.mark.parametrize("value", ["relative", "~/state", "", "."])
def test_relative_values_are_ignored(home: Path, value: str) -> None:
    assert user.state_home({"XDG_STATE_HOME": value}) == home / ".local/state"
    assert user.config_home({"XDG_CONFIG_HOME": value}) == home / ".config"
