"""dify-job in a Chinese locale: text for people is Chinese, JSON is the same in every locale."""

import json

from tests.support.command import Command

CHINESE = {"LANG": "zh_CN.UTF-8", "LC_ALL": "zh_CN.UTF-8", "DIFY_BASE_URL": "http://127.0.0.1:1"}


def test_error_is_chinese_for_people_and_english_in_json(dify_job: Command) -> None:
    english = dify_job("run", env={**CHINESE, "LC_ALL": "C"})
    done = dify_job("run", env=CHINESE)
    assert done.code == english.code == 78
    assert english.result["message"] == "job default has no API key"
    untimed = [{**ran.result, "call_time": "", "duration_s": 0} for ran in (done, english)]
    assert untimed[0] == untimed[1]
    assert "任务 default 没有 API 密钥" in dify_job("run", "--log-format", "console", env=CHINESE).stderr


def test_state_and_json_log_stay_english(dify_job: Command) -> None:
    done = dify_job("run", env={**CHINESE, "DIFY_API_KEY": "app-x"})
    assert done.code == 69
    assert json.loads((dify_job.home / "state/last.json").read_text())["message"].startswith(
        "the server could not"
    )
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["event"].startswith("the server could not be reached")
