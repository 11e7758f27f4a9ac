"""`dify-job config validate` and its error messages."""

import json

import pytest

from tests.support.command import KEY, Command
from tests.support.config_files import write_user_config
from tests.support.home import CONFIG, Home


def _write_config(dify_job: Command, text: str) -> None:
    write_user_config(dify_job.home, f'[defaults]\napi_key_file = "{{key}}"\n{text}')


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('cron = "0 7 * *"', "has 5 fields, not 4"),
        ('calendar = "Mon-Fryday 7:00"', "not a calendar expression"),
        ('calendar = "2020-01-01"', "the expression has no time in the future"),
        ('inputs = { day = "{{ tody }}" }', "'tody' is undefined"),
        ('files = { paper = "{{ tody }}" }', "'tody' is undefined"),
        ('output = { file = "{{ today" }', "cannot be rendered"),
        ('api_key_file = "/nowhere"', "/nowhere cannot be read"),
        ('ca_file = "/nowhere.pem"', "the ca_file /nowhere.pem cannot be read"),
        ('files = { paper = "/nowhere.pdf" }', "/nowhere.pdf of the input paper cannot be read"),
        ('files = { paper = ["https://h/x", "/nowhere.pdf"] }', "/nowhere.pdf of the input paper"),
        ('notify = { on_failure = "apprise-url-from-file:/nowhere.urls" }', "notify file /nowhere.urls"),
        ('output = { file = "/nowhere/{{ today }}.json" }', "the directory /nowhere does not exist"),
        ('log_file = "/nowhere/x.log"', "the directory /nowhere does not exist"),
        ('metrics = { textfile = "/nowhere/x.prom" }', "the directory /nowhere does not exist"),
    ],
)
def test_validate_reports_errors_that_prevent_a_run_or_a_timer(
    dify_job: Command, line: str, expected: str
) -> None:
    _write_config(dify_job, f"[jobs.daily]\n{line}\n")
    ran = dify_job("config", "validate")
    assert ran.code == 78
    assert "config.toml:4: " in ran.stderr
    assert expected in ran.stderr


def test_validate_reports_the_errors_of_all_jobs_with_hints(dify_job: Command) -> None:
    _write_config(
        dify_job,
        '[jobs.a]\ncron = "0 7 * *"\ninputs = { day = "{{ tody }}" }\n[jobs.b]\napi_key_file = "/nowhere"\n',
    )
    ran = dify_job("config", "validate")
    expected = (
        "config.toml:4:",
        "man 5 crontab",
        "config.toml:5:",
        "a template can use these names",
        "/nowhere",
    )
    assert [one for one in expected if one not in ran.stderr] == []


def test_validate_prints_a_hint_of_several_errors_once(dify_job: Command) -> None:
    _write_config(dify_job, '[jobs.a]\noverlap = "x"\n[jobs.b]\ntimeout = 2\n')
    lines = dify_job("config", "validate").stderr.splitlines()
    assert [":4: " in line or ":6: " in line for line in lines] == [True, True, False]
    assert lines[2].startswith("  correct the configuration file")


def test_validate_needs_no_variable_of_the_unit_and_no_earlier_run(
    dify_job: Command,
) -> None:
    _write_config(
        dify_job,
        '[jobs.a]\nenv = ["REGION"]\n\n'
        '[jobs.a.inputs]\nregion = \'{{ env("REGION") }}\'\nsince = "{{ last_success.date() }}"\n',
    )
    ran = dify_job("config", "validate")
    assert (ran.code, ran.stderr) == (0, "")


def test_invalid_environment_value_is_reported_with_the_expected_form(dify_job: Command) -> None:
    ran = dify_job("config", "validate", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": "dify.example.com"})
    assert "DIFY_BASE_URL=https://dify.example.com/v1" in ran.stderr


def test_validate_ignores_input_files_with_template_names(dify_job: Command) -> None:
    _write_config(dify_job, '[jobs.a]\nfiles = { paper = "/nowhere/{{ today }}.pdf" }\n')
    assert dify_job("config", "validate").code == 0


def test_broken_file_is_reported_once_and_other_jobs_run(dify_job: Command) -> None:
    _write_config(dify_job, "[jobs.good]\n[jobs.other]\n")
    directory = dify_job.home / ".config/dify-job/config.d"
    directory.mkdir()
    (directory / "broken.toml").write_text("[jobs.bad]\nevery = 1h\n")
    (directory / ".#broken.toml").symlink_to("root@host.1:2")
    ran = dify_job("config", "validate")
    assert (ran.code, ran.stderr.count("broken.toml")) == (78, 1)
    status = dify_job("status")
    assert (status.code, (status.stdout + status.stderr).count("broken.toml")) == (1, 1)
    assert "good" in dify_job("next").stdout
    assert dify_job("run", "good", "--if-due", env={"DIFY_BASE_URL": "http://x"}).code != 78
    assert dify_job("run", "bad").code == 78
    assert dify_job("history", "bad").code == 0


def test_config_show_gives_dates_of_toml_as_texts(dify_job: Command) -> None:
    _write_config(dify_job, "[jobs.daily]\ninputs = { days = [2026-01-01, 07:30:00] }\n")
    ran = dify_job("config", "show", "--json")
    assert ran.code == 0
    [row] = [row for row in json.loads(ran.stdout) if row["key"] == "inputs"]
    assert row["value"] == {"days": ["2026-01-01", "07:30:00"]}


@pytest.mark.parametrize(
    "line",
    [
        'calendar = "2020-01-01"',
        'inputs = { day = "{{ tody }}" }',
        'output = { file = "/nowhere/{{ today }}.json" }',
        'metrics = { textfile = "/nowhere/x.prom" }',
        'log_file = "/nowhere/x.log"',
        'ca_file = "/nowhere.pem"',
        'api_key_file = "/nowhere"',
        'notify = { on_failure = "apprise-url-from-file:/nowhere.urls" }',
    ],
)
def test_validate_doctor_and_install_report_an_error_in_the_same_words(home: Home, line: str) -> None:
    setting = line.partition(" ")[0]
    replaced = (setting, "every") if setting == "calendar" else (setting,)
    lines = [text for text in CONFIG.splitlines() if not text.startswith(replaced)]
    home.configure("\n".join([*lines, line, ""]))
    texts = {home(*words).stderr for words in (("config", "validate"), ("install", "--user"))}
    assert len(texts) == 1, texts
    [text] = texts
    assert "config.toml:6: " in text or "config.toml:5: " in text
    message, fix = text.removeprefix("dify-job: ").splitlines()
    doctor = home("doctor", "--user", "--json").result["jobs"][0]["checks"]
    problems = [(each["message"], each["fix"]) for each in doctor if each["level"] != "ok"]
    assert (message.partition(": ")[2], fix.strip()) in problems
