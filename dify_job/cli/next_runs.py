"""`dify-job next`: the coming runs, with zone, and what clock changes do to them."""

from datetime import UTC, datetime
from itertools import islice

import click

from ..config.loader import load_config, pick_usable
from ..config.model import ScheduleConfig
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedule import schedule_lines, upcoming
from ..schedulers import systemctl
from ..schedulers.backend import InstalledJob
from ..schedulers.detect import installed_jobs, visible
from ..system.timespan import timespan_text
from .common_options import tick_of
from .options import Globals
from .output import echo, echo_json


@click.command(name="next")
@click.argument("jobs", nargs=-1)
@click.option(
    "-n", "count", type=click.IntRange(1, 1000), default=5, show_default=True, help=msg("How many.")
)
@click.option("--json", "as_json", is_flag=True, help=msg("As JSON."))
@click.pass_context
def next_runs(ctx: click.Context, /, *, jobs: tuple[str, ...], count: int, as_json: bool) -> None:
    """Print the coming runs of jobs, and warn where a clock change skips one."""
    options = ctx.ensure_object(Globals)
    config = load_config(options.config_path, options.env_file)
    chosen = pick_usable(config, jobs)
    there = {one.job: one for _, one in installed_jobs(visible("auto", None))}
    now = datetime.now(UTC)
    told = []
    for job in chosen:
        times = job.times
        upcoming.check(times, now)
        one = there.get(job.name)
        by_cron = _by_cron(one, times)
        last = None if one is None else tick_of(one.state)
        runs = list(islice(upcoming.coming(times, now, by_cron=by_cron, last=last), count))
        warnings = upcoming.clock_warnings(times, now, by_cron=by_cron)
        told.append({"job": job.name, "runs": [at.isoformat() for at in runs], "warnings": list(warnings)})
        if as_json:
            continue
        jitter = (
            msg(", up to {timespan_text} later", timespan_text=timespan_text(times.jitter))
            if times.jitter
            else ""
        )
        echo(
            msg(
                "{name}: {in_words}{jitter}",
                name=job.name,
                in_words=schedule_lines.in_words(times),
                jitter=jitter,
            )
        )
        for at in runs:
            echo(msg("  {at:%a %Y-%m-%d %H:%M:%S %Z}", at=at))
        for warning in warnings:
            echo(msg("  warning: {warning}", warning=warning))
    if as_json:
        echo_json({"schema": 1, "jobs": told})


def _by_cron(one: InstalledJob | None, times: ScheduleConfig) -> bool:
    if one is not None or systemctl.is_booted():
        return one is not None and one.by_cron
    try:
        schedule_lines.cron_ticks(times)
    except JobError:  # this host has neither systemd nor a cron that can keep it; another may
        return False
    return True
