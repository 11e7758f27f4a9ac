"""Ctrl-C at a prompt."""

import contextlib
import os
import pty
import select
import sys

from tests.support.command import Command
from tests.support.environment import bare_environ


def test_ctrl_c_at_a_prompt_ends_the_line(dify_job: Command) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(dify_job.home)
        env = bare_environ(HOME=str(dify_job.home), TERM="dumb")
        os.execve(sys.executable, [sys.executable, "-m", "dify_job", "init", "--user"], env)
    shown = b""
    with contextlib.suppress(OSError):  # the process has closed the terminal
        while True:
            came = bool(select.select([terminal], [], [], 1)[0])
            shown += os.read(terminal, 4096) if came else b""
            # the prompt can arrive in two parts; a signal before the read takes effect with the next key
            if shown.endswith(b"]: ") or (not came and shown.endswith(b"^C")):
                os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    os.close(terminal)
    assert shown.decode().replace("^C^C", "^C").splitlines() == [
        "Dify's address [http://localhost/v1]: ^C",
        "aborted",
    ]
