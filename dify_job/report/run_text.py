"""Text of a result for a terminal: one line, the reason, the outputs. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..messages.i18n import translate
from ..messages.message import Message, msg
from ..messages.sanitize import one_line, visible
from ..state.history import RunRecord
from ..system.json_text import dumps
from .status_text import outcome_text, run_sign
from .text import Colour, Terminal, duration_text, indented


def run_lines(
    job: str, run: RunRecord, outputs: Mapping[str, Any] | None, terminal: Terminal
) -> Iterator[str]:
    """Yield the lines of a result.

    Args:
        job: The name of the job.
        run: The record of the run.
        outputs: The outputs of the workflow, or None.
        terminal: The terminal.
    """
    yield msg("{sign} {ending}", sign=run_sign(run, terminal), ending=outcome_line(job, run))
    if not run.succeeded:
        for text in (run.message_text, run.hint_text):
            if text:
                yield from indented(one_line(translate(text)), terminal.columns, 2)
    for name, value in (outputs or {}).items():
        text = value if isinstance(value, str) else dumps(value, indent=2)
        lines = visible(text).rstrip("\n").split("\n")
        title = terminal.paint(one_line(name, 60), Colour.BOLD)
        if len(lines) == 1 and len(lines[0]) + len(name) + 4 <= terminal.columns:
            yield f"  {title}: {lines[0]}"
        else:
            yield f"  {title}:"
            yield from (f"    {line}" for line in lines)


def outcome_line(job: str, run: RunRecord) -> Message:
    """Return one line with job, outcome, time, tokens and the failed node.

    Args:
        job: The name of the job.
        run: The record of the run.
    """
    node = (run.failed_node or {}).get("title")
    values: dict[str, Any] = {
        "job": job or "dify-job",
        "outcome": outcome_text(run),
        "time": duration_text(run.duration or 0.0),
        "tokens": run.tokens or 0,
        "node": one_line(node or "", 60),
    }
    match bool(node), bool(run.tokens):
        case True, True:
            return msg('{job}: {outcome} at "{node}" in {time}, {tokens:,} tokens', **values)
        case True, False:
            return msg('{job}: {outcome} at "{node}" in {time}', **values)
        case False, True:
            return msg("{job}: {outcome} in {time}, {tokens:,} tokens", **values)
    return msg("{job}: {outcome} in {time}", **values)
