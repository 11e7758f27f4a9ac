"""Commands of other tools are answered with commands of this host."""

import pytest

from dify_job.cli.help import hint_for_unknown
from dify_job.schedulers import systemctl


@pytest.mark.parametrize("word", ["start", "restart"])
@pytest.mark.parametrize("booted", [True, False])
def test_start_is_answered_with_systemctl_only_if_systemd_runs(
    word: str, booted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemctl, "is_booted", lambda: booted)
    hint = str(hint_for_unknown([word, "daily"]))
    assert ("systemctl start dify-job-daily.service" in hint) is booted
    assert ("dify-job run daily" in hint) is not booted
