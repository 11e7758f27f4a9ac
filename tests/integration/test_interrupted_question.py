"""Ctrl-C at a question."""

import contextlib
import os
import pty
import select
import sys

from tests.support.command import Command


def test_ctrl_c_at_a_question_leaves_a_line_of_its_own(dify_job: Command) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(dify_job.home)
        env = {"HOME": str(dify_job.home), "PATH": os.environ["PATH"], "TERM": "dumb"}
        os.execve(sys.executable, [sys.executable, "-m", "dify_job", "init", "--user"], env)
    shown = b""
    with contextlib.suppress(OSError):  # it has left the terminal
        while True:
            came = bool(select.select([terminal], [], [], 5)[0])
            shown += os.read(terminal, 4096) if came else b""
            # the question can come in two pieces; a signal before its read is seen with the next key alone
            if shown.endswith(b"]: ") or (not came and shown.endswith(b"^C")):
                os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    os.close(terminal)
    assert shown.decode().replace("^C^C", "^C").splitlines() == [
        "Dify's address [http://localhost/v1]: ^C",
        "aborted",
    ]
