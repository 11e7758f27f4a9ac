"""`dify-job exit-codes`."""

from collections.abc import Iterator, Sequence

import click

from ..exit_codes import TABLE, RetrySafety
from ..messages.i18n import translate
from ..messages.message import msg
from ..report.text import columns_of, padded, table, wrapped
from .options import json_option
from .output import echo_data, echo_json, terminal_of_stdout

_RETRY = {
    RetrySafety.NOT_NEEDED: msg("no"),
    RetrySafety.SAFE: msg("yes"),
    RetrySafety.NOT_SAFE: msg("never blindly"),
    RetrySafety.USELESS: msg("pointless"),
    RetrySafety.POLICY: msg("your decision"),
}


@click.command()
@json_option
def exit_codes(*, as_json: bool) -> None:
    """Print the table of exit codes of `run`."""
    if as_json:
        echo_json(
            [
                {"code": row.code, "outcome": row.outcome.value, "when": row.when, "retry": row.again.value}
                for row in TABLE
            ]
        )
        return
    heads: list[str] = [msg("code"), msg("outcome"), msg("retry?"), msg("when")]
    rows: list[list[str]] = [heads]
    rows += ([str(row.code), row.outcome, _RETRY[row.again], msg(row.when)] for row in TABLE)
    shown = [[translate(cell) for cell in row] for row in rows]
    echo_data("\n".join(_lines(shown, terminal_of_stdout().columns)))


def _lines(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Each row, its last cell broken into lines below each other."""
    first = table([row[:-1] for row in rows], right=[0])
    begin = max(map(columns_of, first)) + 2
    for line, (*_, when) in zip(first, rows, strict=True):
        head = padded(line, begin)
        for part in wrapped(when, max(width - begin, 20)):
            yield head + part
            head = " " * begin
