"""A job from its configuration to its Result: what the command and Python programs both call.

No printing, no exit, no signal handlers, no logging set-up: the log is silent until a caller gives it a face.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import log
from ..config.loader import load_config, pick
from ..config.model import Job, Metrics, Notify, Secret
from ..config.permissions import check_ca_file
from ..config.readers import host_in_the_open
from ..config.secrets import read_headers, read_key
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..state.store import JobState, LockHeld, before_the_run, cannot_write
from ..system.values import replace
from .event_queue import Interrupted
from .inputs import Templates, secrets_in
from .job_state import elsewhere_note, state_directory
from .observers import LogObserver, Observers, RunObserver
from .result import Result
from .run_context import RunContext, fault, no_memory, not_started, refusal
from .run_spec import RunSpec

if TYPE_CHECKING:
    from datetime import datetime

    from .files import InputFile
    from .notifications import Notifications
    from .output_path import OutputPath


def run_workflow(
    job: Job | str | None = None,
    inputs: Mapping[str, Any] | None = None,
    *,
    config: str | Path | None = None,
    env_file: str | Path | None = None,
    start: RunContext | None = None,
    **settings: Any,
) -> Result:
    """Run a job's workflow once and tell how it ended; only a fault of dify-job itself is raised.

    KeyboardInterrupt, or what another signal handler raises, stops the run in Dify, too, and is raised again
    once that was tried; a second one is at once.

    job: its name, None for the only one, or a job already read. inputs: over those of the job. config and
    env_file: as --config and --env-file. settings: keys of a job for this run alone, written as in the config
    file: timeout="5min", end_user="me".
    """
    start = start or RunContext()
    if not isinstance(job, Job):
        name = job
        try:
            found = load_config(_path(config), _path(env_file), flags=settings)
            job, start = pick(found, name), replace(start, config_path=found.path)
        except JobError as error:
            return refusal(name or "", error, start)
    workflow = _Workflow(job, inputs or {}, start)
    with contextlib.closing(workflow):
        result = workflow.run()
    if start.inbox.interruption is not None:
        raise start.inbox.interruption
    return result


def tell(job: Job, result: Result, start: RunContext) -> None:
    """Tell those whom the job names of a result that came about before run_workflow was called."""
    telling = _telling(job, start)
    if telling is not None:
        telling.ends(result, state_directory(job, start.config_path), start.inbox)


class _Workflow:
    def __init__(self, job: Job, inputs: Mapping[str, Any], start: RunContext) -> None:
        self._job = job
        self._inputs = inputs
        self._start = start
        self._state: JobState | None = None
        self._telling = _telling(job, start)
        announced = () if self._telling is None else (_Announced(self._telling),)
        self._observers = Observers((LogObserver(job), *announced, *start.observers))
        self._began = start.began
        self._templates = Templates(
            job, self._last_success, until=lambda: self._began + job.timeout, pause=self._pause
        )

    def run(self) -> Result:
        try:
            result = self._result()
        except JobError as error:
            result = refusal(self._job.name, error, self._start)
            self._keep(result)
        except Interrupted as stopped:
            message = msg("cancelled; no run had been started")
            signum = stopped.signum
            result = not_started(self._job.name, self._start, Outcome.CANCELLED, message, signum=signum)
            self._keep(result)
        except MemoryError:
            result = refusal(self._job.name, no_memory(), self._start)
            self._keep(result)
        except Exception as error:
            result = fault(self._job.name, error, self._start)
            self._keep(result)
            self._tell(result)
            raise
        self._observers.finished(result)
        self._tell(result)
        return result

    def close(self) -> None:
        if self._state is not None:
            self._state.close()
            self._state = None

    # Where those are told who want to know; nothing here may change the result

    def _prepare(self, request: RunSpec) -> RunSpec:
        """It is this run's turn, and nothing was sent yet; what was waited for may be the last success."""
        if self._templates.renew():
            request = replace(request, inputs=self._rendered(), files=self._files())
        self._import_ahead()
        return request

    def _tell(self, result: Result) -> None:
        """The result stands, is kept and is with the caller."""
        if self._state is not None and (self._state.directory / "wish.json").exists():
            from ..state import request_file  # noqa: PLC0415 - where somebody waits for the answer

            with contextlib.suppress(OSError):
                request_file.answer(self._state, result.as_json())
        if self._telling is None:
            return
        directory = self._state.directory if self._state is not None else None
        self.close()  # the next run need not wait until all are told
        self._telling.ends(result, directory, self._start.inbox)

    # The run

    def _result(self) -> Result:
        job, start = self._job, self._start
        key, headers = read_key(job), read_headers(job)
        check_ca_file(job.ca_file)
        _warn_of_plain_http(job)
        self._open_state()
        with before_the_run(self._state):
            why = start.held_back(job, self._state)
        if why is not None:
            return not_started(job.name, start, Outcome.SKIPPED, msg("skipped: {why}", why=why))
        if start.jitter:
            log.info(msg("waiting for the job's jitter"), seconds=round(start.jitter))
            if (cancel := start.inbox.pause(time.monotonic() + start.jitter)) is not None:
                text = msg("cancelled before it began")
                return not_started(job.name, start, Outcome.CANCELLED, text, signum=cancel.signum)
            self._began = time.monotonic()
        request = self._request(key, headers, self._began)
        target = self._target()
        from .engine import run_job  # noqa: PLC0415 - a run that is held back needs no HTTP client

        result = run_job(
            request, self._state, inbox=start.inbox, observer=self._observers, prepare=self._prepare
        )
        if target is not None and result.success and result.outcome is not Outcome.SKIPPED:
            from .output import deliver  # noqa: PLC0415 - for jobs with an output file

            deliver(target, result, request, start.inbox, self._state)
        return result

    def _request(self, key: Secret, headers: Mapping[str, Secret], began: float) -> RunSpec:
        job, start = self._job, self._start
        return RunSpec(
            job=job,
            key=key,
            headers=headers,
            inputs=self._rendered(),
            files=self._files(),
            began=began,
            wait_network=job.wait_network if job.wait_network is not None else start.wait_network,
            run=_checked_run_id(job, start),
            lost=start.lost,
            limits=start.limits,
        )

    def _target(self) -> OutputPath | None:
        """The place of the job's output file, which can be written. Raises JobError (cannot-write)."""
        if (name := self._templates.output_file()) is None:
            return None
        from .output import check_writable  # noqa: PLC0415 - for jobs with an output file
        from .output_path import place_of  # noqa: PLC0415

        target = place_of(self._job, name, self._state.directory if self._state is not None else None)
        check_writable(target)
        return target

    def _rendered(self) -> Mapping[str, Any]:
        inputs = self._templates.inputs() | dict(self._inputs)
        for secret in secrets_in(inputs):
            log.hide(secret)
        return inputs

    def _last_success(self) -> datetime | None:
        with before_the_run(self._state):
            return self._state.last_success() if self._state is not None else None

    def _files(self) -> Mapping[str, tuple[InputFile, ...]]:
        if not self._job.files:
            return {}
        from .files import look_at  # noqa: PLC0415 - for jobs with files

        return look_at(self._templates.files())

    def _pause(self, seconds: float) -> None:
        """Wait for what is rendered. Raises Interrupted at a signal."""
        if (cancel := self._start.inbox.pause(time.monotonic() + seconds)) is not None:
            raise Interrupted(cancel.signum)

    def _import_ahead(self) -> None:
        """Import what is needed once the run has ended: an upgrade may replace our files meanwhile."""
        job, state = self._job, self._state
        needed = {
            "run.assertions": bool(job.expect),
            "system.subprocesses": any(one.regex is not None for one in job.expect.values()),
            "run.output": job.output.file is not None,
            "run.downloads": job.output.downloads is not None,
            "run.metrics": job.metrics.textfile is not None,
            "state.request_file": state is not None and (state.directory / "wish.json").exists(),
        }
        for module in (module for module, is_needed in needed.items() if is_needed):
            import_module(f"dify_job.{module}")

    def _open_state(self) -> None:
        if self._job.state == "none":
            return
        directory = state_directory(self._job, self._start.config_path)
        if (note := elsewhere_note(self._job, self._start.config_path)) is not None:
            log.warning(note)
        try:
            self._state = JobState(directory)
        except OSError as error:
            raise cannot_write(directory, error) from None

    def _keep(self, result: Result) -> None:
        """Keep what ended before its turn as well: to a timer it is a failure like any other."""
        with contextlib.suppress(OSError, JobError):
            if self._state is None:
                self._open_state()
            if self._state is None:
                return
            try:
                self._state.lock()
            except LockHeld:
                self._state.remember(result.as_record())
            else:
                self._state.finish(result.as_record())


