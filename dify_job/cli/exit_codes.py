"""`dify-job exit-codes`."""

import click

from ..exit_codes import TABLE, RetrySafety
from ..messages.i18n import translate
from ..messages.message import msg
from .help import columns_of
from .output import echo_data, echo_json

_RETRY = {
    RetrySafety.NOT_NEEDED: msg("no"),
    RetrySafety.SAFE: msg("yes"),
    RetrySafety.NOT_SAFE: msg("never blindly"),
    RetrySafety.USELESS: msg("pointless"),
    RetrySafety.POLICY: msg("your decision"),
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help=msg("As JSON."))
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
    outcomes = max(len(row.outcome) for row in TABLE)
    lines: list[tuple[str, ...]] = [(msg("code"), msg("outcome"), msg("retry?"), msg("when"))]
    lines += [(str(row.code), row.outcome, _RETRY[row.again], msg(row.when)) for row in TABLE]
    for code, outcome, again, when in lines:
        columns = (
            _padded(translate(code), -4),
            _padded(translate(outcome), outcomes),
            _padded(translate(again), 13),
        )
        echo_data("  ".join((*columns, translate(when))))


def _padded(text: str, width: int) -> str:
    """Fill a text up to a width in columns of a terminal; to the left where it is negative."""
    blanks = " " * (abs(width) - columns_of(text))
    return blanks + text if width < 0 else text + blanks
