"""Unknown jobs and inputs without a flag: the hint is the right command."""

import pytest

from tests.support.command import Command
from tests.support.config_files import write_user_config


def _write_config(dify_job: Command, text: str) -> None:
    write_user_config(dify_job.home, f'[defaults]\napi_key_file = "{{key}}"\n{text}')


@pytest.mark.parametrize("command", [("config", "show"), ("run",)])
def test_config_without_jobs_is_answered_with_init(dify_job: Command, command: tuple[str, ...]) -> None:
    _write_config(dify_job, "")
    ran = dify_job(*command)
    assert (ran.code, "contains no job" in ran.stderr, "dify-job init NAME" in ran.stderr) == (78, True, True)


def test_pause_of_an_unknown_job_suggests_init_or_the_similar_name(dify_job: Command) -> None:
    assert "dify-job init daily" in dify_job("pause", "daily").stderr
    _write_config(dify_job, "[jobs.daily]\n")
    assert "did you mean daily?" in dify_job("pause", "dialy").stderr
    assert "dify-job install daily" in dify_job("resume", "daily").stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("daily", "topic=x y", "day=1"), "dify-job run daily -i 'topic=x y' -i day=1"),
        (("daily", "topic=x", "day=1"), "dify-job run daily -i topic=x -i day=1"),
        (("daily", "topic=a&b"), "dify-job run daily -i 'topic=a&b'"),
        (("topic=x",), "dify-job run -i topic=x"),
        (("daily", "weekly"), None),
    ],
)
def test_input_without_its_flag_is_answered_with_the_flag(
    dify_job: Command, words: tuple[str, ...], hint: str | None
) -> None:
    ran = dify_job("run", *words)
    assert ran.code == 64
    assert ran.result["hint"] == (hint or "dify-job run --help")
    assert (hint or "dify-job run --help") in ran.stderr


def test_unknown_job_is_not_suggested_for_install(dify_job: Command) -> None:
    _write_config(dify_job, "[jobs.daily]\n")
    status = dify_job("status", "dayly")
    assert (status.code, "the job is neither installed nor configured" in status.stdout) == (1, True)
    logs = dify_job("logs", "dayly")
    assert (logs.code, "did you mean daily" in logs.stderr, "journalctl" in logs.stderr) == (78, True, False)
    assert "nor configured" not in dify_job("status", "daily").stdout


def test_missing_option_is_named_with_its_choices_on_one_line(dify_job: Command) -> None:
    first, *_ = dify_job("render", "daily").stderr.splitlines()
    assert first.endswith("'--target'. Choose from: systemd, cron, kubernetes")
    first, *_ = dify_job("render", "daily", env={"LC_ALL": "zh_CN.UTF-8"}).stderr.splitlines()
    assert first.endswith("'--target'. 可选： systemd, cron, kubernetes")
