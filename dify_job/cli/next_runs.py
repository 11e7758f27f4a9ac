"""`dify-job next`: the coming runs, with zone, and what clock changes do to them."""

from datetime import UTC, datetime
from itertools import islice

import click

from ..config.read import load_config
from ..scheduling import schedule, systemctl
from ..scheduling.host import installed_jobs, visible
from .options import Globals
from .output import put, put_json
from .scopes import jobs_named


@click.command(name="next")
@click.argument("jobs", nargs=-1)
@click.option("-n", "count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def next_runs(ctx: click.Context, /, *, jobs: tuple[str, ...], count: int, as_json: bool) -> None:
    """Print the coming runs of jobs, and warn where a clock change skips one."""
    options = ctx.ensure_object(Globals)
    config = load_config(options.config_path, options.env_file)
    chosen = jobs_named(config, jobs)
    with_cron = {one.job for wing, one in installed_jobs(visible("cron", None)) if wing.name == "cron"}
    now = datetime.now(UTC)
    told = []
    for job in chosen:
        times = schedule.or_default(job.schedule)
        schedule.check(times, now)
        by_cron = job.name in with_cron or not systemctl.is_booted()
        runs = list(islice(schedule.coming(times, now, by_cron=by_cron), count))
        warnings = schedule.clock_warnings(times, now, by_cron=by_cron)
        told.append({"job": job.name, "runs": [at.isoformat() for at in runs], "warnings": list(warnings)})
        if as_json:
            continue
        jitter = f", up to {times.jitter:.0f} s later" if times.jitter else ""
        put(f"{job.name}: {schedule.in_words(times)}{jitter}")
        for at in runs:
            put(f"  {at:%a %Y-%m-%d %H:%M:%S %Z}")
        for warning in warnings:
            put(f"  warning: {warning}")
    if as_json:
        put_json({"schema": 1, "jobs": told})
