"""Check owner and permissions of configuration and key files, on the opened file."""

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..system.opened_file import read_regular
from ..system.paths import resolved
from ..system.secure_dir import foreign_link

_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
_SECRET_MOUNTS = tuple(map(Path, ("/run/secrets", "/var/run/secrets")))
_HOMES = (Path("/home"),)
_MAX_LINKS = 40  # of one path (path_resolution(7))
_ACL = "system.posix_acl_access"


def file_error(
    path: Path, opened: os.stat_result, place: int | Path, *, private: bool, user: int | None = None
) -> str | None:
    """Return the error of an opened file with unsafe owner or permissions.

    Args:
        path: Its name, for the message.
        opened: The result of fstat.
        place: The descriptor or path, for reading the access control list.
        private: Other users must not be able to read the file.
        user: A further permitted owner, such as the `run_as` user of a job that root reads.

    Returns:
        The message, or None.
    """
    if not stat.S_ISREG(opened.st_mode):
        return msg("{path} is not a regular file", path=path)
    if opened.st_uid not in (0, os.geteuid(), user):
        return msg(
            "{path} belongs to user {user}, but must belong to you or root", user=opened.st_uid, path=path
        )
    if _open_to_others(opened, place) & stat.S_IWOTH:
        return msg("{path} can be changed by other users", path=path)
    # Like ssh(1): a private file must not be readable by a group.
    if private and opened.st_mode & _OTHERS_READ:
        return msg("{path} can be read by other users", path=path)
    return None


def unreadable(what: str, path: Path, error: OSError, hint: str | None = None) -> JobError:
    """Return the error for a file or directory that cannot be read.

    Args:
        what: The kind of file, such as "env file".
        path: The file or directory.
        error: The error of opening or reading it.
        hint: The fix; None suggests checking owner and mode.
    """
    return JobError(
        Outcome.CONFIG,
        msg("the {what} {path} cannot be read: {reason}", what=what, path=path, reason=error.strerror),
        hint or command("ls", "-ld", str(path)),
    )


def link_error(path: Path) -> str | None:
    """Return the error of a symbolic link: its owner chooses the file that is read."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        return foreign_link(path, found.st_uid)
    return None


def directories_error(path: Path, *, user: int | None = None) -> str | None:
    """Return the error of the first directory in which others can replace the file, or a link to it.

    Sticky directories are safe.

    Args:
        path: The file; neither it nor its directories need exist.
        user: A further permitted owner of the directories, because the file belongs to that user.

    Returns:
        The message, or None.
    """
    return next((fault for _, fault in _directory_errors(path, user)), None)


def _directory_errors(path: Path, user: int | None) -> Iterator[tuple[Path, str]]:
    """Yield each directory in which others can replace a file or a link to it, with its error."""
    for _ in range(_MAX_LINKS):
        directory = resolved(path.parent)
        # The named directories as well: a link in one of them leads elsewhere.
        for each in dict.fromkeys((directory, *directory.parents, *path.absolute().parents)):
            if (fault := _directory_error(each, user)) is not None:
                yield each, fault
        if not path.is_symlink():
            return
        path = directory / path.readlink()


def check_secret_path(path: Path) -> None:
    """Raise JobError (config) if others could replace a key that is stored at a path."""
    try:
        found = next(_directory_errors(path, None), None)
    except OSError as error:
        raise unreadable(msg("directory"), path.parent, error) from None
    if found is None:
        return
    open_directory, fault = found
    advice: str = msg(
        "store API keys in /etc/dify-job/credentials or ~/.config/dify-job, where other users have no access"
    )
    if open_directory.stat().st_uid in (0, os.geteuid()):
        advice = msg(
            "{advice}, or remove the write permission of other users: {command}",
            advice=advice,
            command=command("chmod", "go-w", str(open_directory)),
        )
    raise JobError(
        Outcome.CONFIG,
        msg(
            "the API key was not stored, because it would not be safe in {path}: {reason}",
            path=path,
            reason=fault,
        ),
        advice,
    )


def permission_fix(path: Path, *, private: bool, user: int | None = None) -> str:
    """Return the fix for a rejected file, based on its current state.

    A file in the home of another user is copied, because a new owner would take it from that user. A file
    that a container runtime mounts needs other mount options.

    Args:
        path: The rejected file.
        private: True for a file that others must not be able to read.
        user: A further permitted owner.
    """
    given, is_secret, found, me = path, private, path.stat(), os.geteuid()
    if _is_mounted_secret(path):
        return msg(
            "mount {path} with mode 0400, so that no other user can read it (Kubernetes: defaultMode)",
            path=path,
        )
    if file_error(path, found, path, private=private, user=user) is None:
        user = user if found.st_uid == user else None
        path = next((each for each, _ in _directory_errors(path, user)), path)
        found, private = path.stat(), False
    elif not stat.S_ISREG(found.st_mode):
        return command("ls", "-l", str(path))
    strange = found.st_uid not in (0, me, user)
    if strange and _is_in_home_of_other(resolved(path), found.st_uid):
        if me == 0 and given.is_symlink():
            return msg(
                "replace the link {path}, which leads to a file of another user, with a copy of the file: "
                "{command}",
                path=given,
                command=command("cp", "--remove-destination", str(resolved(given)), str(given)),
            )
        place = Path("~/.config/dify-job").expanduser() if me else Path("/etc/dify-job")
        copy = str(_unused((place / "credentials" if is_secret else place) / given.name))
        words = ["install", "-D", "-m", "600" if is_secret else "644", *(["-o", str(me)] if me else [])]
        return msg(
            "in place of {path}, which belongs to another user, use a copy; to make the copy, run: {command}",
            path=given,
            command=command(*words, str(given), copy, needs_root=True),
        )
    by_root = me not in (0, found.st_uid)
    commands: list[str] = []
    if strange:
        commands.append(command("chown", "root" if me == 0 else str(me), str(path), needs_root=by_root))
    if _open_to_others(found, path) & stat.S_IWOTH or (private and found.st_mode & _OTHERS_READ):
        commands.append(command("chmod", "600" if private else "go-w", str(path), needs_root=by_root))
    return join(" && ", commands) if len(commands) != 1 else commands[0]


def _unused(path: Path) -> Path:
    """Return the path, or one with a number in its name if there is a file, which a copy would replace."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return next(each for each in chain((path,), numbered) if not os.path.lexists(each))


