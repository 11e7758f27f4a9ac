"""Messages are put into Chinese where the locale is Chinese: all of them, and nothing else."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job import words

ROOT = Path(__file__).parents[2]
MADE: dict[str, Any] = runpy.run_path(str(ROOT / "packaging" / "messages.py"))
CATALOGUE = {message.id: message.string for message in MADE["read"]() if message.id}
NAMES = re.compile(r"\{(\w+)\}")
WORDS = st.text("abcdefgh", min_size=3, max_size=9).map(lambda text: f"x{text}x")


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "is_chinese", lambda: True)


def test_the_catalogue_has_each_message_of_the_code_and_no_other() -> None:
    assert sorted(CATALOGUE) == sorted(MADE["messages"]()), "make messages"


def test_each_message_has_a_translation_with_the_same_values() -> None:
    assert [message for message, told in CATALOGUE.items() if not told] == []
    wrong = [
        m
        for m, told in CATALOGUE.items()
        if sorted(set(NAMES.findall(m))) != sorted(set(NAMES.findall(told)))
    ]
    assert wrong == []


def test_what_is_compiled_is_the_catalogue() -> None:
    assert MADE["MO"].read_bytes() == MADE["compiled"](MADE["read"]())


@pytest.mark.usefixtures("chinese")
@given(st.data())
def test_a_message_made_from_a_template_is_known_by_it_with_its_values(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from(sorted(CATALOGUE)))
    values = {name: data.draw(WORDS, name) for name in NAMES.findall(message)}
    told = words.in_readers_language(NAMES.sub(lambda found: values[found[1]], message))
    assert all(value in told for value in values.values())
    if CATALOGUE[message] != message and not values:
        assert told == CATALOGUE[message]


@pytest.mark.usefixtures("chinese")
def test_a_message_in_a_message_and_each_line_of_it_is_translated() -> None:
    told = words.in_readers_language(
        "dify-job: the key file /k can be read by others\n  chmod 600 /k; it must be yours or root's, in a "
        "directory that others cannot write"
    )
    first, second = told.split("\n")
    assert first.startswith("dify-job: ")
    assert second.startswith("  ")
    assert "/k" in first
    assert "can be read" not in told
    assert "directory" not in second


@pytest.mark.usefixtures("chinese")
@given(st.text())
def test_what_is_no_message_stays_as_it_is(text: str) -> None:
    if not re.search(r"[a-z]{2} ", text):
        assert words.in_readers_language(text) == text


@pytest.mark.parametrize(
    ("environ", "chinese"),
    [
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_TW.UTF-8"}, True),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, True),
        ({}, False),
    ],
)
def test_the_locale_of_messages_decides(environ: dict[str, str], chinese: bool) -> None:
    assert words.is_chinese(environ) is chinese
