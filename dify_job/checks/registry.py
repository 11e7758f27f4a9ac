"""All checks, in the order in which a run meets the problems, and the functions that run them."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..config.loader import load_config, pick_usable
from ..config.managed import scope_config
from ..config.model import Config, Job
from ..config.schema import SCHEDULE_KINDS
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..schedulers import access
from ..schedulers.backend import Backend
from ..schedulers.detect import find_jobs, hidden_jobs_error, visible
from ..schedulers.installation import PreparedJob
from ..schedulers.model import Scope
from .context import HostContext, store_forms
from .finding import Finding, Severity, fail, warn
from .http_socket import check_http_socket
from .inputs import (
    check_file_access,
    check_file_names,
    check_files,
    check_input_templates,
    check_inputs,
    check_required_inputs,
)
from .machine import check_clock, check_disk, check_journal, check_state, check_state_links
from .past_runs import check_in_flight, check_last_run, check_missed_runs
from .probes import AppProbes
from .program import check_bytecode, check_environment, check_interpreter, check_program
from .scheduler import (
    check_backend,
    check_enabled,
    check_installed_files,
    check_linger,
    check_mail,
    check_overrides,
    check_sync,
    check_zone_of_lines,
)
from .server import (
    check_access,
    check_app,
    check_ca,
    check_headers,
    check_server,
    check_transport,
    edit_ca_file,
)
from .settings import (
    check_apprise,
    check_config,
    check_directory,
    check_key,
    check_notify,
    check_output,
    check_output_template,
    check_records,
    check_run_as,
    check_schedule,
    check_times,
    check_zone,
    edit_schedule,
    store_key_command,
)
from .user_access import check_user_access


class Needs(IntEnum):
    """What a check needs; each level includes the levels before it."""

    CONFIG = 0
    """The configuration and the files that it names."""
    INSTALLED = 1
    """What is installed, whether the configuration can be read or not."""
    HOST = 2
    SERVER = 3


class Check(NamedTuple):
    """One check of a job. After a problem, later checks with the same name are skipped.

    Args:
        name: The name of its findings; stable, for programs.
        run: Returns a finding or None. Raises the JobError that a run would raise.
        needs: What the check needs.
        after: Names of checks; if one of them failed, this check is skipped.
        settings: The settings that it checks; the first is the one to edit.
        installed: It applies to installed jobs only.
        fix: Returns the fix for the error that it raises, if the error's hint is not enough.
        blocking: `install` and `config validate` reject a job with this problem.
        overview: `status` and the overview page show its problems.
    """

    name: str
    run: Callable[[HostContext], Finding | None]
    needs: Needs = Needs.HOST
    after: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    installed: bool = False
    fix: Callable[[HostContext, JobError], str | None] | None = None
    blocking: bool = False
    overview: bool = False


_files_of_config = partial(Check, needs=Needs.CONFIG, blocking=True)
_edit_inputs, _edit_files = partial(HostContext.edit, key="inputs"), partial(HostContext.edit, key="files")
_installed = partial(Check, after=("units",), installed=True)

CHECKS = (
    Check("config", check_config, Needs.CONFIG),
    _files_of_config("key", check_key, settings=("api_key",), fix=store_key_command),
    _files_of_config("tls", check_ca, settings=("ca_file",), fix=edit_ca_file),
    _files_of_config("headers", check_headers, settings=("headers",)),
    Check("tls", check_transport, Needs.SERVER),
    Check("server", check_server, Needs.SERVER, after=("key", "tls", "headers")),
    Check("access", check_access, Needs.SERVER, after=("server",)),
    Check("app", check_app, Needs.SERVER, after=("server", "access")),
    _files_of_config("inputs", check_input_templates, settings=("inputs",), fix=_edit_inputs),
    _files_of_config("files", check_file_names, settings=("files",), fix=_edit_files),
    Check("inputs", check_required_inputs, Needs.SERVER, blocking=True),
    Check("inputs", check_inputs, Needs.SERVER, fix=_edit_inputs),
    Check("files", check_file_access, after=("run-as",), settings=("files",), blocking=True),
    Check("files", check_files, Needs.SERVER, fix=_edit_files),
    Check("run-as", check_run_as, settings=("run_as",), blocking=True),
    _files_of_config(
        "output", check_output_template, settings=("output",), fix=partial(HostContext.edit, key="output")
    ),
    _files_of_config("output", partial(check_directory, setting="output"), settings=("output",)),
    _files_of_config("output", partial(check_directory, setting="metrics"), settings=("metrics",)),
    _files_of_config("journal", partial(check_directory, setting="log_file"), settings=("log_file",)),
    Check("output", check_output, after=("run-as",), blocking=True),
    _files_of_config("notify", check_notify, settings=("notify",)),
    Check("notify", check_apprise),
    _files_of_config("schedule", check_times, settings=(*SCHEDULE_KINDS, "timezone"), fix=edit_schedule),
    Check("schedule", check_records, fix=edit_schedule, blocking=True),
    Check("schedule", check_schedule, fix=edit_schedule),
    _installed("zone", check_zone_of_lines, after=(), overview=True),
    Check("zone", check_zone),
    Check("backend", check_backend, Needs.INSTALLED, overview=True),
    Check("units", check_installed_files, Needs.INSTALLED, installed=True, overview=True),
    Check("units", check_sync),
    _installed("override", check_overrides, Needs.INSTALLED, overview=True),
    _installed("mail", check_mail),
    _installed("enabled", check_enabled, after=("units", "backend")),
    _installed("environment", check_environment),
    _installed("interpreter", check_program, Needs.INSTALLED, overview=True),
    Check("interpreter", check_interpreter, after=("units",), blocking=True),
    Check("reach", check_user_access, after=("units", "interpreter"), blocking=True),
    _installed("bytecode", check_bytecode, after=("units", "interpreter")),
    _installed("linger", check_linger),
    Check("http", check_http_socket),
    Check("clock", check_clock, Needs.SERVER),
    Check("journal", check_journal),
    Check("state", check_state_links, blocking=True),
    Check("state", check_state),
    Check("disk", check_disk),
    Check("last-run", check_last_run),
    Check("in-flight", check_in_flight),
    _installed("missed-runs", check_missed_runs, overview=True),
)


def run_checks(
    context: HostContext, needs: Needs = Needs.SERVER, choose: Callable[[Check], bool] = lambda _: True
) -> Iterator[Finding]:
    """Run checks of one job.

    Args:
        context: The job and the host.
        needs: The highest level that a check may need.
        choose: Selects checks.

    Yields:
        The results, success included. Checks that an earlier failure makes meaningless are skipped.
    """
    failed, judged = set[str](), set[str]()
    for check in CHECKS:
        if check.needs > needs or not choose(check) or check.name in judged or failed & {*check.after}:
            continue
        if check.installed and context.installed_job is None:
            continue
        if (finding := _run_check(check, context)) is not None:
            if finding.severity is not Severity.OK:
                judged.add(check.name)
            if finding.severity is Severity.FAIL or finding.outcome is not None:
                failed.add(check.name)
            yield finding._replace(name=check.name, settings=check.settings)


def _run_check(check: Check, context: HostContext) -> Finding | None:
    try:
        return check.run(context)
    except JobError as error:
        # A server or scheduler that does not answer is not the job's fault.
        if error.outcome is Outcome.UNREACHABLE:
            return warn(error.message, error.hint)
        fix = check.fix(context, error) if check.fix is not None else None
        return fail(error.message, fix or error.hint, error.outcome)


def check_jobs(
    job: str | None,
    *,
    config_path: Path | None,
    env_file: Path | None,
    backend: str = "auto",
    scope: str | None = None,
) -> list[tuple[str, Sequence[Finding]]]:
    """Return the findings of each job.

    Args:
        job: Its name; None for all.
        config_path: The path of the configuration; None for the default.
        env_file: The .env file, or None.
        backend: The scheduler of a job that is not installed.
        scope: `user`, `system`, or None for both.

    Raises:
        JobError: (usage) There is no such job.
    """
    now, probes = datetime.now(UTC), AppProbes()
    if scope == Scope.SYSTEM and os.geteuid() != 0 and not os.environ.get("DIFY_JOB_CONFIG"):
        # The default search would find the caller's own file first.
        config_path = config_path or scope_config(system=True)
    try:
        config = load_config(config_path, env_file, with_lines=True)
        jobs = pick_usable(config, [job])
    except JobError as error:
        if error.outcome is Outcome.USAGE:
            raise
        return [(job or "", [_of_config(error)])]
    installed, scheduler_error = find_jobs(visible(backend, scope), [one.name for one in jobs])
    asked = Scope(scope) if scope else None
    contexts = [
        HostContext.of(
            one,
            config,
            installed,
            now,
            backend=backend,
            scope=asked,
            probes=probes,
            scheduler_error=scheduler_error or hidden_jobs_error(config),
        )
        for one in jobs
    ]
    found: list[tuple[str, Sequence[Finding]]] = [
        (name, [_of_config(error)]) for name, error in config.broken.items() if job is None
    ]
    found += [(context.job.name, list(run_checks(context))) for context in contexts]
    store_forms(contexts)
    return found


def overview_problems(context: HostContext, *, configured: bool) -> Iterator[Finding]:
    """Yield the problems of a job that `status` and the overview page show.

    Args:
        context: The job and the host.
        configured: False if the job's configuration cannot be read.
    """
    kinds = set(Needs) if configured else {Needs.INSTALLED}
    for finding in run_checks(context, Needs.HOST, lambda check: check.overview and check.needs in kinds):
        if finding.severity is not Severity.OK:
            yield finding


def rejections(context: HostContext, needs: Needs) -> Iterator[JobError]:
    """Yield the reasons why install and config validate reject a job, with their lines in the configuration.

    Args:
        context: The job and the host.
        needs: The highest level that a check may need.
    """
    for finding in run_checks(context, needs, lambda check: check.blocking):
        if finding.outcome is not None:
            place = _location_in_config(context.job, finding.settings)
            message = finding.message
            if place:
                message = msg("{place}: {mistake}", place=place, mistake=message)
            yield JobError(finding.outcome, message, finding.fix)


def check_prepared(
    config: Config,
    scheduler: Backend,
    ready: Iterable[PreparedJob],
    now: datetime,
    probes: AppProbes | None = None,
) -> list[HostContext]:
    """Check jobs before they are installed, and return their contexts.

    Args:
        config: The configuration of the jobs.
        scheduler: The scheduler to install with.
        ready: The jobs.
        now: The current time, aware.
        probes: The probes of the apps; a server that does not answer is ignored. None: ask no server.

    Raises:
        JobError: The first mistake.
    """
    contexts = []
    with access.shared_probes():
        for each in ready:
            configured = config.jobs[each.job.name]  # with its key of now, not of after the installation
            job = configured._replace(
                run_as=each.job.run_as, schedule=each.job.schedule, origins=each.job.origins
            )
            context = HostContext(
                job=job,
                config=config,
                scheduler=scheduler,
                now=now,
                probes=probes or AppProbes(),
                prepared=each.spec,
            )
            for error in rejections(context, Needs.HOST if probes is None else Needs.SERVER):
                raise error
            contexts.append(context)
    return contexts


def _of_config(error: JobError) -> Finding:
    return fail(error.message, error.hint, error.outcome)._replace(name="config")


def _location_in_config(job: Job, settings: tuple[str, ...]) -> str:
    for setting in settings:
        origin = job.key.origin if setting == "api_key" else job.origins.get(setting)
        if origin is not None and origin.line:
            return str(origin)
    return ""
