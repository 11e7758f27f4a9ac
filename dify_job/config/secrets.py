"""Read secrets from systemd credentials, files and the environment, with permission checks."""

import os
import pwd
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from .. import log
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from ..system import subprocesses
from ..system.managed_files import fingerprint
from ..system.opened_file import OpenedFile, read_regular
from .model import Job, Secret, Source
from .permissions import directories_error, file_error, permission_fix, unreadable
from .readers import is_header_value

CREDENTIAL = "api_key"  # the name in units; systemd-creds stores it in the encrypted file
_MAX_SIZE = 64 * 1024
_NO_CREDENTIAL = (  # LXC's images do both (distrobuilder#985, systemd#38103)
    msg(
        "systemd did not pass the API key to the unit: a drop-in empties LoadCredential=, "
        "or /run of this container is not shared; to see the unit and its drop-ins, run: {command}",
        command=command("systemctl", "cat", "dify-job-*"),
    )
)
_MIN_TOKEN = 16
_PRIVATE_HEADER = r"(?i)secret|token|key|auth|cookie|pass|signature"
_KEY_ONLY = msg("write only the API key itself, such as app-...")
_ASSIGNMENT = r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*="
_VARIABLE = r"\$[A-Za-z_{(]"  # python-dotenv and shells replace it
_HEADER_WORDS = r"(?i)(authorization:|bearer )"
_TOKEN = re.compile(r"[\x21-\x7e]+")


def read_key(job: Job, environ: Mapping[str, str] = os.environ) -> Secret:
    """Return a job's key; a credential in $CREDENTIALS_DIRECTORY overrides every other source.

    Args:
        job: The job.
        environ: The variables of the process.

    Raises:
        JobError: (config) The key cannot be read; no message contains the key.
    """
    for name in (f"dify-job.{job.name}.api_key", CREDENTIAL):
        if (credential := _credential(name, environ)) is not None:
            return check_key(credential, f"{environ['CREDENTIALS_DIRECTORY']}/{name}")
    source = job.key
    if source.file is not None:
        text = _read_private(source.file, msg("API key file"), "api_key_file", user=_user_of(job))
        return check_key(text, str(source.file))
    if source.encrypted is not None:
        return check_key(_decrypt(source.encrypted), str(source.encrypted))
    if source.env is not None:
        if source.env not in environ:
            raise JobError(
                Outcome.CONFIG,
                msg(
                    "job {name} reads its API key from the environment variable {variable} "
                    "(api_key_env), which is not set",
                    name=job.name,
                    variable=source.env,
                ),
                msg(
                    "set the variable (export {variable}=app-...), or set api_key_file to a file with the "
                    "API key",
                    variable=source.env,
                ),
            )
        return check_key(environ[source.env], msg("the environment variable {name}", name=source.env))
    if source.inline is not None:
        return check_key(source.inline.reveal(), source.origin.where)
    raise JobError(
        Outcome.CONFIG,
        msg("job {name} has no API key", name=job.name),
        # With a configuration file, DIFY_API_KEY is ignored: it belongs to another base URL.
        msg(
            "create an API key in Dify (API Access), and set it (export DIFY_API_KEY=app-...), or "
            "write a configuration file: {command}",
            command=command("dify-job", "init"),
        )
        if source.origin.source is Source.ENVIRONMENT
        else msg(
            "create an API key in Dify (API Access), and store it: {command}",
            command=command("dify-job", "secret", "set", job.name),
        ),
    )


def read_key_file(path: str) -> Secret:
    """Return the key in a file that a person named, with the same checks as api_key_file.

    Args:
        path: The file, as named.

    Raises:
        JobError: It cannot be read, or holds no key (config).
    """
    return check_key(_read_private(Path(path).expanduser(), msg("API key file"), "--key-file"), path)


def read_token(path: Path) -> Secret:
    """Return the bearer token of the HTTP interface.

    Args:
        path: A private file.

    Raises:
        JobError: It cannot be read, or holds no token (config).
    """
    token = _read_private(path, msg("token file"), "--http-token-file").strip()
    if len(token) < _MIN_TOKEN or not _TOKEN.fullmatch(token):
        raise JobError(
            Outcome.CONFIG,
            msg(
                "the token in {path} must be one word of at least {minimum} characters",
                path=path,
                minimum=_MIN_TOKEN,
            ),
            msg("create a token: openssl rand -hex 32 > {path}", path=shlex.quote(str(path))),
        )
    log.add_secret(token)
    return Secret(token)


def check_key(text: str, where: str) -> Secret:
    """Return the key in a text without its line end; errors name frequent mistakes.

    Args:
        text: The content.
        where: The source, for messages.

    Raises:
        JobError: (config) The text is no key; no message contains it.
    """
    key = text.removesuffix("\n").removesuffix("\r")
    if not key.strip():
        raise JobError(
            Outcome.CONFIG,
            msg("the API key from {where} is empty", where=where),
            msg("put the app's API key into {where} (in Dify: API Access)", where=where),
        )
    if assignment := re.match(_ASSIGNMENT, key):
        raise JobError(
            Outcome.CONFIG,
            msg(
                "the API key from {where} must not begin with '{assignment}='",
                assignment=assignment[1],
                where=where,
            ),
            _KEY_ONLY,
        )
    if re.match(_VARIABLE, key):
        raise JobError(
            Outcome.CONFIG,
            msg("the API key from {where} is a variable, but dify-job replaces no variables", where=where),
            _KEY_ONLY,
        )
    if key[0] in "\"'`" or key[-1] in "\"'`":
        raise JobError(
            Outcome.CONFIG,
            msg("the API key from {where} must not be in quotes", where=where),
            msg("remove the quotes; {key_alone}", key_alone=_KEY_ONLY),
        )
    if word := re.match(_HEADER_WORDS, key):
        raise JobError(
            Outcome.CONFIG,
            msg("the API key from {where} must not begin with {word!r}", word=word[1], where=where),
            msg("remove {word!r}; {key_alone}", word=word[1], key_alone=_KEY_ONLY),
        )
    if not _TOKEN.fullmatch(key):
        raise JobError(
            Outcome.CONFIG,
            msg(
                "the API key from {where} contains a space, a line break or another character "
                "that an API key cannot contain",
                where=where,
            ),
            _KEY_ONLY,
        )
    log.add_secret(key, is_key=True)  # a server can repeat it in any text
    return Secret(key)


