"""`dify-job exit-codes`."""

import click

from ..exit_codes import TABLE, RetrySafety
from ..messages.i18n import translate
from ..messages.message import msg
from .help import columns_of
from .output import echo_data, echo_json

_RETRY_IS = "a retry is "
_RETRY = {
    RetrySafety.SAFE: msg("a retry is safe"),
    RetrySafety.USELESS: msg("a retry is no"),
    RetrySafety.NOT_SAFE: msg("a retry is not safe"),
    RetrySafety.POLICY: msg("a retry is policy"),
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
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
    lines = [("code", "outcome", _RETRY_IS, "when")]
    lines += [(str(row.code), row.outcome, _RETRY.get(row.again, row.again), row.when) for row in TABLE]
    for code, outcome, again, when in lines:
        retry = translate(again).removeprefix(_RETRY_IS if again != _RETRY_IS else "").rstrip()
        padded = retry + " " * (10 - columns_of(retry))
        echo_data(f"{code:>4}  {outcome:<{outcomes}}  {padded}  {translate(when)}")
