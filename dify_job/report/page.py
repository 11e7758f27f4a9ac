"""The overview page: one HTML file about all jobs, without scripts and network. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from statistics import median
from urllib.parse import urlsplit

from ..messages.i18n import is_chinese, translate
from ..messages.message import msg
from ..messages.problem import Reader, command, for_reader
from ..messages.sanitize import one_line
from ..state.history import RunRecord
from ..system.templates import render_html
from .job_status import Health, JobStatus
from .past_runs import JobRun, distinct, has_failed
from .status import HostStatus
from .status_text import commands_of, config_errors, failure_text, outcome_text, progress_text, reasons_of
from .text import age_text, duration_text, local_time_text, time_text

_FEW_JOBS = 30
_CELLS, _CELLS_OF_MANY = 60, 40  # runs of a job's strip
_FAILURES = 100  # rows of the table
_UPCOMING = 20  # runs
_LONGEST_REASON = 500  # characters
_LONGEST_TITLE = 90  # of what a cell shows on hover
_STEP, _CELL = 8, 6  # units of the strip: from run to run, and the width of one
_OUTLIER = 4  # times the median; a longer run has a bar of this height
_BARS = 26  # units of the highest bar
_UNKNOWN = frozenset({"unknown", "killed", "crashed"})
_STATES = {
    Health.FAILING: ("✗", msg("failing")),
    Health.ATTENTION: ("!", msg("needs attention")),
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
    "usual_time": msg("Usual time"),
    "last_run": msg("Last run"),
    "next_run": msg("Next run"),
    "open_in_dify": msg("Open the log in Dify"),
    "none": msg("none"),
    "skip_to_jobs": msg("Skip to the jobs"),
    "legend": msg("Each cell is a run, the newest at the right; the bar above it is how long it took."),
    "succeeded": msg("succeeded"),
    "failed": msg("failed"),
    "unknown": msg("unknown"),
    "skipped": msg("skipped"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar or cell of a chart; lengths in units of its view box."""

    x: float
    y: float
    height: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _JobView:
    """What the page shows of one job."""

    status: JobStatus
    name: str
    state: str
    sign: str
    schedule: str
    last: str
    age: str
    next_run: str
    rate: str
    usual: str
    tokens: str
    cells: Sequence[Bar]
    durations: str
    cells_text: str
    tokens_per_day: Sequence[Bar]
    tokens_text: str
    progress: str
    reasons: Sequence[str]
    commands: Sequence[str]
    console: str | None


@dataclass(frozen=True, slots=True)
class _FailureView:
    """One row of the table of failures."""

    job: str
    at: str
    iso: str
    outcome: str
    node: str
    reason: str
    run_id: str
    console: str | None


def render_page(
    status: HostStatus, *, host: str, days: int = 30, config_options: tuple[str, ...] = ()
) -> str:
    """Make the overview page.

    Args:
        status: All jobs with their histories.
        host: The name of the machine.
        days: How far back rates, tokens and failures go.
        config_options: Arguments that name the configuration, for the commands of the page.

    Returns:
        A whole HTML document in the reader's language. All text of servers and files is escaped.
    """
    number = _CELLS if len(status.jobs) <= _FEW_JOBS else _CELLS_OF_MANY
    calendar = _Calendar(status.at, days)
    reader = Reader(lacks_root=True, config_options=config_options)  # the page is for anybody's shell
    names = [status.name_of(job) for job in status.jobs]
    periods = [_Period.of(job, name, calendar) for job, name in zip(status.jobs, names, strict=True)]
    whole = _Period.sum(periods)
    views = [
        _job_view(job, name, period, status.at, calendar, number, reader)
        for job, name, period in zip(status.jobs, names, periods, strict=True)
    ]
    failures = sorted(whole.failures, key=lambda one: one.run.began or status.at, reverse=True)
    hidden = _hidden_text(status, reader)
    consoles = {name: _console(job) for job, name in zip(status.jobs, names, strict=True)}
    healths = {health: sum(job.health is health for job in status.jobs) for health in Health}
    counts = [(*_STATES[health], health.value, count) for health, count in healths.items() if count]
    upcoming = sorted(
        (at, name) for job, name in zip(status.jobs, names, strict=True) for at in job.next_runs
    )
    return render_html(
        "report/page.html.j2",
        {
            "language": "zh-CN" if is_chinese() else "en",
            "label": {name: translate(text) for name, text in _LABELS.items()},
            "title": translate(msg("Dify jobs on {host}", host=host)),
            "at": local_time_text(status.at),
            "at_iso": status.at.astimezone().isoformat(timespec="seconds"),
            "period": (period := translate(msg("the last {days} days", days=days))),
            "rate_label": translate(msg("Success rate, {period}", period=period)),
            "counts": [(sign, translate(text), kind, count) for sign, text, kind, count in counts],
            "errors": list(config_errors(status, reader)),
            "hidden": hidden,
            "jobs": views,
            "rate": whole.rate,
            "runs": f"{whole.number:,}" if whole.number or not hidden else "–",
            "failed": f"{len(failures):,}" if whole.number or not hidden else "–",
            "tokens": f"{whole.tokens.total():,}" if whole.number or not hidden else "–",
            "day_chart": calendar.runs_chart(whole),
            "token_chart": calendar.tokens_chart(whole),
            "chart_width": calendar.width,
            "first_day": calendar.first,
            "last_day": calendar.last,
            "failures": [_failure_view(one, consoles) for one in failures[:_FAILURES]],
            "more_failures": translate(msg("and {number} more", number=len(failures) - _FAILURES))
            if len(failures) > _FAILURES
            else "",
            "upcoming": [
                (time_text(at), at.isoformat(timespec="seconds"), job) for at, job in upcoming[:_UPCOMING]
            ],
            "strip_width": number * _STEP,
            "cell": _CELL,
        },
    )


