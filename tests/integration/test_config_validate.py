"""`dify-job config validate` and what it says of mistakes."""

import pytest

from tests.support.command import KEY, Command


def _configured(dify_job: Command, text: str) -> None:
    key = dify_job.home / "a.key"
    key.write_text(KEY)
    key.chmod(0o600)
    path = dify_job.home / ".config/dify-job/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'[defaults]\napi_key_file = "{key}"\n{text}')


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('cron = "0 7 * *"', "4 fields, not 5"),
        ('calendar = "Mon-Fryday 7:00"', "no calendar expression"),
        ('calendar = "2020-01-01"', "it never elapses"),
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
def test_validate_finds_what_would_stop_the_run_or_its_timer(
    dify_job: Command, line: str, expected: str
) -> None:
    _configured(dify_job, f"[jobs.daily]\n{line}\n")
    ran = dify_job("config", "validate")
    assert ran.code == 78
    assert "config.toml:4: " in ran.stderr
    assert expected in ran.stderr


def test_validate_names_the_mistakes_of_all_jobs_each_with_its_mend(dify_job: Command) -> None:
    _configured(
        dify_job,
        '[jobs.a]\ncron = "0 7 * *"\ninputs = { day = "{{ tody }}" }\n[jobs.b]\napi_key_file = "/nowhere"\n',
    )
    ran = dify_job("config", "validate")
    told = ("config.toml:4:", "man 5 crontab", "config.toml:5:", "names that a template can use", "/nowhere")
    assert [one for one in told if one not in ran.stderr] == []


def test_validate_asks_no_variable_that_only_the_unit_has_and_no_run_that_was_not_yet(
    dify_job: Command,
) -> None:
    _configured(
        dify_job,
        '[jobs.a]\nenv = ["REGION"]\n\n'
        '[jobs.a.inputs]\nregion = \'{{ env("REGION") }}\'\nsince = "{{ last_success.date() }}"\n',
    )
    ran = dify_job("config", "validate")
    assert (ran.code, ran.stderr) == (0, "")


def test_a_bad_value_of_the_environment_is_shown_as_it_should_be(dify_job: Command) -> None:
    ran = dify_job("config", "validate", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": "dify.example.com"})
    assert "DIFY_BASE_URL=https://dify.example.com/v1" in ran.stderr


def test_validate_passes_over_input_files_whose_names_are_templates(dify_job: Command) -> None:
    _configured(dify_job, '[jobs.a]\nfiles = { paper = "/nowhere/{{ today }}.pdf" }\n')
    assert dify_job("config", "validate").code == 0


def test_a_broken_file_is_named_once_and_the_other_jobs_run(dify_job: Command) -> None:
    _configured(dify_job, "[jobs.good]\n[jobs.other]\n")
    directory = dify_job.home / ".config/dify-job/config.d"
    directory.mkdir()
    (directory / "broken.toml").write_text("[jobs.bad]\nevery = 1h\n")
    (directory / ".#broken.toml").symlink_to("root@host.1:2")
    for command in (("config", "validate"), ("install", "--dry-run")):
        ran = dify_job(*command)
        assert (ran.code, ran.stderr.count("broken.toml")) == (78, 1)
    status = dify_job("status")
    assert (status.code, (status.stdout + status.stderr).count("broken.toml")) == (1, 1)
    assert dify_job("install", "good", "--dry-run").code == 0
    assert "good" in dify_job("next").stdout
    assert dify_job("run", "good", "--if-due", env={"DIFY_BASE_URL": "http://x"}).code != 78
    assert dify_job("run", "bad").code == 78
    assert dify_job("history", "bad").code == 0
