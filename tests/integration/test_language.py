"""The command under a Chinese locale: messages and hints are Chinese, keys and codes are not."""

import json

from tests.support.command import Command

CHINESE = {"LANG": "zh_CN.UTF-8", "LC_ALL": "zh_CN.UTF-8", "DIFY_BASE_URL": "http://127.0.0.1:1"}


def test_a_refusal_is_told_in_chinese_and_its_keys_and_codes_are_not(dify_job: Command) -> None:
    english = dify_job("run", env={**CHINESE, "LC_ALL": "C"})
    told = dify_job("run", env=CHINESE)
    assert told.code == english.code == 78
    assert english.result["message"] == "job default has no API key"
    assert told.result["message"] == "任务 default 没有 API 密钥"
    assert told.result.keys() == english.result.keys()
    assert told.result["outcome"] == "config"
    assert "任务 default 没有 API 密钥" in dify_job("run", "--log-format", "console", env=CHINESE).stderr


def test_the_state_and_the_log_for_programs_stay_as_they_are(dify_job: Command) -> None:
    told = dify_job("run", env={**CHINESE, "DIFY_API_KEY": "app-x"})
    assert told.code == 69
    assert json.loads((dify_job.home / "state/last.json").read_text())["message"].startswith(
        "the server could not"
    )
    last = json.loads(told.stderr.splitlines()[-1])
    assert last["event"].startswith("the server could not be reached")