class _Calendar:
    """The days of the page, in local time, the last one being today."""

    def __init__(self, at: datetime, days: int) -> None:
        self.begin = at - timedelta(days=days)
        today = at.astimezone().date()
        self._days = [today - timedelta(days=ago) for ago in range(days, -1, -1)]
        self._number = {day: number for number, day in enumerate(self._days)}
        self.width = len(self._days) * _STEP
        self.first, self.last = str(self._days[0]), str(self._days[-1])

    def tokens_chart(self, period: "_Period") -> list[Bar]:
        """Tokens per day as bars; days without any have none."""
        days = [day for day in self._days if period.tokens[day]]
        most = max((period.tokens[day] for day in days), default=0)
        return [
            self._bar(
                day, 0, period.tokens[day] / most * _BARS, "tokens", _tokens_text(day, period.tokens[day])
            )
            for day in days
        ]

    def runs_chart(self, period: "_Period") -> list[Bar]:
        """Runs per day as bars, those that failed on top."""
        most = max((period.good[day] + period.bad[day] for day in self._days), default=0) or 1
        bars = []
        for day in self._days:
            done, failed = period.good[day], period.bad[day]
            text = msg("{day}: {done} succeeded, {failed} failed", day=day, done=done, failed=failed)
            if done:
                bars.append(self._bar(day, 0, done / most * _BARS, "ok", text))
            if failed:
                bars.append(self._bar(day, done / most * _BARS, failed / most * _BARS, "failed", text))
        return bars

    def _bar(self, day: date, below: float, height: float, kind: str, text: str) -> Bar:
        height = max(height, 1.0)
        top = max(round(_BARS - below - height, 1), 0.0)
        return Bar(self._number[day] * _STEP, top, round(height, 1), kind, translate(text))


def _tokens_text(day: date, number: int) -> str:
    return msg("{day}: {number:,} tokens", day=day, number=number)


@dataclass(slots=True)
class _Period:
    """The runs of one job, or of all, in the days of the page."""

    good: Counter[date] = field(default_factory=Counter)
    bad: Counter[date] = field(default_factory=Counter)
    tokens: Counter[date] = field(default_factory=Counter)
    spans: list[float] = field(default_factory=list)
    failures: list[JobRun] = field(default_factory=list)

    @classmethod
    def of(cls, job: JobStatus, name: str, calendar: _Calendar) -> "_Period":
        """Add up the runs of a job."""
        found = cls()
        for run in job.history.runs if job.history is not None else ():
            began = run.began
            if began is None or began < calendar.begin or run.skipped:
                continue
            day = began.astimezone().date()
            found.tokens[day] += run.tokens or 0
            if not run.succeeded:
                found.bad[day] += 1
                found.failures.append(JobRun(name, run))
                continue
            found.good[day] += 1
            if run.duration is not None:
                found.spans.append(run.duration)
        return found

    @classmethod
    def sum(cls, periods: Sequence["_Period"]) -> "_Period":
        """Add up the runs of all jobs."""
        found = cls()
        for period in periods:
            found.good.update(period.good)
            found.bad.update(period.bad)
            found.tokens.update(period.tokens)
            found.failures += period.failures
        return found

    @property
    def number(self) -> int:
        """How many runs."""
        return self.good.total() + self.bad.total()

    @property
    def rate(self) -> str:
        """`98 %`; 100 % only where none failed, and nothing where there was none."""
        if not self.number:
            return ""
        if not self.bad:
            return "100 %"
        return f"{min(self.good.total() / self.number * 100, 99.9):.3g} %"


