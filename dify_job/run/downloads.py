"""Download the files that a workflow returns to the directory of the output file, under safe names."""

import contextlib
import errno
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from .. import log
from ..config.model import Downloads
from ..dify.client import ConnectionLost, PendingCall, Reply
from ..dify.download import DownloadHosts, download
from ..dify.event_queue import InterruptedRunError
from ..dify.models import WorkflowRun
from ..messages.message import msg
from ..state.store import JobState
from ..system.secure_dir import Directory
from .output import OutputPath, errors_as_warnings
from .run_spec import RunSpec

_MIN_TIME = 20.0  # seconds for all downloads, even near the job's deadline: a unit adds 60
_IDENTITY = "dify_model_identity"
_MAX_NAME = 200  # bytes of a name; file systems allow 255


class ReturnedFile(NamedTuple):
    """A file in the outputs of a run. size: bytes, as the server reports, or None."""

    name: str
    url: str
    size: int | None


class Downloader:
    """A downloader of the files of one run."""

    def __init__(self, spec: RunSpec, limits: Downloads, state: JobState | None) -> None:
        """Create a downloader.

        Args:
            spec: The specification of the run.
            limits: The maximum number and size of files.
            state: Stores which files the job created.
        """
        self._job = spec.job
        self._headers = spec.plain_headers
        self._state = state
        self._hosts = DownloadHosts(spec.job.base_url, spec.job.output.download_hosts)
        self._limits = limits
        self._events = spec.context.events
        self._until = max(spec.deadline, time.monotonic() + _MIN_TIME)

    def save_files(self, target: OutputPath, run: WorkflowRun) -> None:
        """Save the run's files in the directory of the output file; errors are logged as warnings.

        Args:
            target: The output file.
            run: A run that succeeded.
        """
        text = msg("the run's files could not be saved")
        with errors_as_warnings(text, target.path.parent), target.opened() as directory:
            self._save_all(directory, target, run)

    def _save_all(self, directory: Directory, target: OutputPath, run: WorkflowRun) -> None:
        found = list(dict.fromkeys(files_in(run.outputs or {})))
        if len(found) > self._limits.max_files:
            most = self._limits.max_files
            log.warning(
                msg(
                    "the workflow returned {count} files, but only the first {maximum} are saved",
                    count=len(found),
                    maximum=most,
                )
            )
        taken = {target.path.name, *target.reserved}
        for file in found[: self._limits.max_files]:
            name = _unused_name(safe_name(file.name), taken)
            taken.add(name)
            why: str | None = None
            try:
                self._save_and_record(file, directory, target.path.parent / name)
            except OSError as error:
                why = error.strerror or str(error)
            except ValueError as error:
                why = msg("the file's URL cannot be parsed: {error}", error=error)
            if why is None:
                log.info(
                    msg("a file that the workflow returned was saved"), path=str(target.path.parent / name)
                )
            else:
                log.warning(
                    msg("a file that the workflow returned was not saved: {reason}", reason=why), file=name
                )

    def _save_and_record(self, file: ReturnedFile, directory: Directory, path: Path) -> None:
        """Save one file, and record that the job created it. Raises OSError."""
        made = self._state.downloads() if self._state is not None else {}
        there = directory.identity(path.name)
        if there is not None and made.get(str(path)) != there:
            reason = msg(
                "{path} exists already, and no earlier run of this job wrote it. Move the existing "
                "file to another directory",
                path=path,
            )
            raise OSError(errno.EEXIST, reason)
        self._save(file, directory, path.name)
        if self._state is not None:
            made.pop(str(path), None)
            self._state.put_downloads(made | {str(path): directory.identity(path.name) or ""})

    def _save(self, file: ReturnedFile, directory: Directory, name: str) -> None:
        largest = self._limits.max_size
        if file.size is not None and file.size > largest:
            reason = msg(
                "it has {size} bytes, more than {maximum} (max_size)", size=file.size, maximum=largest
            )
            raise OSError(errno.EFBIG, reason)
        url = urljoin(self._job.base_url, file.url)  # if FILES_URL is empty, the URL is a path without a host
        own = urlsplit(url)[:2] == urlsplit(self._job.base_url)[:2]
        with directory.replacing(name, self._job.output.mode) as temporary:
            call = download(
                url,
                temporary,
                on_event=self._events.put,
                largest=largest,
                hosts=self._hosts,
                ca_file=self._job.ca_file if own else None,
                connect_timeout=self._job.connect_timeout,
                headers=self._headers if own else None,
            )
            if (why := self._failure_reason(call)) is not None:
                raise OSError(errno.EIO, why)

    def _failure_reason(self, call: PendingCall) -> str | None:
        try:
            with contextlib.closing(call):
                event = self._events.answer_of(call, self._until)
        except InterruptedRunError as interrupted:
            self._events.cancel(interrupted.signum)  # the next wait receives the signal again
            return msg("a signal interrupted the download")
        match event:
            case None:
                return msg("the download took too long")
            case Reply(status=200):
                return None
            case Reply(status=403):
                return msg("the server denied access (HTTP 403); such links expire after some minutes")
            case Reply(status=status):
                return msg("the file's server answered HTTP {status}", status=status)
            case ConnectionLost(reason=reason):
                return reason
        return msg("the server did not return a file")


def files_in(value: Any) -> Iterator[ReturnedFile]:
    """Yield the files anywhere in the outputs of a run (`run-blocking-filemaker`)."""
    if isinstance(value, Mapping):
        url = value.get("url") or value.get("remote_url")
        if value.get(_IDENTITY) is not None and isinstance(url, str):
            size = value.get("size")
            name = value.get("filename")
            yield ReturnedFile(
                name if isinstance(name, str) and name else _last_part(url),
                url,
                size if isinstance(size, int) and size >= 0 else None,
            )
            return
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from files_in(inner)


def _last_part(url: str) -> str:
    try:
        return unquote(PurePosixPath(urlsplit(url).path).name)
    except ValueError:  # `_save` reports it
        return ""


def safe_name(name: str) -> str:
    """Return a safe file name: no path, no leading dot, no control characters."""
    base = re.split(r"[/\\]", name)[-1]
    base = "".join("_" if not c.isprintable() else c for c in base).strip().lstrip(".")
    stem, dot, suffix = base.rpartition(".")
    if not dot or len(suffix.encode()) > 20:
        stem, dot, suffix = base, "", ""
    left = _MAX_NAME - len((dot + suffix).encode())
    stem = stem.encode(errors="replace")[:left].decode(errors="ignore")
    return (stem + dot + suffix).encode(errors="replace").decode() or "file"


def _unused_name(name: str, taken: set[str]) -> str:
    """Return the name, or `name-2.txt` if another file of this run has it."""
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{stem}-{count}{suffix}"
    return free
