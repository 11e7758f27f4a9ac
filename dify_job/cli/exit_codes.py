"""`dify-job exit-codes`."""

import click

from ..exits import TABLE, Again
from ..words import in_readers_language
from .help import columns_of
from .output import put_data, put_json

_RETRY_IS = "a retry is "
_RETRY = {
    Again.SAFE: "a retry is safe",
    Again.USELESS: "a retry is no",
    Again.NOT_SAFE: "a retry is not safe",
    Again.POLICY: "a retry is policy",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def exit_codes(*, as_json: bool) -> None:
    """Print the table of exit codes of `run`."""
    if as_json:
        put_json(
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
        retry = in_readers_language(again).removeprefix(_RETRY_IS if again != _RETRY_IS else "").rstrip()
        padded = retry + " " * (10 - columns_of(retry))
        put_data(f"{code:>4}  {outcome:<{outcomes}}  {padded}  {in_readers_language(when)}")