def _hidden_text(status: HostStatus, reader: Reader) -> str:
    """What the page lacks, and the command that makes it whole; empty where it lacks nothing."""
    hidden = [job.job for job in status.jobs if job.hidden]
    if not hidden:
        return ""
    again = command("dify-job", "report", "--output", "report.html", needs_root=True)
    return translate(
        msg(
            "you have no permission to read the runs of {number} of {total} jobs: {command}",
            number=len(hidden),
            total=len(status.jobs),
            command=for_reader(again, reader),
        )
    )


def _job_view(
    job: JobStatus,
    name: str,
    period: _Period,
    now: datetime,
    calendar: _Calendar,
    number: int,
    reader: Reader,
) -> _JobView:
    runs = job.history.runs if job.history is not None else ()
    sign, state = _STATES[job.health]
    cells = distinct(runs[-2 * number :])[-number:]
    began = job.last.began if job.last is not None else None
    return _JobView(
        status=job,
        name=name,
        state=translate(state),
        sign=sign,
        schedule=translate(job.schedule or ""),
        last=one_line(outcome_text(job.last.outcome, job.last.exit_code)) if job.last is not None else "",
        age=translate(msg("{age} ago", age=age_text((now - began).total_seconds())))
        if began is not None
        else "",
        next_run=time_text(job.next_runs[0]) if job.next_runs else "",
        rate=period.rate,
        usual=duration_text(median(period.spans)) if period.spans else "",
        tokens=f"{period.tokens.total():,}",
        cells=[_cell(run, place, number - len(cells)) for place, run in enumerate(cells)],
        durations=_durations(cells, number - len(cells)),
        cells_text=translate(msg("permission denied")) if job.hidden else _cells_text(cells),
        tokens_per_day=calendar.tokens_chart(period),
        tokens_text=translate(msg("tokens per day of {job}", job=job.job)),
        progress=translate(progress_text(job, now)) if job.running else "",
        reasons=[translate(for_reader(text, reader)) for text in reasons_of(job, now)],
        commands=[for_reader(each, reader) for each in commands_of(job)],
        console=_console(job),
    )


def _cell(run: RunRecord, place: int, empty: int) -> Bar:
    began = run.began
    parts = [local_time_text(began) if began is not None else "", outcome_text(run.outcome, run.exit_code)]
    if run.duration is not None and not run.skipped:
        parts.append(duration_text(run.duration))
    if has_failed(run):
        parts.append(translate(failure_text(run.message_text, run.failed_node)))
    kind = _kind(run)
    height = {"ok": 8, "skipped": 3}.get(kind, 14)
    text = one_line(" · ".join(filter(None, parts)), _LONGEST_TITLE + 40)
    return Bar((empty + place) * _STEP, _BARS + 18 - height, height, kind, text)


def _kind(run: RunRecord) -> str:
    if run.succeeded:
        return "ok"
    if run.skipped:
        return "skipped"
    return "unknown" if run.outcome in _UNKNOWN else "failed"


def _durations(runs: Sequence[RunRecord], empty: int) -> str:
    """The durations of a strip as one path of bars."""
    spans = [run.duration for run in runs if run.duration and not run.skipped]
    if not spans:
        return ""
    longest = min(max(spans), _OUTLIER * median(spans))
    path = []
    for place, run in enumerate(runs):
        if run.duration and not run.skipped:
            height = max(round(min(run.duration / longest, 1.0) * _BARS, 1), 0.5)
            path.append(f"M{(empty + place) * _STEP} {_BARS}v-{height:g}h{_CELL}v{height:g}z")
    return "".join(path)


def _cells_text(runs: Sequence[RunRecord]) -> str:
    """What a screen reader says of a strip as a whole."""
    real = [run for run in runs if not run.skipped]
    failed = sum(has_failed(run) for run in real)
    if not real:
        return translate(msg("no runs yet"))
    newest = outcome_text(real[-1].outcome, real[-1].exit_code)
    return translate(
        msg(
            "the last {number} runs: {failed} failed; the newest: {newest}",
            number=len(real),
            failed=failed,
            newest=newest,
        )
    )


def _failure_view(one: JobRun, consoles: Mapping[str, str | None]) -> _FailureView:
    run = one.run
    began = run.began
    node = run.failed_node or {}
    title, kind = node.get("title") or "", node.get("type") or ""
    return _FailureView(
        job=one.job,
        at=local_time_text(began) if began is not None else "",
        iso=run.call_time,
        outcome=one_line(outcome_text(run.outcome, run.exit_code)),
        node=one_line(f"{title} ({kind})" if title and kind else title),
        reason=one_line(translate(run.message_text), _LONGEST_REASON),
        run_id=one_line(run.run_id or ""),
        console=consoles.get(one.job),
    )


def _console(job: JobStatus) -> str | None:
    """The address of the app's log in Dify; nothing but http and https becomes a link."""
    url = job.history.console_url if job.history is not None else None
    if not url:
        return None
    try:
        return url if urlsplit(url).scheme in ("http", "https") else None
    except ValueError:
        return None
