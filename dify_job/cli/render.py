"""`dify-job render`: the files of jobs for another host or a package; nothing else is touched."""

import os
from dataclasses import replace
from pathlib import Path

import click

from ..config import own
from ..config.model import KeySource
from ..config.read import load_config
from ..errors import JobError
from ..exits import Outcome
from ..files import Writer
from ..scheduling.base import Scope, plan_of
from ..scheduling.cron import Cron
from ..scheduling.host import config_place
from ..scheduling.systemd import Systemd
from .options import Globals
from .output import put
from .scopes import jobs_named


@click.command()
@click.argument("jobs", nargs=-1)
@click.option("--target", type=click.Choice(["systemd", "cron"]), required=True, help="For which scheduler.")
@click.option("--output-dir", type=click.Path(path_type=Path), metavar="DIR", help="Write the files there.")
@click.option("--systemd-version", type=int, metavar="N", help="Of the host that they are for.")
@click.option("--user", "user", is_flag=True, help="User units, or a block for a user's crontab.")
@click.pass_context
def render(
    ctx: click.Context,
    /,
    *,
    jobs: tuple[str, ...],
    target: str,
    output_dir: Path | None,
    systemd_version: int | None,
    user: bool,
) -> None:
    """Print the units or crontab entries of jobs, or write them to a directory."""
    options = ctx.ensure_object(Globals)
    config = load_config(options.config_path, options.env_file)
    scope = Scope.USER if user else Scope.SYSTEM
    place = config_place(config, scope)
    wing = Systemd(scope, systemd_version) if target == "systemd" else Cron(scope, Path("/etc"))
    for job in jobs_named(config, jobs):
        file = job.key.file.absolute() if job.key.file else own.key_path(place, job.name)
        key = job.key if job.key.encrypted else KeySource(file=file)
        for artifact in wing.render(plan_of(replace(job, key=key), place)):
            if output_dir is None:
                put(f"# {artifact.path}\n{artifact.text}")
                continue
            target_path = output_dir / artifact.path.name
            try:
                Writer().put(target_path, artifact.text.encode())
            except OSError as error:
                raise JobError(
                    Outcome.CANNOT_WRITE,
                    f"{target_path} could not be written: {os.strerror(error.errno or 0)}",
                    "name a directory of yours in --output-dir",
                ) from None
            put(str(target_path))
