"""Text of the status of all jobs for a terminal, the worst first. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from ..checks.finding import Finding, Severity
from ..checks.scheduler import NOT_INSTALLED, OUTDATED
from ..messages.command import Command, Reader, command, commands_in, for_reader
from ..messages.i18n import translate
from ..messages.message import has_value, join, msg
from ..messages.sanitize import one_line
from ..schedulers.http_socket import SOCKET, HttpSocketStatus
from ..schedulers.model import Scope
from ..schedulers.reconcile import edited_text
from ..state.history import RunRecord
from ..system.timestamps import read_time
from .job_status import RECENT_RUNS, Health, JobStatus, Sync, with_fix
from .past_runs import RunKind, run_kind
from .status import HostStatus
from .text import (
    Colour,
    Terminal,
    age_text,
    columns_of,
    duration_text,
    indented,
    local_time_text,
    padded,
    table_without_long_names,
)

_SIGNS = {
    Health.FAILING: ("✗", "x", Colour.RED),
    Health.ATTENTION: ("!", "!", Colour.YELLOW),
    Health.UNKNOWN: ("?", "?", Colour.YELLOW),
    Health.RUNNING: (">", ">", Colour.CYAN),
    Health.OK: ("✓", "+", Colour.GREEN),
    Health.PAUSED: ("-", "-", Colour.GREY),
}
_RUN_SIGNS = {
    RunKind.OK: ("✓", "+", Colour.GREEN),
    RunKind.SKIPPED: ("-", "-", Colour.GREY),
    RunKind.UNKNOWN: ("?", "?", Colour.YELLOW),
    RunKind.FAILED: ("✗", "x", Colour.RED),
}
_INDENT = 4
_MAX_REASON = 400  # characters
_MAX_OUTCOME = 40  # characters; another user may have written the state directory
_MAX_NAMED_JOBS = 3  # names that fit into a line
_MAX_MISTAKES = 3  # lines of a configuration's error


def status_lines(
    status: HostStatus, terminal: Terminal, reader: Reader, *, most: int | None = None
) -> list[str]:
    """Return the lines that `dify-job status` prints.

    Args:
        status: The status of the host; it has at least one job.
        terminal: The terminal.
        reader: The reader of the commands.
        most: The number of lines that fit on the screen; None for any number. Every job has its row, and the
            worst jobs have their reasons, as far as there is space.
    """

    def put(text: str, indent: int = 0) -> list[str]:
        adapted = for_reader(text, reader)
        return indented(translate(adapted), terminal.columns, indent, commands_in(adapted))

    lines, last = [], []
    for texts in config_errors(status, reader):
        broken = [line for text in texts for line in put(text, 2)]
        broken[0] = f"!{broken[0][1:]}"
        lines += [terminal.paint(line, Colour.YELLOW) for line in broken]
    head, rows = _table(status, terminal)
    lines += _totals(status, max(map(columns_of, (*head, *(line for row in rows for line in row)))), terminal)
    lines += [terminal.paint(line, Colour.BOLD) for line in head]
    for socket, finding in status.http:
        last += put(_http(socket, finding))
    if any(row.hidden for row in status.jobs):
        again = command("dify-job", "status", needs_root=True)
        last += put(
            msg("you have no permission to read some results; to read them, run: {command}", command=again)
        )
    details = []
    for row in status.jobs:
        texts = [line for text in reasons_of(row, status.at) for line in put(text, _INDENT)]
        # Not wrapped, so that commands can be pasted.
        commands = (for_reader(each, reader) for each in commands_of(row))
        details.append([*texts, *(" " * _INDENT + terminal.paint(each, Colour.BOLD) for each in commands)])
    if most is not None:
        details, hidden = _fitting(details, most - len(lines) - len(last) - sum(map(len, rows)))
        last += hidden
    whole = [
        *lines,
        *(line for pair in zip(rows, details, strict=True) for part in pair for line in part),
        *last,
    ]
    return (
        whole if most is None or len(whole) <= most else [*whole[: most - 1], _omitted(len(whole) - most + 1)]
    )


def _table(status: HostStatus, terminal: Terminal) -> tuple[list[str], list[list[str]]]:
    """Return the lines of the heading, and those of each job."""
    names = (
        msg("JOB"),
        msg("LAST RUN (EXIT)"),
        msg("AGE"),
        msg("LAST {number}", number=RECENT_RUNS),
        msg("NEXT RUN"),
    )
    job, last, age, recent, next_run = map(translate, names)
    heads = [f"  {job}", last, age, padded(recent, RECENT_RUNS), next_run]
    cells = [heads, *(_cells(row, status, terminal) for row in status.jobs)]
    head, *rows = [
        [name, line] if name else [line]
        for line, name in table_without_long_names(cells, 0, terminal.columns)
    ]
    return head, rows


def _fitting(details: Sequence[list[str]], space: int) -> tuple[list[list[str]], list[str]]:
    """Return the details that fit into a number of lines, and a note on the others."""
    if sum(map(len, details)) <= space:
        return list(details), []
    left, shown = space - 1, []
    for lines in details:
        shown.append(lines if len(lines) <= left else [])
        left -= len(shown[-1])
    return shown, [_omitted(sum(map(len, details)) - sum(map(len, shown)))]


def _omitted(number: int) -> str:
    return translate(msg("{number} more lines do not fit on the screen", number=number))


def outcome_text(run: RunRecord) -> str:
    """Return the outcome of a run with its exit code: `failed (exit 80)`.

    Args:
        run: The run; one whose process was killed has no code.
    """
    outcome = one_line(run.outcome, _MAX_OUTCOME)
    if run.exit_code in (0, None):
        return outcome
    return msg("{outcome} (exit {code})", outcome=outcome, code=run.exit_code)


def outcome_cell(run: RunRecord) -> str:
    """Return the outcome of a run for a column with a heading: `failed (80)`.

    Args:
        run: The run.
    """
    outcome = one_line(run.outcome, _MAX_OUTCOME)
    return outcome if run.exit_code in (0, None) else f"{outcome} ({run.exit_code})"


def run_sign(run: RunRecord, terminal: Terminal) -> str:
    """Return one coloured character for the outcome of a run.

    Args:
        run: The run.
        terminal: The terminal.
    """
    sign, plain, colour = _RUN_SIGNS[run_kind(run)]
    return terminal.paint(terminal.symbol(sign, plain), colour)


def config_errors(status: HostStatus, reader: Reader) -> Iterator[list[str]]:
    """Yield texts for each configuration that cannot be used: its errors, then the fix.

    Args:
        status: The status of the host.
        reader: The reader of the commands.
    """
    for _, error in status.config_errors:
        first, *more = translate(for_reader(error.message, reader)).split("\n")[:_MAX_MISTAKES]
        text = msg("the configuration has an error: {error}", error=first)
        yield [text, *more, *([for_reader(error.hint, reader)] if error.hint else [])]


def _totals(status: HostStatus, width: int, terminal: Terminal) -> list[str]:
    """Return `10 jobs: 3 failing, 1 running, 6 ok` and the time, as wide as the table if possible."""
    count = {health: sum(row.health is health for row in status.jobs) for health in Health}
    counts = (
        (msg("{count} failing", count=count[Health.FAILING]), count[Health.FAILING]),
        (msg("{count} with problems", count=count[Health.ATTENTION]), count[Health.ATTENTION]),
        (msg("{count} unknown", count=count[Health.UNKNOWN]), count[Health.UNKNOWN]),
        (msg("{count} running", count=count[Health.RUNNING]), count[Health.RUNNING]),
        (msg("{count} ok", count=count[Health.OK]), count[Health.OK]),
        (msg("{count} paused", count=count[Health.PAUSED]), count[Health.PAUSED]),
    )
    named = join(", ", [text for text, number in counts if number])
    if len(status.jobs) == 1:
        text = msg("1 job: {counts}", counts=named)
    else:
        text = msg("{number} jobs: {counts}", number=len(status.jobs), counts=named)
    left, seen = translate(text), local_time_text(status.at)
    space = max(width - columns_of(left) - columns_of(seen), 2)
    whole = f"{left}{' ' * space}{seen}"
    return [whole] if columns_of(whole) <= terminal.columns else [left, seen]


def _cells(row: JobStatus, status: HostStatus, terminal: Terminal) -> list[str]:
    sign, plain, colour = _SIGNS[row.health]
    began = row.last.began if row.last is not None else None
    strip = "".join(run_sign(run, terminal) for run in row.recent)  # the newest run is on the right
    outcome = outcome_cell(row.last) if row.last is not None else "-"
    return [
        f"{terminal.paint(terminal.symbol(sign, plain), colour)} {status.name_of(row)}",
        terminal.paint(outcome, Colour.RED) if row.last_failed else outcome,
        age_text((status.at - began).total_seconds()) if began is not None else "-",
        padded(strip, RECENT_RUNS, right=True),
        next_run_text(row, terminal) or "-",
    ]


def next_run_text(row: JobStatus, terminal: Terminal) -> str:
    """Return the next run, or why there is none; empty if it is unknown.

    Args:
        row: The job.
        terminal: The terminal.
    """
    if row.sync is Sync.UNKNOWN:
        return ""
    if row.installed is None:
        return translate(msg("not installed"))
    if row.paused:
        return translate(msg("paused"))
    if row.enabled is False:
        return translate(msg("not enabled"))
    return terminal.time_text(row.next_runs[0]) if row.next_runs else ""


def reasons_of(row: JobStatus, now: datetime) -> Iterator[str]:
    """Yield the progress of a run, then the reasons why the job needs attention, a text each.

    Args:
        row: The job.
        now: The current time, aware.
    """
    if row.running:
        yield progress_text(row, now)
    if row.last is not None and row.last_failed:
        yield from _last_failure(row, row.last)
    elif row.failures:
        yield _failures(row.failures)
    texts = {
        Sync.OUTDATED: OUTDATED,
        Sync.EDITED: edited_text(row.job, row.installed.edited if row.installed is not None else ()),
        Sync.ORPHAN: msg("the job's configuration no longer exists"),
        Sync.MISSING: msg("the job is neither installed nor configured")
        if row.schedule is None and row.config_error is None
        else NOT_INSTALLED,
    }
    if row.sync in texts:
        yield texts[row.sync]
    if row.config_error is not None:
        yield msg("the job's configuration has an error (shown above)")
    yield from row.other_problems


def commands_of(row: JobStatus) -> Iterator[Command]:
    """Yield the commands that explain or fix the problems of a job.

    Args:
        row: The job.
    """
    job = row.job
    root = row.installed is not None and row.installed.scope is Scope.SYSTEM
    if row.last is not None and row.last_failed:
        if isinstance(row.last.hint_text, Command):
            yield row.last.hint_text
        yield command("dify-job", "logs", job, needs_root=root)
    elif row.failures:
        yield command("dify-job", "history", job, "--failed", "--since", "yesterday", needs_root=root)
    match row.sync:
        case Sync.OUTDATED:
            yield command("dify-job", *row.config_options, "install", job, needs_root=root)
        case Sync.EDITED:
            yield command("dify-job", *row.config_options, "install", job, "--diff", needs_root=root)
        case Sync.ORPHAN if row.caller_can_install:
            yield command("dify-job", "install", job, needs_root=root)
        case Sync.ORPHAN:
            yield command("dify-job", "uninstall", job, needs_root=root)
        case Sync.MISSING | Sync.UNKNOWN if row.config_error is not None:
            yield command("dify-job", "config", "validate")
        case Sync.MISSING:
            yield command("dify-job", "install", job) if row.schedule else command("dify-job", "status")


def progress_text(row: JobStatus, now: datetime) -> str:
    """Return the elapsed time of the run in progress, and the usual time.

    Args:
        row: A job with a run in progress.
        now: The current time, aware.
    """
    if row.running_since is None:
        return msg("a run is in progress")
    elapsed = duration_text(max((now - row.running_since).total_seconds(), 0.0))
    if row.past is None or row.past.mean_duration is None:
        return msg("running for {elapsed}", elapsed=elapsed)
    usual = duration_text(row.past.mean_duration)
    return msg("running for {elapsed} (usually {usual})", elapsed=elapsed, usual=usual)


def _last_failure(row: JobStatus, last: RunRecord) -> Iterator[str]:
    yield failure_text(last.message_text or last.outcome, last.failed_node)
    if last.hint_text and not isinstance(last.hint_text, Command):
        yield last.hint_text
    if row.past is None or row.past.failures_in_a_row < 2:
        return
    number = row.past.failures_in_a_row
    good = read_time(row.past.last_success)
    if good is None:
        yield msg("{number} failures in a row; no success is on record", number=number)
    else:
        yield msg("{number} failures in a row; last success: {at}", number=number, at=local_time_text(good))


def failure_text(message: str, node: Mapping[str, str | None] | None) -> str:
    """Return why a run failed, with the node unless the message names it.

    Args:
        message: The message of the run.
        node: Title, type and error of the failed node, or None.
    """
    title = node.get("title") if node is not None else None
    shown = one_line(message, _MAX_REASON)
    if not title or has_value(message, title):
        return shown
    return msg('at "{node}": {message}', node=one_line(title), message=shown)


def _failures(failures: Sequence[RunRecord]) -> str:
    newest = failures[-1]
    reason = failure_text(newest.message_text or newest.outcome, newest.failed_node)
    at = local_time_text(newest.began)
    if len(failures) == 1:
        return msg("a run failed at {at}: {reason}", at=at, reason=reason)
    return msg(
        "{number} runs failed since yesterday; the last one at {at}: {reason}",
        number=len(failures),
        at=at,
        reason=reason,
    )


def _http(state: HttpSocketStatus, finding: Finding) -> str:
    if finding.severity is not Severity.OK:
        return msg("http: {problem}", problem=with_fix(finding.message, finding.fix))
    where = state.config.listen if state.config is not None else SOCKET
    if len(state.jobs) > _MAX_NAMED_JOBS:
        return msg("http: {where} serves {number} jobs", where=where, number=len(state.jobs))
    return msg("http: {where} serves {jobs}", where=where, jobs=join(", ", state.jobs))
