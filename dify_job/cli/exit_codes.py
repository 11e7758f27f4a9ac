"""`dify-job exit-codes`."""

import click

from ..exit_codes import TABLE, RetrySafety
from ..messages.i18n import translate
from ..messages.message import msg
from ..report.text import columns_of, hanging, table
from .options import json_option
from .output import echo_data, echo_json, terminal_of_stdout

RETRY_TEXTS = {
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
                {"code": row.code, "outcome": row.outcome.value, "when": row.when, "retry": row.retry.value}
                for row in TABLE
            ]
        )
        return
    titles: list[str] = [msg("code"), msg("outcome"), msg("retry?"), msg("meaning")]
    rows: list[list[str]] = [titles]
    rows += ([str(row.code), row.outcome, RETRY_TEXTS[row.retry], msg(row.when)] for row in TABLE)
    shown = [[translate(cell) for cell in row] for row in rows]
    heads = table([row[:-1] for row in shown], right=[0])
    begin, width = max(map(columns_of, heads)) + 2, terminal_of_stdout().columns
    for head, (*_, when) in zip(heads, shown, strict=True):
        echo_data("\n".join(hanging(head, when, begin, width)))
