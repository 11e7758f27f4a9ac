"""`dify-job secret set`: store a job's key from a prompt or a pipe in a private file."""

import os
import shlex
from pathlib import Path

import click

from ..checks.probes import expected_failure
from ..config import managed
from ..config.loader import load_config, pick
from ..config.model import Config, Job, Secret
from ..config.permissions import check_secret_path
from ..config.secrets import CREDENTIAL, read_headers
from ..dify.app_info import AppProbe, probe_app
from ..dify.models import ApiError
from ..exit_codes import Outcome
from ..messages.command import command, with_job
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..schedulers import systemctl
from ..schedulers.units import ENCRYPTED_SINCE
from ..state.directories import base_of
from ..system import subprocesses
from ..system.paths import is_missing, resolved
from ..system.transaction import FileTransaction, locked, transaction
from .options import Globals, key_file_option, option, pass_globals
from .output import echo, echo_err
from .prompts import read_api_key

_STORE = Path("/etc/credstore.encrypted")


@click.group(name="secret")
def secret_group() -> None:
    """Store the API key of a job."""


@secret_group.command(name="set")
@click.argument("job", required=False)
@key_file_option
@option(
    "--encrypt/--no-encrypt",
    default=None,
    help=msg(
        "Encrypt the API key with systemd-creds / store it in a plain file with mode 0600 "
        "(default: as it is stored now)."
    ),
)
@option("--no-check", is_flag=True, help=msg("Store the API key without checking it on the server."))
@pass_globals
def set_key(
    options: Globals, /, *, job: str | None, key_file: str | None, encrypt: bool | None, no_check: bool
) -> None:
    """Store the key of a job, in place of the old one.

    It first tries the key at the server, and stores no key that Dify rejects. Example:
    printf %s "$KEY" | dify-job secret set daily
    """
    config = load_config(options.config_path, options.env_file)
    chosen = pick(config, job)
    if config.path is None:
        raise JobError(
            Outcome.CONFIG,
            msg(
                "an API key can be stored only for a job in a configuration file, but this job "
                "comes from environment variables"
            ),
            msg("to create a job with a stored API key, run: {command}", command=command("dify-job", "init")),
        )
    encrypted = chosen.key.encrypted is not None if encrypt is None else encrypt
    if encrypted:
        _check_encryption()
    key = read_api_key(key_file, command("dify-job", "secret", "set", chosen.name))
    if not no_check:
        _check(chosen, key)
    with locked(base_of(system=os.geteuid() == 0)):
        _store(config, config.path.absolute(), chosen, key, encrypted=encrypted)


def _check(job: Job, key: Secret) -> None:
    headers = {name: value.reveal() for name, value in read_headers(job).items()}
    probe = probe_app(job.base_url, key.reveal(), ca_file=job.ca_file, headers=headers)
    problem = expected_failure(probe)
    if problem is None:
        echo(
            msg(
                "{name}: Dify {version} accepts the API key, which belongs to the app {app!r}",
                name=job.name,
                version=probe.version or "",
                app=probe.name,
            )
        )
    elif _is_wrong(probe):
        raise JobError(
            problem.outcome,
            msg("{message}; the API key was not stored", message=problem.message),
            msg(
                "create an API key for the app in Dify (API Access), or store this one unchecked "
                "with --no-check"
            ),
        )
    else:
        echo_err(
            msg(
                "dify-job: the API key is stored, but could not be checked: {message}",
                message=problem.message,
            )
        )
        echo_err(msg("  {hint}", hint=with_job(problem.hint or "", job.name)))


def _is_wrong(probe: AppProbe) -> bool:
    """Return True if Dify itself rejected the key, or its app is not a workflow."""
    if isinstance(probe.failure, ApiError):
        return probe.failure.from_dify and probe.failure.status == 401
    return probe.mode not in (None, "workflow")


