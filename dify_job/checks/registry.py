"""All checks of a job, in the order in which a run would meet the obstacles."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from functools import partial
from typing import TypeVar

from ..config.model import Secret
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import Problem, Severity, command
from ..run import form_cache
from ..run.inputs import Templates
from ..run.outcome import obstacle
from ..state.reader import read_last
from .context import HostContext
from .finding import fail, place_of, warn
from .http_socket import check_http_socket
from .inputs import check_files, check_inputs
from .last_run import check_last_run
from .machine import check_clock, check_disk, check_journal, check_state
from .missed_runs import check_missed_runs
from .server import check_server, check_transport, check_trust
from .service import check_backend, check_service
from .settings import check_config, check_key, check_notify, check_output, check_schedule, check_zone

_T = TypeVar("_T")


class Needs(IntEnum):
    """What a check looks at; each includes those before it."""

    CONFIG = 0
    HOST = 1
    SERVER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of a job.

    Attributes:
        run: Looks at a job on this host and gives what it found: problems, or that all is well.
        needs: What it looks at.
        cheap: Whether it takes no process and no network, so that `status` can afford it.
        blocking: Whether a failure means that an installed job could not run.

    """

    run: Callable[[HostContext], Iterable[Problem | None]]
    needs: Needs
    cheap: bool = False
    blocking: bool = False


def examine(
    context: HostContext, *, needs: Needs = Needs.SERVER, cheap: bool = False, blocking: bool = False
) -> Iterator[Problem]:
    """Run checks of one job.

    Args:
        context: The job and the host.
        needs: The most that a check may need.
        cheap: Only those that are cheap.
        blocking: Only those whose failures block an installation.

    Yields:
        What was found, that all is well included. What says nothing after an earlier failure is left out.
    """
    for check in CHECKS:
        if check.needs <= needs and check.cheap >= cheap and check.blocking >= blocking:
            yield from (found for found in check.run(context) if found is not None)


def _connection(context: HostContext) -> Iterator[Problem]:
    """How the key travels, and what the server says to it."""
    distrust = check_trust(context.job)
    if isinstance(context.key, Secret) and distrust is None and context.app is None:
        text = msg("not asked: the servers of the other jobs used up the time")
        yield warn("server", text, command("dify-job", "doctor", context.job.name))
    yield distrust or check_transport(context.job, context.app, context.now)
    if context.app is not None:
        yield from check_server(context.job, context.app)


def _data(context: HostContext) -> Iterator[Problem | None]:
    """What goes in and what comes out."""
    known = context.app if context.app is not None and obstacle(context.app) is None else None
    if known is not None and isinstance(context.key, Secret):
        form_cache.store_names(context.state, context.job, context.key, known.parameters)
    templates = Templates(context.job, partial(_last_success, context))
    inputs, files = _rendered(templates.inputs), _rendered(templates.files)
    yield check_inputs(context.job, inputs, {} if isinstance(files, JobError) else files, known)
    if context.account is not None:
        yield check_files(context.job, files, context.account, known)


def _user(context: HostContext) -> Iterator[Problem | None]:
    """Whether the user that the job runs as is there, and can write what it writes."""
    account = context.account
    if account is not None:
        yield check_output(context, account)
        return
    run_as = context.job.run_as
    add = command("useradd", "--system", str(run_as), needs_root=True)
    place = place_of(context.job, "run_as")
    yield fail(
        "run-as",
        msg("run_as names {run_as}, who is no user here", run_as=run_as),
        msg("{add} (or edit run_as in {place})", add=add, place=place),
    )


def _scheduler(context: HostContext) -> Iterator[Problem]:
    """What starts the job."""
    yield (backend := check_backend(context))
    yield from check_service(context, alive=backend.severity is Severity.OK)


def _missed_runs(context: HostContext) -> Iterator[Problem | None]:
    if context.one is not None:
        yield check_missed_runs(context.one, context.job, context.history, context.now)


CHECKS = (
    Check(run=lambda context: (check_config(context.config),), needs=Needs.CONFIG, cheap=True),
    Check(run=lambda context: (check_key(context),), needs=Needs.HOST, cheap=True, blocking=True),
    Check(run=_connection, needs=Needs.SERVER),
    Check(run=_data, needs=Needs.SERVER),
    Check(run=_user, needs=Needs.HOST, cheap=True, blocking=True),
    Check(run=lambda context: (check_notify(context),), needs=Needs.HOST),
    Check(run=lambda context: (check_schedule(context),), needs=Needs.CONFIG, cheap=True, blocking=True),
    Check(run=lambda context: (check_zone(context.job, context.now),), needs=Needs.HOST, cheap=True),
    Check(run=_scheduler, needs=Needs.HOST),
    Check(run=lambda context: (check_http_socket(context),), needs=Needs.HOST),
    Check(run=lambda context: (check_clock(context.app),), needs=Needs.SERVER),
    Check(run=lambda context: (check_journal(context),), needs=Needs.HOST),
    Check(run=lambda context: (check_state(context),), needs=Needs.HOST, cheap=True),
    Check(run=lambda context: (check_disk(context),), needs=Needs.HOST, cheap=True),
    Check(run=check_last_run, needs=Needs.HOST, cheap=True),
    Check(run=_missed_runs, needs=Needs.HOST, cheap=True),
)


def _rendered(render: Callable[[], _T]) -> _T | JobError:
    try:
        return render()
    except JobError as error:
        return error


def _last_success(context: HostContext) -> datetime | None:
    last = read_last(context.state) or {}
    text = last.get("call_time") if last.get("outcome") == "succeeded" else None
    return datetime.fromisoformat(text) if isinstance(text, str) else None
