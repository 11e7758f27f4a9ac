"""The state of a job that cron starts as another user: given to that user, as StateDirectory= does."""

import os
import pwd
import stat

from ..state.store import base_of, make_base, private_of


def give_state(job: str, user: str) -> None:
    """Make BASE/JOB the user's, with what earlier runs left there. Raises OSError, KeyError."""
    base = base_of(system=True)
    path, private = base / job, private_of(base) / job
    make_base(base)
    if path.is_symlink() and private.is_dir():  # a unit's dynamic user had it (systemd.exec(5))
        path.unlink()
        private.rename(path)
    path.mkdir(mode=0o700, exist_ok=True)
    account = pwd.getpwnam(user)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(directory).st_uid == account.pw_uid:
            return
        for entry in os.scandir(directory):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:  # the owner before may have set traps
                os.chown(entry.name, account.pw_uid, account.pw_gid, dir_fd=directory, follow_symlinks=False)
        os.fchown(directory, account.pw_uid, account.pw_gid)
    finally:
        os.close(directory)
