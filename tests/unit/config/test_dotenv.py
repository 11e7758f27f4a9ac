"""Parsing .env files of other programs, and errors in lines for dify-job."""

import os
from pathlib import Path

import pytest

from dify_job.config.environment import parse_dotenv
from dify_job.config.loader import load_config
from dify_job.config.model import Config
from dify_job.config.secrets import check_key, read_key
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError

OTHER_PROGRAMS = """\
a.b=1
MY-VAR=1
FOO
export X
= nothing
"quoted"=1
UNCLOSED="it
OTHER='don't'
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASC==
-----END PRIVATE KEY-----
PEM="-----BEGIN PRIVATE KEY-----
DIFY_API_KEY=app-of-the-pem
-----END PRIVATE KEY-----"
"""


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(**environ: str) -> Config:
    return load_config(environ={"XDG_CONFIG_HOME": "/nowhere", **environ})


def key_of(config: Config) -> str:
    return read_key(config.jobs["default"], {}).reveal()


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_lines_of_other_programs_are_ignored(line_end: str) -> None:
    text = OTHER_PROGRAMS + "DIFY_API_KEY='app-own'\nDIFY_BASE_URL=http://d\n"
    Path(".env").write_bytes(text.replace("\n", line_end).encode())
    config = read()
    assert (key_of(config), config.jobs["default"].base_url, config.warnings) == (
        "app-own",
        "http://d/v1",
        (),
    )


def test_broken_foreign_env_file_does_not_affect_the_environment() -> None:
    for content in (OTHER_PROGRAMS.encode(), "A=\xe9\n".encode("latin-1"), b"\x80\xff\0" * 100, b"\xff\xfe"):
        Path(".env").write_bytes(content)
        assert key_of(read(DIFY_API_KEY="app-1", DIFY_BASE_URL="http://d")) == "app-1"


def test_broken_dify_line_fails_only_if_it_is_used() -> None:
    Path(".env").write_text('A=1\nDIFY_API_KEY="app-x\n')
    assert key_of(read(DIFY_API_KEY="app-1")) == "app-1"
    with pytest.raises(
        JobError, match=r"the value of DIFY_API_KEY .line 2. has a quote that is not closed"
    ) as raised:
        read()
    assert raised.value.outcome is Outcome.CONFIG
    Path(".env").write_bytes(b'DIFY_INPUTS={"a": "\xe9"}\n')
    with pytest.raises(JobError, match=r"the value of DIFY_INPUTS .line 1. is not UTF-8"):
        read()


def test_directory_named_env_is_ignored() -> None:
    Path(".env").mkdir()
    assert read().warnings == ()
    with pytest.raises(JobError, match=r"\.env cannot be read: Is a directory"):
        load_config(env_file=Path(".env"), environ={})


def test_oversized_env_file_is_not_read() -> None:
    Path(".env").write_bytes(b"A=" + b"x" * 2_000_000)
    assert "larger than" in read().warnings[0]
    with pytest.raises(JobError, match="larger than"):
        load_config(env_file=Path("/dev/zero"), environ={})


def test_named_env_file_can_be_a_pipe() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"DIFY_API_KEY=app-piped\n")
    os.close(write_end)
    assert key_of(load_config(env_file=Path(f"/dev/fd/{read_end}"), environ={})) == "app-piped"
    os.close(read_end)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-8"])
