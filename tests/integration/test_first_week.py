"""What a person meets in the first week: mistakes in the config, a job that is not there, no Dify to try."""

import contextlib
import os
import pty
import re
import select
import signal
import sys

import pytest

from .conftest import KEY, Command


def _configured(dify_job: Command, text: str) -> None:
    key = dify_job.home / "a.key"
    key.write_text(KEY)
    key.chmod(0o600)
    path = dify_job.home / ".config/dify-job/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'[defaults]\napi_key_file = "{key}"\n{text}')


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('cron = "0 7 * *"', "4 fields, not 5"),
        ('calendar = "Mon-Fryday 7:00"', "no calendar expression"),
        ('calendar = "2020-01-01"', "it never elapses"),
        ('inputs = { day = "{{ tody }}" }', "'tody' is undefined"),
        ('files = { paper = "{{ tody }}" }', "'tody' is undefined"),
        ('output = { file = "{{ today" }', "cannot be rendered"),
        ('api_key_file = "/nowhere"', "/nowhere cannot be read"),
    ],
)
def test_validate_finds_what_would_stop_the_run_or_its_timer(dify_job: Command, line: str, told: str) -> None:
    _configured(dify_job, f"[jobs.daily]\n{line}\n")
    ran = dify_job("config", "validate")
    assert ran.code == 78
    assert "config.toml:4: " in ran.stderr
    assert told in ran.stderr


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


@pytest.mark.parametrize("command", [("config", "show"), ("run",)])
def test_a_config_without_a_job_leads_to_init(dify_job: Command, command: tuple[str, ...]) -> None:
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
def test_an_input_without_its_flag_is_told_how_it_is_given(
    dify_job: Command, words: tuple[str, ...], mend: str | None
) -> None:
    ran = dify_job("run", *words)
    assert ran.code == 64
    assert ran.result["hint"] == (mend or "dify-job run --help")
    assert (mend or "dify-job run --help") in ran.stderr


def test_ctrl_c_at_a_question_leaves_a_line_of_its_own(dify_job: Command) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(dify_job.home)
        env = {"HOME": str(dify_job.home), "PATH": os.environ["PATH"], "TERM": "dumb"}
        os.execve(sys.executable, [sys.executable, "-m", "dify_job", "init", "--user"], env)
    shown = b""
    with contextlib.suppress(OSError):  # it has left the terminal
        while True:
            came = bool(select.select([terminal], [], [], 5)[0])
            shown += os.read(terminal, 4096) if came else b""
            # the question can come in two pieces; a signal before its read is seen with the next key alone
            if shown.endswith(b"]: ") or (not came and shown.endswith(b"^C")):
                os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    os.close(terminal)
    assert shown.decode().replace("^C^C", "^C").splitlines() == [
        "Dify's address [http://localhost/v1]: ^C",
        "aborted",
    ]


def test_a_job_that_is_nowhere_is_not_to_be_installed(dify_job: Command) -> None:
    _configured(dify_job, "[jobs.daily]\n")
    status = dify_job("status", "dayly")
    assert (status.code, "dayly: neither installed nor configured" in status.stdout) == (1, True)
    assert "no job dayly is installed or configured" in dify_job("logs", "dayly").stderr
    assert "nor configured" not in dify_job("status", "daily").stdout


def test_a_bad_value_of_the_environment_is_shown_as_it_should_be(dify_job: Command) -> None:
    ran = dify_job("config", "validate", env={"DIFY_API_KEY": KEY, "DIFY_BASE_URL": "dify.example.com"})
    assert "DIFY_BASE_URL=https://dify.example.com/v1" in ran.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_stand_in_can_be_left_running_for_init_and_run(dify_job: Command, end: signal.Signals) -> None:
    serving = dify_job.start("demo", "--serve", "0")
    try:
        assert serving.stdout is not None
        url = re.search(r"http://\S+/v1", serving.stdout.readline())
        command = serving.stdout.readline()
        assert url is not None
        assert url[0] in command
        key, init = re.fullmatch(r"printf %s (\S+) \| dify-job (.+)\n", command).groups()  # type: ignore[union-attr] # asserted by groups
        done = dify_job(*init.split(), "--user", input=key)
        assert done.code == 0, done.stderr
        assert dify_job("run", "-q", "--print", "outputs.topic", "demo").stdout == "sales\n"
    finally:
        serving.send_signal(end)
    assert serving.wait(10) == 0


def test_a_port_that_is_taken_is_told(dify_job: Command, server: object) -> None:
    port = re.search(r":(\d+)/", server.base_url)[1]  # type: ignore[attr-defined, index] # a StandIn
    ran = dify_job("demo", "--serve", port)
    assert (ran.code, "Address already in use" in ran.stderr) == (73, True)
