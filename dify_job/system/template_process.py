"""Render templates of configuration values in a child process, which a deadline or a signal can end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ..exit_codes import Outcome
from ..messages.errors import PROCESS_LIMIT_HINT, JobError
from ..messages.message import msg

_POLL_INTERVAL = 0.01  # seconds between looks at the process
_CPU_MARGIN = 5.0  # seconds of CPU time beyond the deadline before the kernel ends an orphan
_WORKER = (
    "import json, sys\n"
    "order = json.load(open(0, 'rb', closefd=False))\n"
    "sys.path[:] = order['path']\n"
    "from dify_job.system.template_worker import work\n"
    "work(order)"
)


def render_all(
    templates: Sequence[tuple[str, str]],
    values: Mapping[str, Any],
    until: float,
    pause: Callable[[float], object],
) -> list[str | JobError]:
    """Render templates, each to its text or its error.

    Args:
        templates: The key of each template, for messages, and its text.
        values: What `template_names` takes, as JSON.
        until: Monotonic time limit.
        pause: Waits for a number of seconds; an exception ends the rendering.

    Returns:
        One result for each template.

    Raises:
        JobError: No process can be started (unreachable).
    """
    if not sys.executable:  # Python embedded in another program
        return list(import_module(f"{__package__}.template_worker").render_each(templates, values))
    order = {
        "path": [*sys.path, str(Path(__file__).parents[2])],  # an editable install is not on the path
        "values": values,
        "templates": templates,
        "parent": os.getpid(),
        "cpu": max(1, round(until - time.monotonic() + _CPU_MARGIN)),
    }
    asked, answered = os.memfd_create("templates"), os.memfd_create("texts")
    try:
        os.write(asked, json.dumps(order).encode(errors="surrogatepass"))
        os.lseek(asked, 0, os.SEEK_SET)
        ended_by = _run(asked, answered, until, pause)
        os.lseek(answered, 0, os.SEEK_SET)
        with os.fdopen(answered, "rb", closefd=False) as file:
            results = [_result(line) for line in file.read().split(b"\n")[:-1]]
    finally:
        os.close(asked)
        os.close(answered)
    if len(results) < len(templates):
        where = templates[len(results)][0]
        results += [_unfinished(where, ended_by)] * (len(templates) - len(results))
    return results


def _run(asked: int, answered: int, until: float, pause: Callable[[float], object]) -> int | None:
    """Run the worker; return its exit code, or None if the deadline ended it."""
    command = [sys.executable, "-I", "-c", _WORKER]
    try:
        process = subprocess.Popen(  # our own interpreter
            command, stdin=asked, stdout=answered, stderr=subprocess.DEVNULL, process_group=0
        )
    except OSError as error:
        raise JobError(
            Outcome.UNREACHABLE,  # nothing was sent, and a retry is safe
            msg(
                "the templates cannot be rendered, because no process can be started: {reason}",
                reason=error.strerror,
            ),
            PROCESS_LIMIT_HINT,
        ) from None
    try:
        while process.poll() is None:
            if time.monotonic() >= until:
                return None
            pause(_POLL_INTERVAL)
        pause(0.0)
        return process.returncode
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _result(line: bytes) -> str | JobError:
    data = json.loads(line)
    if isinstance(data, str):
        return data
    message, hint = (msg(template, **values) for template, values in (data["message"], data["hint"]))
    return JobError(Outcome.CONFIG, message, hint)


def _unfinished(where: str, ended_by: int | None) -> JobError:
    hint = msg("make the template smaller, so that the text it renders fits into memory")
    if ended_by is None:
        return JobError(
            Outcome.CONFIG,
            msg("{where}: the template could not be rendered before the deadline", where=where),
            hint,
        )
    how = signal.Signals(-ended_by).name if ended_by < 0 else msg("exit code {code}", code=ended_by)
    return JobError(
        Outcome.CONFIG,
        msg(
            "{where}: the template could not be rendered, because the process that "
            "rendered it ended with {how}",
            where=where,
            how=how,
        ),
        hint,
    )
