"""Jobs that are not there and inputs without a flag: the message leads to the right command."""

import pytest

from tests.support.command import KEY, Command


def _configured(dify_job: Command, text: str) -> None:
    key = dify_job.home / "a.key"
    key.write_text(KEY)
    key.chmod(0o600)
    path = dify_job.home / ".config/dify-job/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'[defaults]\napi_key_file = "{key}"\n{text}')


@pytest.mark.parametrize("command", [("config", "show"), ("run",)])
def test_config_without_a_job_leads_to_init(dify_job: Command, command: tuple[str, ...]) -> None:
    _configured(dify_job, "")
    ran = dify_job(*command)
    assert (ran.code, "has no job" in ran.stderr, "dify-job init NAME" in ran.stderr) == (78, True, True)


def test_pausing_a_job_that_exists_nowhere_leads_to_init_and_a_slip_to_the_name(dify_job: Command) -> None:
    assert "dify-job init daily" in dify_job("pause", "daily").stderr
    _configured(dify_job, "[jobs.daily]\n")
    assert "did you mean daily?" in dify_job("pause", "dialy").stderr
    assert "dify-job install daily" in dify_job("resume", "daily").stderr


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (("daily", "topic=x y", "day=1"), None),
        (("daily", "topic=x", "day=1"), "dify-job run daily -i topic=x -i day=1"),
        (("daily", "topic=a&b"), "dify-job run daily -i 'topic=a&b'"),
        (("topic=x",), "dify-job run -i topic=x"),
        (("daily", "weekly"), None),
    ],
)
def test_input_without_its_flag_is_told_how_it_is_given(
    dify_job: Command, words: tuple[str, ...], mend: str | None
) -> None:
    ran = dify_job("run", *words)
    assert ran.code == 64
    assert ran.result["hint"] == (mend or "dify-job run --help")
    assert (mend or "dify-job run --help") in ran.stderr


def test_job_that_is_nowhere_is_not_to_be_installed(dify_job: Command) -> None:
    _configured(dify_job, "[jobs.daily]\n")
    status = dify_job("status", "dayly")
    assert (status.code, "neither installed nor configured" in status.stdout) == (1, True)
    logs = dify_job("logs", "dayly")
    assert (logs.code, "did you mean daily" in logs.stderr, "journalctl" in logs.stderr) == (78, True, False)
    assert "nor configured" not in dify_job("status", "daily").stdout
