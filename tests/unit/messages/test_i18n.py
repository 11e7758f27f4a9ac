"""Translation: each message has a translation, and nothing else is translated."""

import ast
import copy
import json
import os
import pickle
import re
import subprocess
import sys
from gettext import GNUTranslations
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from click.testing import CliRunner

from dify_job.cli.main import cli
from dify_job.exit_codes import TABLE
from dify_job.log import redact
from dify_job.messages import i18n
from dify_job.messages.message import Message, join, msg
from dify_job.messages.sanitize import one_line
from dify_job.report.text import columns_of
from tests.support.cli_commands import COMMANDS

ROOT = Path(__file__).parents[3]
LOCALE = ROOT / "dify_job/messages/locale/zh/LC_MESSAGES"
with (LOCALE / "dify-job.po").open("rb") as file:
    CATALOGUE = read_po(file, locale="zh_CN")


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i18n, "is_chinese", lambda: True)


def extracted(tmp_path: Path) -> set[str]:
    """Return the messages in the code, extracted like `make messages`."""
    template = tmp_path / "dify-job.pot"
    keywords = ["-k", "msg", "-k", "value_error", "-k", "ExitCode:3"]
    command = ["-q", "extract", "-F", "packaging/babel.cfg", *keywords]
    pybabel = [sys.executable, "-c", "from babel.messages.frontend import main; main()"]
    environment = os.environ | {"PYTHONPATH": "packaging"}
    subprocess.run(
        [*pybabel, *command, "-o", str(template), "dify_job"], cwd=ROOT, env=environment, check=True
    )
    with template.open("rb") as file:
        return {str(message.id) for message in read_po(file) if message.id}


def test_catalogue_has_exactly_the_messages_of_the_code(tmp_path: Path) -> None:
    assert {str(message.id) for message in CATALOGUE if message.id} == extracted(tmp_path), "make messages"


def test_extraction_finds_each_msg_call() -> None:
    """Babel does not see a msg() inside another call inside a msg()."""
    calls = (
        node
        for path in (ROOT / "dify_job").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("msg", "value_error")
    )
    literals = {str(call.args[0].value) for call in calls if isinstance(call.args[0], ast.Constant)}
    assert sorted(literals - {message.id for message in CATALOGUE}) == []


def test_every_message_has_a_valid_translation() -> None:
    assert [message.id for message in CATALOGUE if message.id and not message.string] == []
    assert [(message.id, str(error)) for message in CATALOGUE for error in message.check(CATALOGUE)] == []


@pytest.mark.parametrize("domain", ["dify-job", "click"])
def test_compiled_catalogue_has_the_same_translations(domain: str) -> None:
    with (LOCALE / f"{domain}.po").open("rb") as file:
        source = {message.id: message.string for message in read_po(file) if message.id}
    with (LOCALE / f"{domain}.mo").open("rb") as compiled:
        translations = GNUTranslations(compiled)
    for template, translation in source.items():
        if isinstance(template, str):
            assert translations.gettext(template) == translation


def test_str_of_a_message_is_english() -> None:
    message = msg("{path} cannot be read: {reason}", path="/k", reason="Permission denied")
    assert message == "/k cannot be read: Permission denied"
    assert json.dumps(message) == '"/k cannot be read: Permission denied"'
    assert copy.deepcopy(message).template == pickle.loads(pickle.dumps(message)).template == message.template


def test_values_with_braces_are_not_templates() -> None:
    assert msg("workflow failed: {error}", error="{0} {name}") == "workflow failed: {0} {name}"


@pytest.mark.usefixtures("chinese")
def test_messages_among_the_values_are_translated() -> None:
    reason = msg("the server did not answer")
    message = join("; ", [reason, "HTTP 502"])
    assert i18n.translate(message) == f"{i18n.translate(reason)}；HTTP 502"
    assert i18n.translate(reason) != reason


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize("text", ["the server did not answer", "", "no module named x in node 3"])
def test_text_of_a_server_is_never_translated(text: str) -> None:
    assert i18n.translate(text) == text
    assert text in i18n.translate(msg("the server could not be reached: {unsent}", unsent=text))


def test_redacted_and_shortened_message_is_still_translated() -> None:
    message = msg("the server did not answer")
    assert isinstance(redact(message), Message)
    assert isinstance(one_line(message), Message)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_page_is_chinese_and_fits_80_columns(path: tuple[str, ...]) -> None:
    page = run_in_chinese([*path, "--help"])
    assert page.startswith("用法：")
    assert "选项" in page
    prose = re.compile(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,}\b")
    shown = [line for line in page.splitlines() if "dify-job" not in line]
    assert [line for line in shown if prose.search(line)] == []
    assert [line for line in page.splitlines() if columns_of(line) > 80] == []


def run_in_chinese(arguments: list[str]) -> str:
    """Run a command in a new process, as gettext reads the locale once; return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "dify_job", *arguments],
        env={"LANG": "zh_CN.UTF-8", "PATH": "/usr/bin:/bin", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.usefixtures("chinese")
def test_table_of_exit_codes_is_chinese() -> None:
    page = CliRunner().invoke(cli, ["exit-codes"], terminal_width=200).output
    head, *lines = page.splitlines()
    assert head.split() == ["退出码", "结果", "重试？", "含义"]
    begun = [line.split()[:2] for line in lines if line[:6].strip().isdigit()]
    assert begun == [[str(row.code), row.outcome] for row in TABLE]
    assert not [row.when for row in TABLE if i18n.translate_constant(row.when) == row.when]


@pytest.mark.parametrize(
    "arguments",
    [
        ["history", "--nope"],
        ["history", "-n", "0"],
        ["history", "-n"],
        ["exit-codes", "a"],
        ["exit-codes", "a", "b"],
        ["frob"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_reported_in_chinese(arguments: list[str]) -> None:
    assert not re.search(r"[A-Za-z]{2,} [a-z]{2,}", run_in_chinese(arguments).splitlines()[0])


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
def test_language_follows_the_locale_variables(environ: dict[str, str], chinese: bool) -> None:
    assert i18n.is_chinese(environ) is chinese
