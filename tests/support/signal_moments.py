"""Run `dify-job run` in forks, each with SIGTERM before another bytecode of its signal code. A program.

The arguments are the distance of the bytecodes to try, and optionally a directory whose code counts instead.
Prints a JSON list: exit code, stdout and stderr of each run; the first has no signal.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import IO, Any

from dify_job.cli import main, run, signals

_TRACED = tuple(sys.argv[2:]) or (run.__file__, signals.__file__, contextlib.__file__)


def _signal_before(number: int, counted: IO[bytes]) -> None:
    """Send SIGTERM before a bytecode of the traced files; they count from the installed handlers on."""
    count = 0
    counting = False

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count, counting
        if not frame.f_code.co_filename.startswith(_TRACED):
            return None
        frame.f_trace_opcodes = True
        if event == "return" and frame.f_code is signals.Signals.__init__.__code__:
            counting = True
        elif event == "opcode" and counting:
            count += 1
            os.pwrite(counted.fileno(), b"%d" % count, 0)
            if count == number:
                os.kill(os.getpid(), signal.SIGTERM)
        return trace

    sys.settrace(trace)


def _run(number: int, counted: IO[bytes]) -> tuple[int, str, str]:
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = os.fork()
        if not process:
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            # Its own state: a stop that the server did not confirm rejects the next start.
            os.environ["STATE_DIRECTORY"] += f"/{number}"
            Path(os.environ["STATE_DIRECTORY"]).mkdir(parents=True)
            _signal_before(number, counted)
            main.main(["run"])
        _, status = os.waitpid(process, 0)
        texts = [os.pread(file.fileno(), 1 << 20, 0).decode() for file in (stdout, stderr)]
        return os.waitstatus_to_exitcode(status), texts[0], texts[1]


if __name__ == "__main__":
    with tempfile.TemporaryFile() as counted:
        results = [_run(0, counted)]
        total = int(os.pread(counted.fileno(), 20, 0))
        results += [_run(number, counted) for number in range(1, total + 1, int(sys.argv[1]))]
    sys.stdout.write(json.dumps(results))