class _Announced(RunObserver):
    """Notifies of the start; the end is notified of when the lock is free."""

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    def started(self) -> None:
        self._notifications.begins()


def _checked_run_id(job: Job, start: RunContext) -> str:
    run_id = start.run_id
    if start.lost and not run_id:
        raise JobError(
            Outcome.USAGE,
            msg("--lost needs --run-id, by which the run is found"),
            msg("name it, or leave both out"),
        )
    if run_id and job.end_user is not None:
        raise JobError(
            Outcome.USAGE,
            msg(
                "job {name} has an end_user of its own, so no --run-id can make its run found again",
                name=job.name,
            ),
            msg("take end_user out of the job, or leave --run-id out"),
        )
    if run_id and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", run_id):
        raise JobError(
            Outcome.USAGE,
            msg("{run_id!r} is not a run id", run_id=run_id),
            msg("use letters, digits and . _ : / -, at most 128"),
        )
    return run_id


def _telling(job: Job, start: RunContext) -> Notifications | None:
    if job.notify == Notify() and job.metrics == Metrics():
        return None
    from .notifications import Notifications  # noqa: PLC0415 - start-up time; few jobs have anybody to tell

    return Notifications(job, by_unit=start.by_unit)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _warn_of_plain_http(job: Job) -> None:
    if (host := host_in_the_open(job.base_url)) is not None:
        log.warning(
            msg(
                "the key goes to {host} unencrypted; set base_url to https:// if the server has it", host=host
            )
        )
