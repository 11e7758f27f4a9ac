import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.report.text import (
    Colour,
    Terminal,
    age_text,
    columns_of,
    has_utf8,
    indented,
    padded,
    table,
    wrapped,
)


def test_display_width_counts_chinese_as_two_and_colour_as_zero() -> None:
    assert columns_of("任务 a") == 6
    assert columns_of(Terminal(colours=True).paint("任务", Colour.RED)) == 4
    assert columns_of("e\u0301") == 1


def test_columns_are_aligned_for_any_content() -> None:
    red = Terminal(colours=True).paint("failed", Colour.RED)
    lines = table([["任务", "1"], [red, "22"]], right=[1])
    assert [columns_of(line) for line in lines] == [10, 10]
    assert lines[0].endswith("  1")


@given(st.text(st.sampled_from("ab 任务，。 "), max_size=200), st.integers(4, 40))
def test_wrapped_lines_fit_and_have_all_words(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    longest = max((columns_of(word) for word in text.split()), default=0)
    assert all(columns_of(line) <= max(width, longest) for line in lines)


@given(width=st.integers(20, 60))
def test_unbroken_part_stays_on_one_line(width: int) -> None:
    text = "to read them, run: sudo dify-job status --system; then look again 请运行：dify-job next"
    lines = wrapped(text, width, ("sudo dify-job status --system", "dify-job next"))
    assert any("sudo dify-job status --system" in line for line in lines)
    assert any("dify-job next" in line for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_long_word_is_not_broken() -> None:
    word = "5f2c9a1e-8f6c-4f55-8d2c-6a51e1d4b8aa"
    assert f"    {word}" in indented(f"the run {word} failed", 30, 4)


def test_control_characters_are_escaped() -> None:
    assert indented("\x1b[2Jred\x9b", 40, 0) == ["\\x1b[2Jred\\x9b"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59, "59s"), (60, "1min"), (3599, "59min"), (3600, "1h"), (86400, "1d"), (1e7, "115d")],
)
def test_age_is_short(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_colours_and_symbols_follow_the_terminal() -> None:
    assert Terminal().paint("x", Colour.RED) == "x"
    assert Terminal(utf8=False).symbol("✓", "+") == "+"
    assert has_utf8({"LANG": "zh_CN.utf8"})
    assert not has_utf8({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"})
    assert padded("任", 4, right=True) == "  任"
