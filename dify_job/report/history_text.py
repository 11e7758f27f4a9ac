"""Text of past runs for a terminal, the newest first. Pure."""

from collections.abc import Sequence

from ..messages.i18n import translate
from ..messages.message import msg
from ..messages.sanitize import one_line
from ..state.history import RunRecord, sparkline
from .past_runs import failed_node
from .status_text import failure_text, outcome_cell, run_sign
from .text import Terminal, columns_of, duration_text, indented, table, table_without_long_names

_SPARKLINE_RUNS = 60  # runs
_HEADS = (
    msg("WHEN"),
    msg("JOB"),
    msg("OUTCOME (EXIT)"),
    msg("DURATION"),
    msg("TOKENS"),
    msg("RUN"),
    msg("MESSAGE"),
)
_WITH_JOB = 7  # columns
_INDENT = 4


def history_lines(runs: Sequence[RunRecord], terminal: Terminal) -> list[str]:
    """Return the lines that `dify-job history` prints.

    Args:
        runs: The newest first; at least one.
        terminal: The terminal. If a line is too long for it, the message gets lines of its own, and if it is
            still too long, the run id, too.
    """
    when, *others = map(translate, _HEADS)
    rows = [[f"  {when}", *others], *(_cells(run, terminal) for run in runs)]
    if len({run.job for run in runs}) == 1:
        rows = [[when, *rest] for when, _, *rest in rows]
    numbers = (3, 4) if len(rows[0]) == _WITH_JOB else (2, 3)  # duration and tokens
    has_job = len(rows[0]) == _WITH_JOB
    for number in (0, 1, 2):  # cells that get lines of their own
        cells = [row[: len(row) - number] for row in rows]
        aligned = table(cells, right=numbers)
        if max(map(columns_of, aligned)) <= terminal.columns:
            break
    narrow = [(line, "") for line in aligned]
    if has_job:
        narrow = table_without_long_names(cells, 1, terminal.columns, right=numbers)
    head, *lines = [[line, *_shifted([name])] if name else [line] for line, name in narrow]
    below = [
        [line for cell in row[len(row) - number :] for line in indented(cell, terminal.columns - _INDENT, 0)]
        for row in rows[1:]
    ]
    return [
        *head,
        *(line for pair in zip(lines, below, strict=True) for line in (*pair[0], *_shifted(pair[1]))),
    ]


def _shifted(lines: Sequence[str]) -> list[str]:
    return [" " * _INDENT + line for line in lines]


def durations_line(runs: Sequence[RunRecord], terminal: Terminal) -> str | None:
    """Return the durations of one job's runs as a sparkline; None without durations.

    Args:
        runs: The runs, newest first.
        terminal: The terminal.
    """
    spans = [run.duration for run in reversed(runs) if not run.skipped and run.duration is not None]
    if not spans:
        return None
    sparks = sparkline(spans[-min(_SPARKLINE_RUNS, terminal.columns // 2) :], plain=not terminal.utf8)
    shortest, longest = duration_text(min(spans)), duration_text(max(spans))
    return translate(
        msg(
            "durations  {sparks}  from {shortest} to {longest}, newest last",
            sparks=sparks,
            shortest=shortest,
            longest=longest,
        )
    )


def _cells(run: RunRecord, terminal: Terminal) -> list[str]:
    at = terminal.time_text(run.began.astimezone()) if run.began is not None else "-"
    message = "" if run.succeeded else translate(failure_text(run.message_text, failed_node(run)))
    return [
        f"{run_sign(run, terminal)} {at}",
        run.job,
        outcome_cell(run),
        "-" if run.skipped or run.duration is None else duration_text(run.duration),
        "-" if run.tokens is None else f"{run.tokens:,}",
        one_line(run.run_id or ""),
        message,
    ]
