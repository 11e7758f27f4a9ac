"""Help pages in the language of the locale, and the width that their characters take on a terminal."""

import re
from collections.abc import Iterable

import click

from ..messages.i18n import translate_constant
from ..report.text import columns_of, wrapped
from .examples import examples_text

_EXTRA = re.compile(r"(?s)(.*?)((?:  \[[^\[]*\])?)")  # what click adds: `  [default: 5; x>=1]`


def formatter_of(context: click.Context) -> "Formatter":
    """Return the formatter of a command's help page, and give the command its examples.

    Args:
        context: Of the command.

    """
    formatter = Formatter(width=context.terminal_width, max_width=context.max_content_width)
    _, _, path = context.command_path.partition(" ")
    context.command.epilog = examples_text(path, formatter.width)
    return formatter


class Formatter(click.HelpFormatter):
    """click's, with each text put into the reader's language before it is laid out."""

    def write_heading(self, heading: str) -> None:
        """Write a heading."""
        super().write_heading(translate_constant(heading))

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        indent = " " * self.current_indent
        for number, paragraph in enumerate(text.split("\n\n")):
            if paragraph.startswith("\b\n"):  # laid out already
                lines = paragraph.split("\n")[1:]
            else:
                whole = translate_constant(" ".join(paragraph.split()))
                lines = wrapped(whole, self.width - self.current_indent)
            self.write("\n" * bool(number) + "".join(f"{indent}{line}\n" for line in lines))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names with what each means."""
        rows = list(rows)
        longest = min(max(columns_of(first) for first, _ in rows), col_max)
        column = self.current_indent + longest + col_spacing
        for first, second in rows:
            head = " " * self.current_indent + first
            if len(first) > longest:
                self.write(head + "\n")
                head = ""
            for line in wrapped(_translated(second), max(self.width - column, 10)) or [""]:
                self.write(f"{head.ljust(column)}{line}".rstrip() + "\n")
                head = ""


def _translated(text: str) -> str:
    found = _EXTRA.fullmatch(text)
    return translate_constant(found[1]) + found[2] if found is not None else translate_constant(text)
