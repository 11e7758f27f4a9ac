"""`dify-job exit-codes`."""

import click

from ..exits import TABLE
from .output import put, put_json


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
    width = max(len(row.outcome) for row in TABLE)
    put(f"code  {'outcome':<{width}}  {'a retry is':<10}  when")
    for row in TABLE:
        put(f"{row.code:>4}  {row.outcome:<{width}}  {row.again:<10}  {row.when}")
