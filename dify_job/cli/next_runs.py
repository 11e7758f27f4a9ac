"""`dify-job next`: the upcoming runs of all jobs with their time zone, and the effects of clock changes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from ..config.loader import load_config, pick_usable
from ..config.model import Job
from ..messages.command import Command, command, for_reader
from ..messages.errors import JobError
from ..messages.i18n import translate
from ..messages.message import join, msg
from ..report.job_status import broken_job
from ..report.status import belongs_to
from ..report.text import Terminal, columns_of, indented, table
from ..report.upcoming_runs import UpcomingRuns, merge_runs, upcoming_runs
from ..schedulers.detect import find_jobs, visible
from ..schedulers.model import InstalledJob, Scope
from ..system.timespan import timespan_text
from .options import Globals, json_option, option, pass_globals, scope_options
from .output import echo_data, echo_json, reader, terminal_of_stdout


@click.command(name="next")
@click.argument("jobs", nargs=-1)
@option(
    "-n",
    "count",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    metavar="N",
    help=msg("Show N upcoming runs."),
)
@scope_options
@json_option
@pass_globals
def next_runs(
    options: Globals, /, *, jobs: tuple[str, ...], count: int, scope: str | None, backend: str, as_json: bool
) -> None:
    """Show the upcoming runs of all jobs or of some, the earliest first.

    A warning says which run a clock change skips or repeats.
    """
    config = load_config(options.config_path, options.env_file)
    found = [one for _, one in find_jobs(visible(backend, scope), jobs)[0]]
    there = {one.job: one for one in reversed(found) if belongs_to(one, config)}
    others = _of_other_configs(one for one in found if not belongs_to(one, config))
    own = [job for job in jobs if job in config.names or all(job != one.job for one in found)]
    chosen = [(job, there.get(job.name)) for job in pick_usable(config, own)] if own or not jobs else []
    now = datetime.now(UTC)
    each = _with_names([upcoming_runs(job, one, now, count) for job, one in (*chosen, *others)])
    if as_json:
        runs = [{"job": one.job.name, "at": at.isoformat()} for at, one in merge_runs(each, count)]
        echo_json({"schema": 1, "jobs": [one.as_json() for one in each], "runs": runs})
    else:
        broken = [] if jobs else [job for job in there if job not in config.jobs and broken_job(job, config)]
        echo_data("\n".join(_lines(each, count, broken, terminal_of_stdout())))


def _of_other_configs(found: Iterable[InstalledJob]) -> Iterator[tuple[Job, InstalledJob]]:
    """Yield the jobs that were installed from another configuration, if the caller can read it."""
    configs: dict[str, Mapping[str, Job]] = {}
    for one in found:
        if one.source not in configs:
            try:
                configs[one.source] = load_config(Path(one.source)).jobs
            except JobError:
                configs[one.source] = {}
        if (job := configs[one.source].get(one.job)) is not None:
            yield job, one


def _with_names(each: Sequence[UpcomingRuns]) -> list[UpcomingRuns]:
    """Return the jobs with names that differ."""
    count = Counter(one.name for one in each)
    return [
        replace(one, name=f"{one.name} ({one.installed.scope.value}, {one.installed.backend})")
        if count[one.name] > 1 and one.installed is not None
        else one
        for one in each
    ]


def _lines(
    each: Sequence[UpcomingRuns], count: int, broken: Sequence[str], terminal: Terminal
) -> Iterator[str]:
    rows = [[translate(head) for head in (msg("NEXT RUN"), msg("JOB"), msg("SCHEDULE"))]]
    rows += [
        [terminal.time_text(at), one.name, translate(_schedule(one))] for at, one in merge_runs(each, count)
    ]
    lines = table(rows)
    if max(map(columns_of, lines)) > terminal.columns:
        lines = table([row[:2] for row in rows])
    yield from lines
    for text, fix in _not_run(each, broken):
        yield from indented(translate(text), terminal.columns, 0)
        yield f"    {for_reader(fix, reader())}"
    for one in each:
        for warning in one.warnings:
            text = msg("{job}: {warning}", job=one.name, warning=warning)
            yield from indented(translate(text), terminal.columns, 0)


def _schedule(one: UpcomingRuns) -> str:
    jitter = one.job.times.jitter
    if not jitter:
        return one.schedule
    return msg("{schedule}, random delay up to {jitter}", schedule=one.schedule, jitter=timespan_text(jitter))


def _not_run(each: Sequence[UpcomingRuns], broken: Sequence[str]) -> Iterator[tuple[str, Command]]:
    """Yield notes on runs that will not take place or are not shown, with the command that changes this."""
    absent = [one.job.name for one in each if one.installed is None]
    unknown = [one.job.name for one in each if one.enabled and not one.known]
    there = [(one.job.name, one.installed) for one in each if one.installed is not None]
    paused = [job for job, one in there if one.paused]
    others = [job for job, one in there if one.enabled is False and not one.paused]
    if absent:
        fix = command("dify-job", "install", *(absent if len(absent) < len(each) else ()))
        yield (
            msg("these jobs will not run, because they are not installed: {jobs}", jobs=join(", ", absent)),
            fix,
        )
    if paused:
        root = any(one.scope is Scope.SYSTEM for job, one in there if job in paused)
        fix = command("dify-job", "resume", *paused, needs_root=root)
        yield msg("these jobs will not run, because they are paused: {jobs}", jobs=join(", ", paused)), fix
    if others:
        yield (
            msg("these jobs will not run, because they are not enabled: {jobs}", jobs=join(", ", others)),
            command("dify-job", "status", *others),
        )
    if unknown:
        text = msg(
            "the next runs of these jobs are unknown, because you have no permission to read when they "
            "were last due: {jobs}",
            jobs=join(", ", unknown),
        )
        yield text, command("dify-job", "next", *unknown, needs_root=True)
    if broken:
        jobs = join(", ", broken)
        text = msg("these jobs are not shown, because their configuration has an error: {jobs}", jobs=jobs)
        yield text, command("dify-job", "config", "validate")
