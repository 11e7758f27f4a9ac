"""The process that renders templates: it reads one order and writes one line of JSON for each template."""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import Message, msg
from .templates import limit_memory, render_value

_PR_SET_PDEATHSIG = 1  # prctl(2)


def work(order: Mapping[str, Any]) -> None:
    """Render the templates of an order, as `template_process` makes it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # otherwise it survives when the run is killed
    if os.getppid() != order["parent"]:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seconds = int(order["cpu"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    limit_memory()
    for result in render_each(order["templates"], order["values"]):
        found: Any = result
        if isinstance(result, JobError):
            found = {"message": _parts(result.message), "hint": _parts(result.hint or "")}
        sys.stdout.write(f"{json.dumps(found)}\n")
        sys.stdout.flush()


def render_each(templates: Sequence[tuple[str, str]], values: Mapping[str, Any]) -> Iterator[str | JobError]:
    """Render templates in this process, one after the other.

    Args:
        templates: The key of each, for messages, and its text.
        values: What `template_names` takes.
    """
    names = template_names(values)
    for where, template in templates:
        try:
            yield render_value(template, names, where)
        except JobError as error:
            yield error


def template_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables and functions of templates.

    Args:
        values: JSON: times as text, `variables` and `allowed` for env().
    """
    zone = ZoneInfo(values["zone"]) if values["zone"] else None  # None: the machine's
    now = datetime.fromisoformat(values["now"]).astimezone(zone)
    last = values["last_success"]
    return {
        "now": now,
        "today": now.date(),
        "last_success": None if last is None else datetime.fromisoformat(last).astimezone(zone),
        "job": values["job"],
        "hostname": values["hostname"],
        "timedelta": timedelta,
        "env": _env(values["job"], values["allowed"], values["variables"]),
    }


def _env(job: str, allowed: list[str], variables: Mapping[str, str]) -> Callable[..., str]:
    def env(name: str, default: str | None = None) -> str:
        """Return a variable that the job's `env` setting allows."""
        if name not in allowed:
            raise JobError(
                Outcome.CONFIG,
                msg(
                    'a template of job {job} reads the environment variable {name}, but the setting "env" '
                    "of the job does not list it",
                    job=job,
                    name=name,
                ),
                msg('allow the variable in the job: env = ["{name}"]', name=name),
            )
        value = variables.get(name, default)
        if value is None:
            raise JobError(
                Outcome.CONFIG,
                msg(
                    "a template of job {job} reads the environment variable {name}, which is not set",
                    job=job,
                    name=name,
                ),
                msg(
                    "set the variable (in a unit: Environment=), or give a default value: "
                    'env("{name}", "...")',
                    name=name,
                ),
            )
        return value

    return env


def _parts(text: str) -> tuple[str, dict[str, str]]:
    """Return the template and the values of a message."""
    if isinstance(text, Message):
        return text.template, {name: str(value) for name, value in text.values.items()}
    return "{text}", {"text": text}