def test_env_file_in_windows_encoding_is_read(encoding: str) -> None:
    Path(".env").write_bytes('DIFY_END_USER="宁"\r\nDIFY_API_KEY=app-2\r\n'.encode(encoding))
    config = read()
    assert (key_of(config), config.jobs["default"].end_user) == ("app-2", "宁")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r'"C:\new"', r"C:\new"),
        (r'"\u4e2d"', r"\u4e2d"),
        (r'"\d+\.\w"', r"\d+\.\w"),
        (r'"a\nb"', "a\nb"),
        (r'"a \"b\" \\ c"', r'a "b" \ c'),
        (r"'C:\new\u4e2d\\'", r"C:\new\u4e2d\\"),
        (r"C:\new", r"C:\new"),
        ('"two\nlines"  # comment', "two\nlines"),
        ("'two\nlines'", "two\nlines"),
        ('""', ""),
        (" # comment", ""),
        ("#no-comment", "#no-comment"),
    ],
)
def test_written_value_is_read_back(written: str, value: str) -> None:
    assert parse_dotenv(f"A={written}\nB=1") == {"A": value, "B": "1"}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A = b ", "b"),
        ("A=b # comment", "b"),
        ("A=b#c", "b#c"),
        ('A="b # c"', "b # c"),
        ("A='it is'", "it is"),
        ("A=", ""),
        ("A=$HOME", "$HOME"),
        ('A={"text": "x"}', '{"text": "x"}'),
        ("\ufeffA=b\r", "b"),
    ],
)
def test_line_is_parsed(line: str, value: str) -> None:
    assert parse_dotenv(line) == {"A": value}


def test_json_with_escapes_reaches_the_inputs() -> None:
    Path(".env").write_text(r'DIFY_INPUTS="{\"a\": \"\u4e2d\", \"b\": \"x\ny\"}"')
    assert dict(read().jobs["default"].inputs) == {"a": "中", "b": "x\ny"}


# Errors around a key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'app-canary-0123456789'", "must not be in quotes"),
        ('"app-canary-0123456789"\n', "must not be in quotes"),
        ("app-canary-0123456789'", "must not be in quotes"),
        ("${KEY}", "is a variable, but dify-job replaces no variables"),
        ("$KEY", "is a variable, but dify-job replaces no variables"),
        ("$(cat key)", "is a variable, but dify-job replaces no variables"),
        ("DIFY_API_KEY=app-canary-0123456789\n", "must not begin with 'DIFY_API_KEY='"),
        ("export DIFY_API_KEY='app-canary-0123456789'", "must not begin with 'DIFY_API_KEY='"),
        ("Bearer app-canary-0123456789", "must not begin with 'Bearer '"),
        ("Authorization:app-canary-0123456789", "must not begin with 'Authorization:'"),
        ("   ", "is empty"),
    ],
)
def test_error_around_a_key_is_reported_without_the_key(text: str, message: str) -> None:
    with pytest.raises(JobError, match=message) as raised:
        check_key(text, "a test")
    assert "canary" not in raised.value.message + str(raised.value.hint)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DIFY_BASE_URL", '"http://d/v1"'),
        ("DIFY_INPUTS", "'{\"a\": 1}'"),
        ("SCHEDULER_INTERVAL_HOURS", '"2"'),
        ("AUTO_START_SCHEDULER", "'true'"),
    ],
)
def test_quotes_that_docker_retains_are_reported(name: str, value: str) -> None:
    with pytest.raises(JobError, match=f"the value of {name} must not be in quotes"):
        read(**{name: value})


@pytest.mark.parametrize("value", ["2h", "2 hours", "often", "-1", "1e3", "٣"])
def test_interval_hours_must_be_a_number(value: str) -> None:
    with pytest.raises(JobError, match="must be a number of hours") as raised:
        read(SCHEDULER_INTERVAL_HOURS=value)
    assert repr(value) in raised.value.message


@pytest.mark.parametrize(("value", "seconds"), [("2", 7200), (" 0.5 ", 1800), (".5", 1800), ("24", 86400)])
def test_interval_hours_can_be_fractional(value: str, seconds: float) -> None:
    assert read(SCHEDULER_INTERVAL_HOURS=value).jobs["default"].schedule.every == seconds


@pytest.mark.parametrize(
    "text", ["[" * 5000 + "]" * 5000, '{"a": ' * 300 + "1" + "}" * 300, '{"a": ' + "9" * 5000 + "}"]
)
def test_inputs_that_json_cannot_encode_are_a_configuration_error(text: str) -> None:
    with pytest.raises(JobError) as raised:
        read(DIFY_INPUTS=text)
    assert raised.value.outcome is Outcome.CONFIG
    assert "DIFY_INPUTS" in raised.value.message
