"""`dify-job render`: the files of jobs for another host, a cluster or a package; nothing else is touched."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from ..config import managed
from ..config.loader import load_config, pick_all
from ..config.model import Job, KeySource
from ..config.schema import is_this_machine
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..run.inputs import secrets_in
from ..schedulers.backend import RenderedFile, Scope
from ..schedulers.cron_files import CronFiles
from ..schedulers.detect import config_place
from ..schedulers.job_spec import job_spec
from ..schedulers.kubernetes import Cluster, object_name, render_manifests
from ..schedulers.systemd import Systemd
from ..schedulers.user_crontab import UserCrontab
from ..system.transaction import transaction
from .options import Globals
from .output import echo, echo_data, echo_err


@click.command()
@click.argument("jobs", nargs=-1)
@click.option(
    "--target",
    type=click.Choice(["systemd", "cron", "kubernetes"]),
    required=True,
    help=msg("For which scheduler."),
)
@click.option(
    "--output-dir", type=click.Path(path_type=Path), metavar="DIR", help=msg("Write the files there.")
)
@click.option("--systemd-version", type=int, metavar="N", help=msg("Of the host that they are for."))
@click.option("--user", "user", is_flag=True, help=msg("User units, or a block for a user's crontab."))
@click.option("--image", metavar="REF", help=msg("Of a container with dify-job, for kubernetes."))
@click.option("--namespace", metavar="NAME", help=msg("For kubernetes; kubectl's own where none is given."))
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
    image: str | None,
    namespace: str | None,
) -> None:
    """Print the units, crontab entries or manifests of jobs, or write them to a directory."""
    options = ctx.ensure_object(Globals)
    config = load_config(options.config_path, options.env_file)
    chosen = pick_all(config, jobs)
    scope = Scope.USER if user else Scope.SYSTEM
    place = config_place(config, scope)
    _check_options(target, image, namespace, systemd_version, user=user)
    if image is not None:
        artifacts = _manifests(chosen, Cluster(image=image, namespace=namespace), place)
    else:
        cron = UserCrontab(scope) if user else CronFiles()
        scheduler = Systemd(scope, systemd_version) if target == "systemd" else cron
        artifacts = [
            one for job in chosen for one in scheduler.render(job_spec(_with_key_file(job, place), place))
        ]
    _give(artifacts, output_dir, target)


def _check_options(
    target: str, image: str | None, namespace: str | None, version: int | None, *, user: bool
) -> None:
    if target == "kubernetes" and image is None:
        raise JobError(
            Outcome.USAGE,
            msg("--target kubernetes needs --image, a container with dify-job"),
            msg("build one from deploy/container/Containerfile: docs/kubernetes.md"),
        )
    if target != "kubernetes" and (image or namespace):
        raise JobError(
            Outcome.USAGE, msg("--image and --namespace are for --target kubernetes"), msg("leave them out")
        )
    if target == "kubernetes" and (user or version):
        raise JobError(
            Outcome.USAGE, msg("--user and --systemd-version are for a host"), msg("leave them out")
        )


def _manifests(jobs: Iterable[Job], cluster: Cluster, place: Path) -> list[RenderedFile]:
    artifacts: list[RenderedFile] = []
    for job in jobs:
        artifacts += render_manifests(job, cluster, place, datetime.now(UTC))
        file = job.key.file or "KEYFILE"
        where = msg(" --namespace {namespace}", namespace=cluster.namespace) if cluster.namespace else ""
        echo_err(
            msg(
                "{name}: its key, once: kubectl create secret generic {object_name}{where} "
                "--from-file=api_key={file}",
                name=job.name,
                object_name=object_name(job.name),
                where=where,
                file=file,
            )
        )
        if is_this_machine(job.base_url):
            echo_err(
                msg(
                    "{name}: base_url is {base_url}, and in a pod that is the pod itself: set it to an "
                    "address of Dify that the cluster reaches",
                    name=job.name,
                    base_url=job.base_url,
                )
            )
        if any(secret and "{{" not in secret for secret in secrets_in(job.inputs)):
            echo_err(
                msg(
                    "{name}: inputs hold what is named as a secret, and who reads the ConfigMap reads it; "
                    "give the pod a variable, and name it in env: man dify-job.toml",
                    name=job.name,
                )
            )
    return artifacts


def _with_key_file(job: Job, place: Path) -> Job:
    if job.key.encrypted:
        return job
    file = job.key.file.absolute() if job.key.file else managed.key_path(place, job.name)
    return replace(job, key=KeySource(file=file))


def _give(artifacts: Iterable[RenderedFile], output_dir: Path | None, target: str) -> None:
    if output_dir is None:
        separator = "---\n" if target == "kubernetes" else ""  # so that it can be piped to kubectl
        for artifact in artifacts:
            echo_data(f"{separator}# {artifact.path}\n{artifact.text}")
        return
    files = {output_dir / artifact.path.name: artifact.text.encode() for artifact in artifacts}
    with transaction(output_dir, msg("name a directory of yours in --output-dir")) as writer:
        writer.put_all(files)
    for path in files:
        echo(str(path))
