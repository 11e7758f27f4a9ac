"""`dify-job render`: write the files of jobs for another host, a cluster or a package."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from ..config import managed
from ..config.loader import load_config, pick_all
from ..config.model import Config, Job, KeySource
from ..config.readers import is_loopback
from ..exit_codes import Outcome
from ..messages.command import Command
from ..messages.errors import JobError
from ..messages.message import msg
from ..run.inputs import secrets_in
from ..schedulers.backend import Backend
from ..schedulers.cron import CronFiles, UserCrontab
from ..schedulers.detect import unit_config_path
from ..schedulers.job_spec import job_spec
from ..schedulers.kubernetes import (
    KUSTOMIZATION_HEADER,
    Cluster,
    clock_warnings,
    kustomization,
    object_name,
    render_manifests,
)
from ..schedulers.model import RenderedFile, Scope
from ..schedulers.systemctl import SystemdPaths
from ..schedulers.systemd import Systemd
from ..system.managed_files import FileState, FileStatus, file_status
from ..system.opened_file import read_regular
from ..system.transaction import FileChange, FileTransaction, transaction
from .options import Globals, option, pass_globals
from .output import echo, echo_data, echo_err, echo_error


@click.command()
@click.argument("jobs", nargs=-1)
@option(
    "--target",
    type=click.Choice(["systemd", "cron", "kubernetes"]),
    required=True,
    help=msg("Choose the scheduler."),
)
@option(
    "--output-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=msg("Write the rendered files to this directory."),
)
@option("--systemd-version", type=int, metavar="N", help=msg("Set the systemd version of the target host."))
@option("--user", "user", is_flag=True, help=msg("Print user units, or a block for a user's crontab."))
@option("--image", metavar="REF", help=msg("Set the container image that has dify-job (Kubernetes)."))
@option(
    "--namespace", metavar="NAME", help=msg("Set the namespace (Kubernetes; default: kubectl's namespace).")
)
@pass_globals
def render(
    options: Globals,
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
    config = load_config(options.config_path, options.env_file)
    chosen = pick_all(config, jobs)
    scope = Scope.USER if user else Scope.SYSTEM
    place = unit_config_path(config, scope)
    _check_options(target, image, namespace, systemd_version, user=user)
    if image is not None:
        render_one = partial(_manifests, cluster=Cluster(image=image, namespace=namespace), place=place)
    else:
        cron = UserCrontab(scope) if user else CronFiles()
        scheduler = (
            Systemd(scope, systemd_version, SystemdPaths.usual(scope)) if target == "systemd" else cron
        )
        render_one = partial(_files, scheduler=scheduler, place=place)
    artifacts, refused = _render_each(chosen, render_one)
    if output_dir is None:
        _print_all(artifacts, target)
    elif artifacts or output_dir.is_dir():
        with transaction(output_dir, msg("choose another directory for --output-dir")) as writer:
            _write_all(writer, artifacts, output_dir)
            if not jobs:
                _remove_stale(writer, output_dir, place, config)
            if target == "kubernetes":
                _write_kustomization(writer, output_dir)
    for error in refused[:-1]:
        echo_error(error)
    if refused:
        raise refused[-1]


def _render_each(
    jobs: Iterable[Job], render_one: Callable[[Job], Iterable[RenderedFile]]
) -> tuple[list[RenderedFile], list[JobError]]:
    """Return the files of the jobs that can be rendered, and the errors of the others."""
    artifacts: list[RenderedFile] = []
    refused: list[JobError] = []
    for job in jobs:
        try:
            artifacts += render_one(job)
        except JobError as error:
            if error.outcome is Outcome.USAGE:
                raise
            refused.append(error)
    return artifacts, refused


def _files(job: Job, *, scheduler: Backend, place: Path) -> Iterable[RenderedFile]:
    return scheduler.render(job_spec(_with_key_file(job, place), place))


def _check_options(
    target: str, image: str | None, namespace: str | None, version: int | None, *, user: bool
) -> None:
    if target == "kubernetes" and image is None:
        raise JobError(
            Outcome.USAGE,
            msg("--target kubernetes needs --image with a container image that has dify-job"),
            msg("build an image from deploy/container/Containerfile (see docs/kubernetes.md)"),
        )
    if target != "kubernetes" and (image or namespace):
        raise JobError(
            Outcome.USAGE,
            msg("--image and --namespace can be used only with --target kubernetes"),
            msg("leave out --image and --namespace, or add --target kubernetes"),
        )
    if target == "kubernetes" and (user or version):
        raise JobError(
            Outcome.USAGE,
            msg("--user and --systemd-version cannot be used with --target kubernetes"),
            msg("leave out --user and --systemd-version, or use another --target"),
        )


def _manifests(job: Job, *, cluster: Cluster, place: Path) -> Iterable[RenderedFile]:
    now = datetime.now(UTC)
    artifacts = render_manifests(job, cluster, place, now)
    create = ["kubectl", "create", "secret", "generic", object_name(job.name)]
    create += ["--namespace", cluster.namespace] if cluster.namespace else []
    create += [f"--from-file=api_key={job.key.file or 'KEYFILE'}"]
    echo_err(
        msg(
            "{name}: before the first run, create the secret with the API key: {command}",
            name=job.name,
            command=Command(create),
        )
    )
    if is_loopback(job.base_url):
        echo_err(
            msg(
                "{name}: base_url is {base_url}, which in a pod means the pod itself; set it "
                "to an address of Dify that the cluster can reach",
                name=job.name,
                base_url=job.base_url,
            )
        )
    if any(secret and "{{" not in secret for secret in secrets_in(job.inputs)):
        echo_err(
            msg(
                "{name}: the ConfigMap shows the value of an input that looks like a secret. Pass the "
                "value to the pod as an environment variable, and list that variable in env "
                "(man dify-job.toml)",
                name=job.name,
            )
        )
    for warning in clock_warnings(job.times, job.name, now):
        echo_err(msg("{name}: {warning}", name=job.name, warning=warning))
    return artifacts


def _with_key_file(job: Job, place: Path) -> Job:
    if job.key.encrypted:
        return job
    file = job.key.file.absolute() if job.key.file else managed.key_path(place, job.name)
    return job._replace(key=KeySource(file=file))


def _print_all(artifacts: Iterable[RenderedFile], target: str) -> None:
    separator = "---\n" if target == "kubernetes" else ""  # so that it can be piped to kubectl
    for artifact in artifacts:
        echo_data(f"{separator}# {artifact.path}\n{artifact.text}")


def _write_all(writer: FileTransaction, artifacts: Iterable[RenderedFile], output_dir: Path) -> None:
    files = [
        FileChange(path=output_dir / artifact.path.name, before=None, after=artifact.text.encode())
        for artifact in artifacts
    ]
    writer.apply(files)
    for file in files:
        echo(str(file.path))


def _write_kustomization(writer: FileTransaction, output_dir: Path) -> None:
    """List all manifests of the directory for `kubectl apply -k`; a file of a person is not changed."""
    manifests = [path.name for path, _ in _managed(output_dir) if path.suffix == ".yaml"]
    artifact = kustomization(manifests)
    path = output_dir / artifact.path
    try:
        is_foreign = not read_regular(path).startswith(KUSTOMIZATION_HEADER.encode())
    except FileNotFoundError:
        is_foreign = False
    except OSError:  # a directory, a FIFO, or a file that the caller cannot read
        is_foreign = True
    if is_foreign:
        echo_err(
            msg("{path} exists and was not written by dify-job, so dify-job does not overwrite it", path=path)
        )
        return
    writer.put(path, artifact.text.encode())
    echo(str(path))


def _remove_stale(writer: FileTransaction, output_dir: Path, place: Path, config: Config) -> None:
    """Remove the files of jobs that left the configuration; an edited file stays and is reported."""
    for path, status in _managed(output_dir):
        mark = status.header
        if mark is None or mark.job in config.jobs or mark.source != str(place):
            continue
        if status.state is FileState.EDITED:
            echo_err(
                msg(
                    "{path} was not removed, because it was edited; its job {job} is no longer configured",
                    path=path,
                    job=mark.job,
                )
            )
            continue
        writer.remove(path)
        echo_err(
            msg("{path} was removed, because its job {job} is no longer configured", path=path, job=mark.job)
        )


def _managed(directory: Path) -> Iterator[tuple[Path, FileStatus]]:
    """Yield the files in a directory that dify-job wrote for jobs."""
    for path in sorted(directory.iterdir()):
        if path.name.startswith("dify-job-") and path.is_file():
            status = file_status(path)
            if status.is_managed:
                yield path, status