def _credential(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the credential of the unit with that name; None if there is none."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    path = Path(directory, name)
    try:
        return read_regular(path)[:_MAX_SIZE].decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(
            msg("systemd credential"), path, error, msg("check LoadCredential= in the unit")
        ) from None


def _credential_or_file(
    name: str, environ: Mapping[str, str], path: Path, what: str, setting: str, *, user: int | None = None
) -> str:
    """Return the credential that systemd made of a private file, otherwise the file."""
    content = _credential(name, environ)
    return content if content is not None else _read_private(path, what, setting, user=user)


def read_urls(path: Path, environ: Mapping[str, str] = os.environ) -> tuple[Secret, ...]:
    """Return the apprise URLs in a file of `notify`, one a line, or in the credential made of it.

    Args:
        path: The file.
        environ: The variables of the process.

    Raises:
        JobError: It cannot be read, or holds none (config); no URL is in a message.
    """
    content = _credential_or_file(url_credential(path), environ, path, msg("notify file"), "notify")
    lines = (line.strip() for line in content.splitlines())
    urls = tuple(Secret(line) for line in lines if line and not line.startswith("#"))
    if not urls:
        raise JobError(
            Outcome.CONFIG,
            msg("the notify file {path} contains no Apprise URL", path=path),
            msg(
                "write Apprise URLs, such as mailto://... or ntfy://..., into {path}, one per line", path=path
            ),
        )
    return urls


def read_headers(job: Job, environ: Mapping[str, str] = os.environ) -> dict[str, Secret]:
    """Read the values of a job's extra request headers.

    Args:
        job: The job.
        environ: The variables of the process; a credential in $CREDENTIALS_DIRECTORY overrides the file.

    Raises:
        JobError: (config) A value cannot be read; no message contains a value.
    """
    values: dict[str, Secret] = {}
    for name, value in job.headers.items():
        if isinstance(value, Path):
            values[name] = _header_in(value, environ, user=_user_of(job))
            log.add_secret(values[name].reveal(), is_key=True)
        else:
            values[name] = Secret(value)
            if re.search(_PRIVATE_HEADER, name):
                log.add_secret(value)
    return values


def _header_in(path: Path, environ: Mapping[str, str], *, user: int | None) -> Secret:
    credential = header_credential(path)
    value = _credential_or_file(credential, environ, path, msg("header file"), "headers", user=user).strip()
    if not is_header_value(value):
        raise JobError(
            Outcome.CONFIG,
            msg(
                "the header file {path} must contain one line of printable ASCII: the value of the header",
                path=path,
            ),
            msg("write only the value of the header into {path}", path=path),
        )
    return Secret(value)


def header_credential(path: Path) -> str:
    """Return the name of the systemd credential that holds a file of `headers`."""
    return f"header-{fingerprint(str(path))}"


def url_credential(path: Path) -> str:
    """Return the name of the systemd credential that holds a file of `notify`."""
    return f"notify-{fingerprint(str(path))}"


def _decrypt(path: Path) -> str:
    """Decrypt an encrypted credential for root, who runs the job by hand."""
    done = subprocesses.run(["systemd-creds", "decrypt", f"--name={CREDENTIAL}", str(path), "-"])
    if done.code != 0:
        raise JobError(
            Outcome.CONFIG,
            msg("the encrypted API key {path} cannot be decrypted: {reason}", path=path, reason=done.reason),
            msg(
                "run the command as root on the machine that encrypted the API key, or encrypt the "
                "API key again: {command}",
                command=command("dify-job", "secret", "set", "JOB", "--encrypt"),
            ),
        )
    return done.text


def _user_of(job: Job) -> int | None:
    """Return a further permitted owner of the key for root: the `run_as` user, who reads it under cron."""
    if job.run_as is None or os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(job.run_as).pw_uid
    except KeyError:
        return None


def _read_private(path: Path, what: str, setting: str, *, user: int | None = None) -> str:
    try:
        with OpenedFile(path) as file:
            # that user must not be able to replace root's file
            theirs = user if file.status.st_uid == user else None
            fault = file_error(path, file.status, file.descriptor, private=True, user=user)
            fault = fault or directories_error(path, user=theirs)
            if fault is None:
                return file.read(_MAX_SIZE).decode("utf-8-sig", errors="replace")
    except OSError as error:
        in_unit = "STATE_DIRECTORY" in os.environ and os.geteuid() != 0
        check = msg(
            "correct the path in {setting}; if the job is a system job, run dify-job with sudo",
            setting=setting,
        )
        raise unreadable(what, path, error, _NO_CREDENTIAL if in_unit else check) from None
    raise JobError(
        Outcome.CONFIG,
        msg("the {what} {path} is not safe: {reason}", what=what, path=path, reason=fault),
        permission_fix(path, private=True, user=user),
    )
