import pytest

from dify_job.messages.sanitize import one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\tc  d", "a b c d"),
        ("\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("报告 🎉", "报告 🎉"),
        ("x" * 2000, "x" * 999 + "…"),
    ],
)
def test_server_text_becomes_one_line_without_control_characters(text: str, line: str) -> None:
    assert one_line(text) == line
