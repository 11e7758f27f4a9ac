"""Messages are put into Chinese where the locale is Chinese: all of them, and nothing else."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dify_job.cli import help as helping
from dify_job.cli import options
from dify_job.cli.main import cli
from dify_job.exit_codes import TABLE
from dify_job.messages import i18n

ROOT = Path(__file__).parents[3]
MADE: dict[str, Any] = runpy.run_path(str(ROOT / "packaging" / "messages.py"))
CATALOGUE = {message.id: message.string for message in MADE["read"]() if message.id}
NAMES = re.compile(r"\{(\w+)\}")
WORDS = st.text("abcdefgh", min_size=3, max_size=9).map(lambda text: f"x{text}x")


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (i18n, options):
        monkeypatch.setattr(room, "is_chinese", lambda: True)


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
    told = i18n.translate(NAMES.sub(lambda found: values[found[1]], message))
    assert all(value in told for value in values.values())
    if CATALOGUE[message] != message and not values:
        assert told == CATALOGUE[message]


@pytest.mark.usefixtures("chinese")
def test_a_message_in_a_message_and_each_line_of_it_is_translated() -> None:
    told = i18n.translate(
        "dify-job: the output file /k cannot be written: Read-only file system\n"
        "  findmnt -T /k; mount it for writing, or choose another place"
    )
    first, second = told.split("\n")
    assert first.startswith("dify-job: ")
    assert second.startswith("  ")
    assert "/k" in first
    assert "cannot be written" not in told
    assert "place" not in second


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("there is no job 'a' in /c.toml", "/c.toml 中没有任务 'a'"),
        ("there is no job 'a' in /c.toml; did you mean b?", "/c.toml 中没有任务 'a'；你是指 b 吗？"),
        ("by systemd, next at 2026-11-24 18:00 UTC", "由 systemd 启动，下次在 2026-11-24 18:00 UTC"),
        (
            "/c.toml:3: unknown key 'evry'; did you mean every?",
            "/c.toml:3：未知的键 'evry'；你是指 every 吗？",
        ),
        ("run now    sudo systemctl start x", "立即运行   sudo systemctl start x"),
    ],
)
def test_of_two_values_side_by_side_each_is_itself(text: str, told: str) -> None:
    assert i18n.translate(text) == told


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("the key was refused: Access token is invalid; nothing was written",
         "密钥被拒绝: Access token is invalid；没有写入任何内容"),
        ("workflow failed: no module named x in node 3", "工作流失败: no module named x in node 3"),
        ("the key file /k can be read by others", "密钥文件 /k 可被他人读取"),
        ("/c.toml:2: timeout must be more than 0 s", "/c.toml:2: timeout 必须大于 0 秒"),
        ("/c.toml:2: mode must be one of a, b", "/c.toml:2: mode 必须是 a, b 之一"),
        ("a: the last run: workflow failed: x (dify-job logs a)",
         "a: 上次运行：工作流失败: x（dify-job logs a）"),
        ("healthchecks failed: HTTP 404", "healthchecks失败：HTTP 404"),
    ],
)  # fmt: skip
def test_a_servers_own_text_is_left_as_it_is(text: str, told: str) -> None:
    assert i18n.translate(text) == told


@pytest.mark.usefixtures("chinese")
@given(st.text())
def test_what_is_no_message_stays_as_it_is(text: str) -> None:
    if not re.search(r"[a-z]{2} ", text):
        assert i18n.translate(text) == text


# Help pages


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        below = group.get_command(context, name)
        assert below is not None
        if isinstance(below, click.Group):
            yield from commands(below, (*path, name))
        else:
            yield (*path, name), below


COMMANDS = dict(commands(cli))


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_help_page_is_chinese_and_goes_into_80_columns(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    helps = [each.help for each in command.params if isinstance(each, click.Option) and each.help]
    helps += [" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n")]
    page = CliRunner().invoke(cli, [*path, "--help"], terminal_width=80).output
    assert page.startswith("用法：")
    assert "选项:" in page
    unbroken = "".join(page.split())
    for text in helps:
        told = i18n.translate(text)
        assert told != text
        assert "".join(told.split()) in unbroken
    assert [line for line in page.splitlines() if helping.columns_of(line) > 80] == []


@pytest.mark.usefixtures("chinese")
def test_the_exit_table_is_chinese_but_for_its_codes() -> None:
    head, *lines = CliRunner().invoke(cli, ["exit-codes"]).output.splitlines()
    assert head.split() == ["code", "outcome", "可否重试", "情形"]
    assert [line.split()[:2] for line in lines] == [[str(row.code), row.outcome] for row in TABLE]
    assert not [row.when for row in TABLE if i18n.translate(row.when) == row.when]


@given(st.text("ab 运行。，", max_size=80), st.integers(10, 40))
def test_text_is_wrapped_to_columns_and_nothing_of_it_is_lost(text: str, width: int) -> None:
    lines = helping.wrapped(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line in lines:
        assert helping.columns_of(line) <= width or len(helping._PIECE.findall(line)) == 1


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize(
    "args",
    [
        ["run", "--nope"],
        ["run", "--nope", "--modes"],
        ["run", "--mode", "x"],
        ["history", "-n", "0"],
        ["history", "-n", "x"],
        ["run", "--mode"],
        ["run", "--scheduled=1"],
        ["exit-codes", "a"],
        ["exit-codes", "a", "b"],
        ["frob"],
    ],
    ids=" ".join,
)
def test_a_wrong_usage_is_told_in_chinese(args: list[str]) -> None:
    with pytest.raises(click.UsageError) as caught:
        cli.main(args, standalone_mode=False)
    told = i18n.translate(caught.value.format_message())
    assert not re.search(r"[A-Za-z]{2,} [a-z]{2,}", told)


# Which language


@pytest.mark.parametrize(
    ("environ", "chinese"),
    [
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_TW.UTF-8"}, True),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, True),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": "en_US:en"}, False),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "zh_CN:en"}, True),
        ({"LC_ALL": "C.UTF-8", "LANGUAGE": "zh_CN"}, False),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": ""}, True),
        ({}, False),
    ],
)
def test_the_locale_of_messages_decides(environ: dict[str, str], chinese: bool) -> None:
    assert i18n.is_chinese(environ) is chinese