def _is_mounted_secret(path: Path) -> bool:
    """Return True for a mount of a container runtime: a container cannot change its mode."""
    where = resolved(path)
    try:
        read_only = bool(os.statvfs(where).f_flag & os.ST_RDONLY)
    except OSError:
        read_only = False
    return read_only or any(path.is_relative_to(one) or where.is_relative_to(one) for one in _SECRET_MOUNTS)


def _is_in_home_of_other(path: Path, owner: int) -> bool:
    """Return True for a path in the home of another user than the caller."""
    try:
        home = Path(pwd.getpwuid(owner).pw_dir)
    except KeyError:
        return any(path.is_relative_to(one) for one in _HOMES)
    return any(path.is_relative_to(one) for one in (home, *_HOMES) if one != Path("/"))


def check_ca_file(path: Path | None) -> None:
    """Raise JobError (config) if the CA file cannot be read, before any call needs it."""
    if path is None:
        return
    try:
        content = read_regular(path)
    except OSError as error:
        raise unreadable("ca_file", path, error) from None
    if b"-----BEGIN " not in content:
        raise JobError(
            Outcome.CONFIG,
            msg("the ca_file {path} contains no certificate in PEM format", path=path),
            command("openssl", "x509", "-inform", "DER", "-in", str(path), "-out", f"{path}.pem"),
        )


def _directory_error(directory: Path, user: int | None) -> str | None:
    try:
        found = directory.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISDIR(found.st_mode):
        return None  # nothing can be stored below a file
    if _open_to_others(found, directory) & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return msg("other users can change files in the directory {directory}", directory=directory)
    if found.st_uid not in (0, os.geteuid(), user):
        return msg(
            "the directory {directory} belongs to user {user}, but must belong to you or root",
            directory=directory,
            user=found.st_uid,
        )
    return None


def _open_to_others(found: os.stat_result, place: int | Path) -> int:
    """Return the access of users other than owner and root, as the mode bits of others.

    The group's bits count, unless the group is private to the owner (user private groups, Debian's default
    with umask 002). With an access control list, they are its mask, and the list may name other users.
    """
    group = (found.st_mode & stat.S_IRWXG) >> 3
    if group & ~found.st_mode and _is_private(found.st_gid, found.st_uid) and not _has_acl(place):
        group = 0
    return (found.st_mode & stat.S_IRWXO) | group


def _is_private(gid: int, owner: int) -> bool:
    """Return True if a group has no members other than the owner, root and the caller.

    A directory service may not list all users with this primary group, so the owner's primary group must also
    have the owner's name.
    """
    allowed = {0, owner, os.geteuid()}
    try:
        group = grp.getgrgid(gid)
        members = {pwd.getpwnam(name).pw_uid for name in group.gr_mem}
        if members - allowed:
            return False
        account = pwd.getpwuid(owner)
    except KeyError:  # an unknown group, member or owner
        return False
    if account.pw_gid == gid and account.pw_name != group.gr_name:
        return False
    return all(other.pw_uid in allowed for other in pwd.getpwall() if other.pw_gid == gid)


def _has_acl(place: int | Path) -> bool:
    try:
        return _ACL in os.listxattr(place)
    except OSError:  # a file system without extended attributes
        return False
