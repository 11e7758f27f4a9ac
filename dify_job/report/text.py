"""Text for a terminal: widths, colours, and formats of times and durations. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from unicodedata import combining, east_asian_width

from ..messages.sanitize import visible
from ..system.timespan import format_timespan

_PIECE = re.compile(r"[\u2e80-\uffef][，。；：、！？）」]*|[^\s\u2e80-\uffef]+[，。；：、！？）」]*|\s+")
_ESCAPE = re.compile("\x1b\\[[0-9;]*m")
_UNBROKEN_SPACE = "\0"  # stands for a space at which no line breaks
_NARROW = 72  # columns; a narrower terminal has no space for the year of each time


class Colour(StrEnum):
    """Colours of text, as SGR parameters."""

    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    CYAN = "36"
    GREY = "90"
    BOLD = "1"


class Terminal(NamedTuple):
    """The capabilities of the reader's terminal.

    Attributes:
        columns: Width of a line.
        rows: Height of the screen.
        colours: Whether escape sequences for colours are understood.
        utf8: Whether the locale's encoding is UTF-8.
    """

    columns: int = 80
    rows: int = 24
    colours: bool = False
    utf8: bool = True

    def paint(self, text: str, *colours: Colour) -> str:
        """Return the text in a colour, or unchanged if colours are off.

        Args:
            text: Text without escape sequences.
            *colours: Colour and weight.
        """
        if not self.colours or not colours or not text:
            return text
        return f"\x1b[{';'.join(colours)}m{text}\x1b[0m"

    def time_text(self, at: datetime) -> str:
        """Return a time with its zone for a table; on a narrow terminal without its year.

        Args:
            at: The time, aware; it is shown in its own zone.
        """
        return time_text(at) if self.columns >= _NARROW else f"{at:%m-%d %H:%M:%S %Z}"

    def symbol(self, sign: str, plain: str) -> str:
        """Return a symbol, or its ASCII replacement in a locale without UTF-8.

        Args:
            sign: One character, one column wide.
            plain: One ASCII character.
        """
        return sign if self.utf8 else plain


def has_utf8(environ: Mapping[str, str]) -> bool:
    """Return whether the variables select UTF-8; Python's UTF-8 mode hides the locale's encoding.

    Args:
        environ: The environment variables.
    """
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    named = next((environ[name] for name in names if environ.get(name)), "C").upper()
    return "UTF-8" in named or "UTF8" in named


def columns_of(text: str) -> int:
    """Return the width of a text in columns: Chinese characters take two, colours none.

    Args:
        text: One line, which may have escape sequences.
    """
    text = _ESCAPE.sub("", text)
    if text.isascii():
        return len(text)
    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return the text with spaces up to a width in columns.

    Args:
        text: The text.
        width: Columns.
        right: Align it to the right.
    """
    space = " " * max(width - columns_of(text), 0)
    return space + text if right else text + space


def wrapped(text: str, width: int, unbroken: Iterable[str] = ()) -> list[str]:
    """Wrap a text; lines break after Chinese characters and at spaces.

    Args:
        text: Text without line ends. A word longer than a line is not broken, so that it can be copied.
        width: Columns of a line.
        unbroken: Parts of the text that stay on one line: commands, which a person pastes.
    """
    for part in unbroken:
        text = text.replace(part, part.replace(" ", _UNBROKEN_SPACE))
    return [line.replace(_UNBROKEN_SPACE, " ") for line in _lines(_PIECE.findall(text), width)]


def indented(text: str, width: int, indent: int, unbroken: Iterable[str] = ()) -> list[str]:
    """Wrap a text into indented lines.

    Args:
        text: The text; control characters in it are escaped, its line ends stay.
        width: Columns of a line, the indent included.
        indent: Columns.
        unbroken: Parts of the text that stay on one line.
    """
    unbroken, parts = tuple(unbroken), visible(text).split("\n")
    lines = (line for part in parts for line in wrapped(part, max(width - indent, 20), unbroken))
    return [" " * indent + line for line in lines]


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Align rows in columns two spaces apart.

    Args:
        rows: Cells, the same number in each row.
        right: Numbers of the columns that are aligned to the right.
    """
    to_right = set(right)
    widths = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            padded(cell, width, right=number in to_right)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def table_without_long_names(
    rows: Sequence[Sequence[str]], place: int, columns: int, *, right: Iterable[int] = ()
) -> list[tuple[str, str]]:
    """Align rows as table does, and leave out names that are too long for the line.

    Args:
        rows: Cells, the same number in each row.
        place: Number of the column of names.
        columns: Width of a line.
        right: Numbers of the columns that are aligned to the right.

    Returns:
        Each line with the name that was left out, or an empty text.
    """
    lines = table(rows, right=right)
    if max(map(columns_of, lines)) <= columns:
        return [(line, "") for line in lines]
    without = table([[*row[:place], *row[place + 1 :]] for row in rows])
    space = columns - 2 - max(map(columns_of, without))
    long = [row[place] if columns_of(row[place]) > space else "" for row in rows]
    short = [
        [*row[:place], "" if name else row[place], *row[place + 1 :]]
        for row, name in zip(rows, long, strict=True)
    ]
    return list(zip(table(short, right=right), long, strict=True))


def hanging(head: str, text: str, begin: int, width: int, unbroken: Iterable[str] = ()) -> list[str]:
    """Return a text with a hanging indent to the right of its head.

    Args:
        head: The text at the left of the first line.
        text: The text.
        begin: The column of the text.
        width: Columns of a line.
        unbroken: Parts of the text that stay on one line.
    """
    lines = wrapped(text, max(width - begin, 20), unbroken) or [""]
    return [
        f"{padded(head if number == 0 else '', begin)}{line}".rstrip() for number, line in enumerate(lines)
    ]


def time_text(at: datetime) -> str:
    """Return a time with its zone, as in all overviews: `2026-01-31 07:00:00 CST`.

    Args:
        at: The time, aware; it is shown in its own zone.
    """
    return f"{at:%Y-%m-%d %H:%M:%S %Z}"


def local_time_text(at: datetime | None) -> str:
    """Return a time in the machine's time zone.

    Args:
        at: The time, aware; None (a record without a time) becomes a dash.
    """
    return time_text(at.astimezone()) if at is not None else "-"


def duration_text(seconds: float) -> str:
    """Return a duration for a person: `2.3s`, `2min 5s`.

    Args:
        seconds: Not negative.
    """
    return f"{seconds:.1f}s" if seconds < 59.95 else format_timespan(round(seconds))


def age_text(seconds: float) -> str:
    """Return a rough age in at most five characters: `12s`, `5min`, `3h`, `12d`.

    Args:
        seconds: The age; a negative age, after a clock was set back, counts as 0.
    """
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(max(seconds, 0))}s"


def _lines(pieces: Iterable[str], width: int) -> Iterator[str]:
    line = ""
    for piece in pieces:
        if line.strip() and columns_of((line + piece).rstrip()) > width:
            yield line.rstrip()
            line = ""
        line += piece if line or not piece.isspace() else ""
    if line.strip():
        yield line.rstrip()
