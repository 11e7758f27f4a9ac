"""All checks of one job, in the order in which a run would meet the obstacles."""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import TypeVar

from ..dify.app_info import AppProbe
from ..messages.errors import JobError
from ..messages.message import msg
from ..messages.problem import Problem, Severity, command
from ..run.inputs import Templates
from ..run.preflight import obstacle
from ..state.history import read_history
from ..state.reader import read_last
from .context import CheckContext
from .finding import fail, place_of, warn
from .http_socket import check_http_socket
from .inputs import check_files, check_inputs
from .last_run import check_last_run
from .machine import check_clock, check_disk, check_journal, check_state
from .missed_runs import check_missed_runs
from .server import Servers, check_server, check_transport, check_trust
from .service import check_backend, check_service
from .settings import check_config, check_key, check_notify, check_output, check_schedule, check_zone

_T = TypeVar("_T")


def examine(case: CheckContext, servers: Servers) -> Iterator[Problem]:
    """The lines of one job; a line that says nothing because of an earlier failure is left out."""
    yield check_config(case.config)
    key_check, key = check_key(case)
    yield key_check
    seen = None
    distrust = check_trust(case.job)
    if key is not None and distrust is None:
        seen = servers.look(case.job, key)
        if seen is None:
            told = msg("not asked: the servers of the other jobs used up the time")
            yield warn("server", told, msg("dify-job doctor {name}", name=case.job.name))
    yield distrust or check_transport(case.job, seen, case.now)
    if seen is not None:
        yield from check_server(case.job, seen)
    yield from _check_data(case, seen)
    yield check_schedule(case)
    yield check_zone(case.job, case.now)
    yield (backend := check_backend(case))
    yield from check_service(case, alive=backend.severity is Severity.OK)
    yield from _shown(check_http_socket(case))
    yield check_clock(seen)
    yield check_journal(case)
    yield check_state(case)
    yield check_disk(case)
    yield from check_last_run(case)
    yield from _shown(_check_missed_runs(case))


def _check_missed_runs(case: CheckContext) -> Problem | None:
    try:
        past = read_history(case.state)
    except OSError:
        return None
    return check_missed_runs(case.one, case.job, past, case.now) if case.one is not None else None


def _check_data(case: CheckContext, seen: AppProbe | None) -> Iterator[Problem]:
    """What goes in and what comes out."""
    known = seen if seen is not None and obstacle(seen) is None else None
    templates = Templates(case.job, partial(_last_success, case))
    inputs, files = _rendered(templates.inputs), _rendered(templates.files)
    yield from _shown(check_inputs(case.job, inputs, {} if isinstance(files, JobError) else files, known))
    account = case.account
    if account is None:
        run_as = case.job.run_as
        told = msg("run_as names {run_as}, who is no user here", run_as=run_as)
        other = msg("or edit run_as in {place_of}", place_of=place_of(case.job, "run_as"))
        yield fail(
            "run-as",
            told,
            msg(
                "{by_root} ({other})",
                by_root=command("useradd", "--system", str(run_as), needs_root=True),
                other=other,
            ),
        )
    else:
        yield from _shown(check_files(case.job, files, account, known))
        yield from _shown(check_output(case, account))
    yield from _shown(check_notify(case))


def _shown(check: Problem | None) -> Iterator[Problem]:
    if check is not None:
        yield check


def _rendered(render: Callable[[], _T]) -> _T | JobError:
    try:
        return render()
    except JobError as error:
        return error


def _last_success(case: CheckContext) -> datetime | None:
    last = read_last(case.state) or {}
    told = last.get("call_time") if last.get("outcome") == "succeeded" else None
    return datetime.fromisoformat(told) if isinstance(told, str) else None
