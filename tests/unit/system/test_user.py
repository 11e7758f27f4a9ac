from pathlib import Path

import pytest

from dify_job.system import user


def test_user_without_a_home_has_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd 262 gives a dynamic user no $HOME, and its account may be in no database."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert user.config_home() == Path("/.config")
    assert user.state_home({"XDG_STATE_HOME": "/srv/state"}) == Path("/srv/state")
