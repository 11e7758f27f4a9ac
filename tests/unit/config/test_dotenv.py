"""Lines of an env file."""

import pytest

from dify_job.config.dotenv import parse_dotenv


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A = b ", "b"),
        ("A=b # comment", "b"),
        ("A=b#c", "b#c"),
        ('A="b # c"', "b # c"),
        ("A='it is'", "it is"),
        ('A="x\\ny\\""', 'x\ny"'),
        ("A=", ""),
        ("A=$HOME", "$HOME"),
        ('A={"text": "x"}', '{"text": "x"}'),
        ("\ufeffA=b\r", "b"),
    ],
)
def test_a_line_of_an_env_file(line: str, value: str) -> None:
    assert parse_dotenv(line) == {"A": value}
