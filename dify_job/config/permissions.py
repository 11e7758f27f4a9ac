"""Whose files may be believed: owners and modes, judged on the opened file."""

import os
import stat
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


def fault_of_file(opened: os.stat_result, *, private: bool, user: int | None = None) -> str | None:
    """What is wrong with an opened file, as the end of a sentence; private: others must not read it.

    user: one more who may own it, the `run_as` of a job that root looks at.
    """
    if not stat.S_ISREG(opened.st_mode):
        return msg("is not a regular file")
    if opened.st_uid not in (0, os.geteuid(), user):
        return msg("belongs to user {st_uid}, not to you or root", st_uid=opened.st_uid)
    if opened.st_mode & _OTHERS_WRITE:
        return msg("can be written by others")
    if private and opened.st_mode & _OTHERS_READ:
        return msg("can be read by others")
    return None


def permission_fix(path: Path, *, private: bool, user: int | None = None) -> str:
    """The command that lets the file be believed, by what is wrong with it now."""
    found, me = path.stat(), os.geteuid()
    if fault_of_file(found, private=private, user=user) is None:
        user = user if found.st_uid == user else None
        path = next((each for each in path.resolve().parents if _fault_of_directory(each, user)), path)
        found, private = path.stat(), False
    elif not stat.S_ISREG(found.st_mode):
        return f"ls -l {path}"
    open_to = _OTHERS_WRITE | _OTHERS_READ if private else _OTHERS_WRITE
    strange = found.st_uid not in (0, me, user)
    commands = [msg("chown {value} {path}", value="root" if me == 0 else me, path=path)] if strange else []
    commands += (
        [msg("chmod {value} {path}", value="600" if private else "go-w", path=path)]
        if found.st_mode & open_to
        else []
    )
    by_root = "" if me in (0, found.st_uid) else "sudo "
    return " && ".join(f"{by_root}{command}" for command in commands)


def check_ca_file(path: Path | None) -> None:
    """Find out before the call that the certificates cannot be read. Raises JobError (config)."""
    if path is None:
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise JobError(
            Outcome.CONFIG,
            msg("the ca_file {path} cannot be read: {strerror}", path=path, strerror=error.strerror),
            msg("ls -l {path}", path=path),
        ) from None
    if b"-----BEGIN " not in content:
        raise JobError(
            Outcome.CONFIG,
            msg("the ca_file {path} holds no certificate in PEM", path=path),
            msg("openssl x509 -inform DER -in {path} -out {path}.pem", path=path),
        )


def fault_of_link(path: Path) -> str | None:
    """What is wrong with the name itself: who makes a link to a file of ours chooses what we read."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        return msg("is a link that user {st_uid} made", st_uid=found.st_uid)
    return None


def fault_of_directories(path: Path, *, user: int | None = None) -> str | None:
    """The first directory above the file that others can write or replace; sticky ones are fine.

    user: who may own directories as well, because the file is theirs.
    """
    return next(filter(None, (_fault_of_directory(each, user) for each in path.resolve().parents)), None)


def _fault_of_directory(directory: Path, user: int | None) -> str | None:
    found = directory.stat()
    if found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX:
        return msg("stands in {directory}, which others can write", directory=directory)
    if found.st_uid not in (0, os.geteuid(), user):
        return msg(
            "stands in {directory}, which belongs to user {st_uid}", directory=directory, st_uid=found.st_uid
        )
    return None