def _check_encryption() -> None:
    version = systemctl.version() or 0
    if version < ENCRYPTED_SINCE or not subprocesses.is_on_path("systemd-creds"):
        if version:
            has: str = msg("this machine has systemd {version}", version=version)
        elif subprocesses.is_on_path("systemctl"):
            has = msg("the version of systemd is unknown")
        else:
            has = msg("this machine has no systemd")
        raise JobError(
            Outcome.CONFIG,
            msg(
                "--encrypt needs systemd-creds of systemd {minimum} or newer; {has}",
                minimum=ENCRYPTED_SINCE,
                has=has,
            ),
            msg("leave out --encrypt to store the API key in a file with mode 0600"),
        )


def _encrypted(key: Secret) -> bytes:
    done = subprocesses.run(
        ["systemd-creds", "encrypt", f"--name={CREDENTIAL}", "-", "-"], stdin=key.reveal().encode()
    )
    if done.code != 0 or not done.stdout:
        raise JobError(
            Outcome.CONFIG,
            msg("systemd-creds could not encrypt the API key: {reason}", reason=done.reason),
            msg(
                "to encrypt, systemd-creds needs root and the credential key of this host; to create "
                "the key, run: {command}",
                command=command("systemd-creds", "setup", needs_root=True),
            ),
        )
    return done.stdout


def _store(config: Config, place: Path, job: Job, key: Secret, *, encrypted: bool) -> None:
    if encrypted:
        path = job.key.encrypted or _STORE / f"dify-job.{job.name}.{CREDENTIAL}"
        content = _encrypted(key)
    else:
        path = job.key.file or managed.key_path(place, job.name)
        content = f"{key.reveal()}\n".encode()
    moved = path != (job.key.encrypted if encrypted else job.key.file)
    hint = msg(
        "only root can store API keys of system jobs; to store the key as root, run: {command}",
        command=command("dify-job", "secret", "set", job.name, needs_root=True),
    )
    with transaction(path, hint) as writer:
        _write_key(writer, path.absolute(), content)
        if moved:
            values = {"api_key_credential" if encrypted else "api_key_file": str(path.absolute())}
            writer.apply(managed.settings_files(place, job.name, values, stored=True))
        _check_effect(place, job.name, path, encrypted=encrypted)
    stored: dict[str, object] = {"name": job.name, "masked": key.masked(), "path": path}
    if encrypted:
        echo(msg("{name}: API key {masked} stored in {path}, encrypted", **stored))
    else:
        echo(msg("{name}: API key {masked} stored in {path} (0600)", **stored))
    others = [other for name, other in config.jobs.items() if name != job.name]
    sharing = [other.name for other in others if path in (other.key.file, other.key.encrypted)]
    if sharing:
        echo(msg("  the same file holds the API key of: {sharing}", sharing=join(", ", sharing)))
    if moved:
        echo(msg("  update the units: {command}", command=command("dify-job", "install", job.name)))
        old = job.key.file or job.key.encrypted
        if old is not None and not is_missing(old):
            echo(
                msg(
                    "  the old API key is still in {old}; to delete it: shred -u {name}",
                    old=old,
                    name=shlex.quote(str(old)),
                )
            )


def _check_effect(place: Path, name: str, path: Path, *, encrypted: bool) -> None:
    """Check that `run` will read the stored key."""
    key = load_config(place).jobs[name].key
    if (key.encrypted if encrypted else key.file) != path:
        raise JobError(
            Outcome.CONFIG,
            msg(
                "the API key was not stored, because another file in {directory} is read later and "
                "sets a different API key for job {name}",
                directory=place.parent / "config.d",
                name=name,
            ),
            msg(
                "to see which file sets each value, run: {command}",
                command=command("dify-job", "config", "show", name),
            ),
        )


def _write_key(writer: FileTransaction, path: Path, content: bytes) -> None:
    """Write to the target of a link, and preserve its owner."""
    target = resolved(path)
    writer.directory(target.parent, 0o700)
    check_secret_path(path)
    owner = (target.stat().st_uid, target.stat().st_gid) if target.exists() else None
    writer.put(target, content, 0o600, owner)
