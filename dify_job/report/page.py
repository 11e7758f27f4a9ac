"""The overview page: one HTML file about all jobs, without scripts or network. Pure."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..messages.command import Reader, command, for_reader
from ..messages.i18n import is_chinese, translate
from ..messages.message import msg
from ..messages.sanitize import one_line
from ..state.history import RunRecord
from ..system.templates import render_html
from .job_status import Health, JobStatus
from .past_runs import RunKind, distinct, has_failed, run_kind
from .status import HostStatus
from .status_text import (
    commands_of,
    config_errors,
    failure_text,
    next_run_text,
    outcome_text,
    progress_text,
    reasons_of,
)
from .text import Terminal, duration_text, local_time_text, time_text

_MAX_JOBS_WITH_LONG_STRIP = 30
_CELLS, _CELLS_OF_MANY = 60, 40  # runs of a job's strip
_FAILURES = 100  # rows of the table
_UPCOMING = 20  # runs
_MAX_REASON = 500  # characters
_MAX_TITLE = 90  # characters that a cell shows on hover
_STEP, _CELL = 8, 6  # units of the strip: from run to run, and the width of one
_MIN_DAYS = 7  # of a chart
_MIN_BARS = 3  # of a chart; fewer values are shown as a number
_MIN_CELLS = 10  # the minimum width of a strip
_OUTLIER = 4  # times the median; a longer run has a bar of this height
_BARS = 26  # units of the highest bar
_STATES = {
    Health.FAILING: ("✗", msg("failing")),
    Health.ATTENTION: ("!", msg("with problems")),
    Health.UNKNOWN: ("?", msg("unknown")),
    Health.RUNNING: ("▸", msg("running")),
    Health.OK: ("✓", msg("ok")),
    Health.PAUSED: ("–", msg("paused")),
}
_LABELS = {
    "attention": msg("Needs attention"),
    "all_well": msg("Nothing needs attention."),
    "jobs": msg("Jobs"),
    "failures": msg("Failures"),
    "no_failures": msg("No run failed in this time."),
    "upcoming": msg("Next runs"),
    "no_upcoming": msg("No run is scheduled."),
    "when": msg("When"),
    "job": msg("Job"),
    "outcome": msg("Outcome"),
    "node": msg("Node"),
    "reason": msg("Reason"),
    "run": msg("Run"),
    "success_rate": msg("Success rate"),
    "runs": msg("Runs"),
    "tokens": msg("Tokens"),
    "tokens_per_day": msg("Tokens per day"),
    "runs_per_day": msg("Runs per day"),
    "usual_time": msg("Usual duration"),
    "last_run": msg("Last run"),
    "next_run": msg("Next run"),
    "open_in_dify": msg("Open the log in Dify"),
    "none": msg("none"),
    "skip_to_jobs": msg("Skip to the jobs"),
    "legend": msg(
        "Each cell is one run, with the newest on the right. The bar above a cell "
        "shows how long the run took."
    ),
    "succeeded": msg("succeeded"),
    "failed": msg("failed"),
    "unknown": msg("unknown"),
    "skipped": msg("skipped"),
}


class Bar(NamedTuple):
    """One bar or cell of a chart; lengths in units of its view box."""

    x: float
    y: float
    height: float
    kind: str
    text: str


_Dated = Sequence[tuple[date, RunRecord]]  # runs with their local days


def render_page(
    status: HostStatus, *, host: str, days: int = 30, config_options: tuple[str, ...] = ()
) -> str:
    """Make the overview page.

    Args:
        status: All jobs with their histories.
        host: The name of the machine.
        days: The period of rates, tokens and failures.
        config_options: Arguments that name the configuration, for the commands of the page.

    Returns:
        The HTML document in the reader's language. Text of servers and files is escaped.
    """
    reader = Reader(lacks_root=True, config_options=config_options)  # any user may read the page
    rows = {status.name_of(row): row for row in status.jobs}
    past = {name: _dated(row, status.at - timedelta(days=days)) for name, row in rows.items()}
    every = [one for dated in past.values() for one in dated]
    calendar = _Calendar(status.at, days, every)
    most = _CELLS if len(rows) <= _MAX_JOBS_WITH_LONG_STRIP else _CELLS_OF_MANY
    failures = [(run, name) for name, dated in past.items() for _, run in dated if not run.succeeded]
    failures.sort(key=lambda one: one[0].began or status.at, reverse=True)
    hidden = _hidden_text(status, reader)
    healths = Counter(row.health for row in status.jobs)
    upcoming = sorted((at, name) for name, row in rows.items() for at in row.next_runs)
    period = translate(msg("the last {days} days", days=days))
    figures = {
        "runs": len(every),
        "failed": len(failures),
        "tokens": sum(run.tokens or 0 for _, run in every),
    }
    return render_html(
        "report/page.html.j2",
        {
            "language": "zh-CN" if is_chinese() else "en",
            "label": {name: translate(text) for name, text in _LABELS.items()},
            "title": translate(msg("Dify jobs on {host}", host=host)),
            "at": local_time_text(status.at),
            "at_iso": status.at.astimezone().isoformat(timespec="seconds"),
            "period": period,
            "rate_label": translate(msg("Success rate, {period}", period=period)),
            "counts": [
                (sign, translate(text), health.value, healths[health])
                for health, (sign, text) in _STATES.items()
                if healths[health]
            ],
            "errors": [list(map(translate, texts)) for texts in config_errors(status, reader)],
            "hidden": hidden,
            "jobs": [
                _job_view(row, name, past[name], status.at, calendar, most, reader)
                for name, row in rows.items()
            ],
            "rate": _rate(every),
            **{name: f"{number:,}" if every or not hidden else "–" for name, number in figures.items()},
            "day_chart": calendar.runs_chart(every),
            "token_chart": calendar.tokens_chart(every),
            "chart_width": calendar.width,
            "first_day": calendar.first,
            "last_day": calendar.last,
            "failures": [
                _failure_view(run, name, _console(rows[name])) for run, name in failures[:_FAILURES]
            ],
            "more_failures": translate(msg("and {number} more", number=len(failures) - _FAILURES))
            if len(failures) > _FAILURES
            else "",
            "upcoming": [
                (time_text(at), at.isoformat(timespec="seconds"), name) for at, name in upcoming[:_UPCOMING]
            ],
            "strip_width": most * _STEP,
            "cell": _CELL,
        },
    )


def _dated(row: JobStatus, begin: datetime) -> _Dated:
    """Return the runs of a job since a time, with their local days."""
    runs = row.history.runs if row.history is not None else ()
    return [
        (began.astimezone().date(), run)
        for run in runs
        if (began := run.began) is not None and began >= begin and not run.skipped
    ]


class _Calendar:
    """The days of the page in local time: from the first run to today, at least a week, at most `days`."""

    def __init__(self, at: datetime, days: int, dated: _Dated) -> None:
        today = at.astimezone().date()
        first = min((day for day, _ in dated), default=today)
        ago = min(max((today - first).days, _MIN_DAYS - 1), days)
        self._days = [today - timedelta(days=number) for number in range(ago, -1, -1)]
        self.width = len(self._days) * _STEP
        self.first, self.last = str(self._days[0]), str(today)

    def tokens_chart(self, dated: _Dated) -> list[Bar]:
        """Bars of tokens per day; days without tokens have no bar."""
        tokens = Counter[date]()
        for day, run in dated:
            tokens[day] += run.tokens or 0
        most = max(tokens.values(), default=0)
        return [
            _bar(
                place,
                0,
                tokens[day] / most,
                "tokens",
                msg("{day}: {number:,} tokens", day=day, number=tokens[day]),
            )
            for place, day in enumerate(self._days)
            if tokens[day]
        ]

    def runs_chart(self, dated: _Dated) -> list[Bar]:
        """Bars of runs per day, with failed runs on top."""
        every = Counter(day for day, _ in dated)
        good = Counter(day for day, run in dated if run.succeeded)
        most = max(every.values(), default=1)
        bars = []
        for place, day in enumerate(self._days):
            done, failed = good[day], every[day] - good[day]
            text = msg("{day}: {done} succeeded, {failed} failed", day=day, done=done, failed=failed)
            bars += [_bar(place, 0, done / most, "ok", text)] if done else []
            bars += [_bar(place, done / most, failed / most, "failed", text)] if failed else []
        return bars


def _bar(place: int, below: float, share: float, kind: str, text: str) -> Bar:
    """Return a bar with a share of the height, stacked on another share."""
    height = max(share * _BARS, 1.0)
    top = max(round(_BARS * (1 - below) - height, 1), 0.0)
    return Bar(place * _STEP, top, round(height, 1), kind, translate(text))


def _rate(dated: _Dated) -> str:
    """Return the success rate, such as `98 %`; 100 % only without failures, empty without runs."""
    good = sum(run.succeeded for _, run in dated)
    if not dated or good == len(dated):
        return "100 %" if dated else ""
    return f"{min(good / len(dated) * 100, 99.9):.3g} %"


def _hidden_text(status: HostStatus, reader: Reader) -> str:
    """Return what is missing on the page, and the command that shows it; empty if nothing is missing."""
    hidden = [row.job for row in status.jobs if row.hidden]
    if not hidden:
        return ""
    again = command("dify-job", "report", "--output", "report.html", needs_root=True)
    return translate(
        msg(
            "you have no permission to read the runs of {number} of {total} jobs; to "
            "read them, run: {command}",
            number=len(hidden),
            total=len(status.jobs),
            command=for_reader(again, reader),
        )
    )


def _job_view(
    row: JobStatus, name: str, dated: _Dated, now: datetime, calendar: _Calendar, most: int, reader: Reader
) -> dict[str, Any]:
    """Return the template values of a job."""
    cells = distinct(row.history.runs[-2 * most :] if row.history is not None else ())[-most:]
    tokens = calendar.tokens_chart(dated)
    spans = [run.duration for _, run in dated if run.succeeded and run.duration is not None]
    number = sum(run.tokens or 0 for _, run in dated)
    sign, state = _STATES[row.health]
    return {
        "name": name,
        "health": row.health.value,
        "description": row.description,
        "state": translate(state),
        "sign": sign,
        "schedule": translate(row.schedule or ""),
        "last": _outcome(row.last) if row.last is not None else "",
        "last_failed": row.last_failed,
        "last_at": local_time_text(row.last.began) if row.last is not None else "",
        "next_run": next_run_text(row, Terminal()) or "–",
        "rate": _rate(dated),
        "usual": duration_text(median(spans)) if spans else "",
        "tokens": translate(msg("Tokens: {number:,}", number=number)) if number else "",
        "cells": [_cell(run, place) for place, run in enumerate(cells)],
        "strip_width": max(len(cells), _MIN_CELLS) * _STEP,
        "span": _span(row, cells),
        "durations": _durations(cells),
        "cells_text": _cells_text(cells),
        "tokens_per_day": tokens if len(tokens) >= _MIN_BARS else [],
        "tokens_text": translate(msg("tokens per day of {job}", job=row.job)),
        "progress": translate(progress_text(row, now)) if row.running else "",
        "reasons": [translate(for_reader(text, reader)) for text in reasons_of(row, now)],
        "commands": [for_reader(each, reader) for each in commands_of(row)],
        "console": _console(row),
    }


def _outcome(run: RunRecord) -> str:
    return translate(outcome_text(run))


def _span(row: JobStatus, runs: Sequence[RunRecord]) -> str:
    """Return the caption of a strip: the number of runs and the time of the first, or why it is empty."""
    if row.hidden:
        return translate(msg("permission denied"))
    if not runs:
        return translate(msg("no runs yet"))
    number, at = len(runs), local_time_text(runs[0].began)
    return translate(
        msg("{number} runs since {at}", number=number, at=at)
        if number > 1
        else msg("1 run since {at}", at=at)
    )


def _cell(run: RunRecord, place: int) -> Bar:
    parts = [local_time_text(run.began), _outcome(run)]
    if run.duration is not None and not run.skipped:
        parts.append(duration_text(run.duration))
    if has_failed(run):
        parts.append(translate(failure_text(run.message_text, run.failed_node)))
    kind = run_kind(run)
    height = {RunKind.OK: 8, RunKind.SKIPPED: 3}.get(kind, 14)
    text = one_line(" · ".join(filter(None, parts)), _MAX_TITLE + 40)
    return Bar(place * _STEP, _BARS + 18 - height, height, kind.value, text)


def _durations(runs: Sequence[RunRecord]) -> str:
    """Return the durations of a strip as one SVG path of bars."""
    spans = [run.duration for run in runs if run.duration and not run.skipped]
    if not spans:
        return ""
    longest = min(max(spans), _OUTLIER * median(spans))
    path = []
    for place, run in enumerate(runs):
        if run.duration and not run.skipped:
            height = max(round(min(run.duration / longest, 1.0) * _BARS, 1), 0.5)
            path.append(f"M{place * _STEP} {_BARS}v-{height:g}h{_CELL}v{height:g}z")
    return "".join(path)


def _cells_text(runs: Sequence[RunRecord]) -> str:
    """Return the text of a strip for screen readers."""
    real = [run for run in runs if not run.skipped]
    failed = sum(has_failed(run) for run in real)
    if not real:  # only skipped starts
        return translate(msg("no runs yet"))
    return translate(
        msg(
            "the last {number} runs: {failed} failed; the latest run: {newest}",
            number=len(real),
            failed=failed,
            newest=_outcome(real[-1]),
        )
    )


def _failure_view(run: RunRecord, job: str, console: str | None) -> dict[str, Any]:
    """Return one row of the table of failures."""
    node = run.failed_node or {}
    title, kind = node.get("title") or "", node.get("type") or ""
    return {
        "job": job,
        "at": local_time_text(run.began),
        "iso": run.call_time,
        "outcome": _outcome(run),
        "node": one_line(f"{title} ({kind})" if title and kind else title),
        "reason": one_line(translate(run.message_text), _MAX_REASON),
        "run_id": one_line(run.run_id or ""),
        "console": console,
    }


def _console(row: JobStatus) -> str | None:
    """Return the address of the app's log in Dify; only http and https addresses become links."""
    url = row.history.console_url if row.history is not None else None
    if not url:
        return None
    try:
        return url if urlsplit(url).scheme in ("http", "https") else None
    except ValueError:
        return None
