"""Help pages: commands by task, examples that work, global options once."""

import shlex

import click
import pytest

from dify_job.cli.help import EXAMPLES
from dify_job.cli.main import cli
from dify_job.cli.options import Globals
from dify_job.report.text import columns_of
from tests.support.cli_commands import COMMANDS

pytestmark = pytest.mark.usefixtures("english")
GLOBALS = ("--config", "--env-file", "--log-level", "--log-format", "--quiet", "--verbose")


HELP_PAGES = [" ".join(path) for path in COMMANDS if path]


def page(path: str) -> str:
    context = cli.make_context("dify-job", [*path.split(), "--help"], resilient_parsing=True, obj=Globals())
    command: click.Command = cli
    for name in path.split():
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None
        command = found
        context = command.context_class(command, parent=context, info_name=name)
    return command.get_help(context)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("path", HELP_PAGES)
def test_help_page_has_examples_and_fits_80_columns(path: str) -> None:
    text = page(path)
    shown = [example for example, _ in EXAMPLES[path]]
    assert 2 <= len(shown) <= 3
    assert all(f"  {example}" in text for example in shown)
    assert [line for line in text.split("\n") if columns_of(line) > 80] == []


@pytest.mark.parametrize("path", HELP_PAGES)
def test_global_options_are_listed_on_the_first_page_only(path: str) -> None:
    text = page(path)
    listed = [line.split()[0].strip(",") for line in text.split("\n") if line.startswith("  -")]
    assert not set(listed) & {*GLOBALS, "-q", "-v"}
    assert "For the options that every command takes, see: dify-job --help" in text


def test_first_page_groups_the_commands_by_task() -> None:
    text = page("")
    places = [
        text.index(f"\n{heading}:\n") for heading in ("Options", "Run", "Schedule", "Inspect", "Set up")
    ]
    assert places == sorted(places)
    assert all(option in text for option in GLOBALS)
    assert all(f"\n  {name} " in text for name in HELP_PAGES if " " not in name)


@pytest.mark.parametrize("example", sorted({example for each in EXAMPLES.values() for example, _ in each}))
def test_example_is_a_valid_command_line(example: str) -> None:
    words = [word for word in shlex.split(example.partition(" > ")[0]) if word != "sudo"]
    if words[0] == "curl":
        return
    assert words.pop(0) == "dify-job"
    command: click.Command = cli
    context = cli.make_context("dify-job", list(words), obj=Globals())
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command = found
        context = command.make_context(name, words, parent=context)
    assert not context.args
