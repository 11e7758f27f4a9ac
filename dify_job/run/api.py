"""Run a job from its configuration to its Result, for the command and for Python programs.

This package does not print, exit, install signal handlers or set up logging.
"""

from __future__ import annotations

import contextlib
import contextvars
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import log
from ..config.loader import load_config, pick
from ..config.model import Job, Metrics, Notify
from ..config.permissions import check_ca_file
from ..config.readers import unencrypted_host
from ..config.secrets import read_headers, read_key
from ..dify.event_queue import LONGEST_WAIT, EventQueue, InterruptedRunError
from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import msg
from ..state import request_file
from ..state.store import JobState, LockHeldError, cannot_write, errors_as_cannot_write
from ..system import subprocesses
from ..system.lazy_import import execute
from . import app_form, assertions, downloads, engine, files, input_upload, notifications, output
from .inputs import Templates, secrets_in
from .observers import LogObserver, Observers
from .outcome import NoRunError, RunOutcome, cancelled
from .result import Result, job_error_of, not_started
from .run_spec import RunContext, RunSpec
from .state_directory import elsewhere_note, state_directory

if TYPE_CHECKING:
    from datetime import datetime

_FORM_TIMEOUT = 5.0  # seconds to fetch the form if the stored form lacks an input


def run_workflow(
    job: Job | str | None = None,
    inputs: Mapping[str, Any] | None = None,
    *,
    config: str | Path | None = None,
    env_file: str | Path | None = None,
    context: RunContext | None = None,
    **settings: Any,
) -> Result:
    """Run a job's workflow once and return its result; only internal errors are raised.

    KeyboardInterrupt, or the exception of another signal handler, stops the run in Dify and is then raised
    again; a second one is raised at once.

    Args:
        job: Its name, None for the only one, or a job already read.
        inputs: Inputs that override those of the job.
        config: The value of --config.
        env_file: The value of --env-file.
        context: The context of the run.
        **settings: Settings of the job for this run, in the form of a configuration file: timeout="5min",
            end_user="me".
    """
    context = context or RunContext(time.monotonic(), EventQueue())
    if not isinstance(job, Job):
        name = job
        try:
            found = load_config(_path(config), _path(env_file), flags=settings)
            job, context = pick(found, name), context._replace(config_path=found.path)
        except JobError as error:
            return not_started(name or "", error, context.began)
    run = partial(run_job, job, inputs or {}, context)
    if threading.current_thread() is not threading.main_thread():
        return run()  # no signal handler interrupts it
    return _uninterrupted(run, context.events)


def run_job(job: Job, inputs: Mapping[str, Any], context: RunContext) -> Result:
    """Run a job in this thread, whose signal handlers must not raise.

    Args:
        job: The job.
        inputs: Inputs that override those of the job.
        context: The context of the run.
    """
    with contextlib.closing(_Workflow(job, inputs, context)) as workflow:
        return workflow.run()


def _uninterrupted(run: Callable[[], Result], events: EventQueue) -> Result:
    """Run in another thread, because the exception of a signal handler can end any statement of this one.

    Thread.join is not used: if a signal interrupts it, Python 3.11 takes the thread for ended.
    """
    ends: list[Result | BaseException] = []
    running = threading.Lock()

    def work() -> None:
        try:
            ends.append(run())
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            ends.append(error)
        finally:
            running.release()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
    try:
        running.acquire()
        try:
            thread.start()
        except RuntimeError:  # no thread can be started, as the result says
            return run()
        while not ends:
            running.acquire(timeout=LONGEST_WAIT)
    except BaseException as error:
        events.cancel(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
        try:
            while thread.ident is not None and not ends:
                running.acquire(timeout=LONGEST_WAIT)
        except BaseException:
            events.cancel(signal.SIGTERM)
            raise
        raise
    if isinstance(ends[0], BaseException):
        raise ends[0]
    return ends[0]


def notify_of(job: Job, result: Result, context: RunContext) -> None:
    """Send the notifications of a run that ended before run_workflow was called.

    Args:
        job: The job.
        result: The result.
        context: The context of the run.
    """
    if (notifier := _notifier(job, context)) is not None:
        notifier.notify(result, state_directory(job, context.config_path), context.events)


class _Workflow:
    def __init__(self, job: Job, inputs: Mapping[str, Any], context: RunContext) -> None:
        self._job = job
        self._inputs = inputs
        self._context = context
        self._state: JobState | None = None
        self._notifier = _notifier(job, context)
        # It observes the start; _notify reports the end after the lock is released.
        notifier = () if self._notifier is None else (self._notifier,)
        self._observers = Observers((LogObserver(job), *notifier, *context.observers))
        self._templates = Templates(
            job, self._last_success, until=lambda: self._context.began + job.timeout, pause=self._pause
        )

    def run(self) -> Result:
        try:
            result = self._result()
        except JobError as error:
            result = self._store_not_started(error)
        except InterruptedRunError as interrupted:
            result = self._store_not_started(cancelled(interrupted.signum))
        except Exception as error:
            result = self._store_not_started(job_error_of(error))
            if result.outcome is Outcome.BUG:
                self._notify(result)
                raise
        self._observers.finished(result)
        self._notify(result)
        return result

    def close(self) -> None:
        if self._state is not None:
            self._state.close()
            self._state = None

    # The run

    def _result(self) -> Result:
        job, context = self._job, self._context
        key, headers = read_key(job), read_headers(job)
        check_ca_file(job.ca_file)
        if (host := unencrypted_host(job.base_url)) is not None:
            log.warning(
                msg(
                    "the API key is sent to {host} without encryption; set base_url to an "
                    "https:// address if possible",
                    host=host,
                )
            )
        self._open_state()
        with errors_as_cannot_write(self._state):
            why = context.skip_reason(job, self._state)
        if why is not None:
            skipped = RunOutcome(Outcome.SKIPPED, msg("the run was skipped: {why}", why=why))
            return not_started(job.name, skipped, context.began)
        if context.jitter:
            log.info(msg("waiting for the job's random delay (jitter)"), seconds=round(context.jitter))
            self._pause(context.jitter)
            context = self._context = context._replace(began=time.monotonic())
        spec = RunSpec(
            job=job,
            key=key,
            headers=headers,
            inputs=self._rendered(),
            files=self._files(),
            context=context,
            run=_checked_run_id(job, context),
        )
        self._check_names(spec)
        target = None
        if (name := self._templates.output_file()) is not None:
            target = output.output_path(job, name, self._state.directory if self._state is not None else None)
            output.check_writable(target)
        runner = engine.Engine(spec, self._state, self._observers)
        outcome = runner.wait_for_turn()
        if outcome is None:
            if self._templates.renew():  # the run that blocked this one may have succeeded
                spec = spec._replace(inputs=self._rendered(), files=self._files())
            self._import_end_modules()
            outcome = runner.start_and_follow(spec.inputs, spec.files)
        result = runner.conclude(outcome)
        if target is not None and result.success and result.outcome is not Outcome.SKIPPED:
            output.write_output(target, result, job.output)
            if job.output.downloads is not None and result.run is not None:
                downloader = downloads.Downloader(spec, job.output.downloads, self._state)
                downloader.save_files(target, result.run)
        return result

    def _check_names(self, spec: RunSpec) -> None:
        """Reject an input of the caller that the app does not have, if its form was stored within a day.

        For a name that the stored form lacks, the form is fetched again, because the app may have changed.
        """
        if not self._inputs or self._state is None or self._job.workflow_id is not None:
            return
        directory = self._state.directory
        names = app_form.stored_names(directory, self._job, spec.key)
        if names is None or self._inputs.keys() <= set(names):
            return
        uploader = input_upload.InputUploader(spec, engine.connect(spec))
        with contextlib.suppress(NoRunError):  # the run itself reports the error
            form = uploader.form(time.monotonic() + _FORM_TIMEOUT)
            app_form.store_names(directory, self._job, spec.key, form)
            app_form.check_names(self._inputs, form)

    def _rendered(self) -> Mapping[str, Any]:
        inputs = self._templates.inputs() | dict(self._inputs)
        for secret in secrets_in(inputs):
            log.add_secret(secret)
        return inputs

    def _files(self) -> Mapping[str, tuple[files.InputFile, ...]]:
        return files.find_files(self._templates.files()) if self._job.files else {}

    def _last_success(self) -> datetime | None:
        with errors_as_cannot_write(self._state):
            return self._state.last_success() if self._state is not None else None

    def _pause(self, seconds: float) -> None:
        """Wait. Raises InterruptedRunError at a signal."""
        self._context.events.pause(time.monotonic() + seconds)

    def _import_end_modules(self) -> None:
        """Import the modules for the end of the run, because an upgrade may replace them during the run."""
        job = self._job
        needed = {
            assertions: bool(job.expect),
            subprocesses: any(one.regex is not None for one in job.expect.values()),
            output: job.output.file is not None,
            downloads: job.output.downloads is not None,
            request_file: self._has_request(),
        }
        for module in (module for module, is_needed in needed.items() if is_needed):
            execute(module)

    def _open_state(self) -> None:
        if self._job.state == "none":
            return
        directory = state_directory(self._job, self._context.config_path)
        if (note := elsewhere_note(self._job.name, directory)) is not None:
            log.warning(note)
        try:
            self._state = JobState(directory)
        except OSError as error:
            raise cannot_write(directory, error) from None

    # After the result, which nothing here may change

    def _store_not_started(self, why: JobError | RunOutcome) -> Result:
        """Store also a result without a run, because for a timer it is a failure like any other."""
        result = not_started(self._job.name, why, self._context.began)
        record = result.record.as_json()
        with contextlib.suppress(OSError, JobError):
            if self._state is None:
                self._open_state()
            if self._state is not None:
                try:
                    self._state.lock()
                except LockHeldError:
                    self._state.append_history(record)
                else:
                    self._state.record_result(record)
        return result

    def _has_request(self) -> bool:
        return self._state is not None and (self._state.directory / request_file.NAME).exists()

    def _notify(self, result: Result) -> None:
        """Notify of the result, which is final, stored and known to the caller."""
        if self._state is not None and self._has_request():
            with contextlib.suppress(OSError):
                request_file.write_result(self._state, result.as_json())
        if self._notifier is None:
            return
        directory = self._state.directory if self._state is not None else None
        self.close()  # the next run must not wait for notifications
        self._notifier.notify(result, directory, self._context.events)


def _notifier(job: Job, context: RunContext) -> notifications.Notifier | None:
    if job.notify == Notify() and job.metrics == Metrics():
        return None
    return notifications.Notifier(job, by_unit=context.by_unit, limits=context.limits)


def _checked_run_id(job: Job, context: RunContext) -> str:
    run_id = context.run_id
    if context.lost and not run_id:
        raise JobError(
            Outcome.USAGE,
            msg("--lost needs --run-id, because dify-job finds the lost run by its ID"),
            msg("add --run-id, or remove --lost"),
        )
    if run_id and job.end_user is not None:
        raise JobError(
            Outcome.USAGE,
            msg(
                "--run-id needs a different end_user for each run, but job {name} sets end_user",
                name=job.name,
            ),
            msg("remove end_user from the job, or remove --run-id"),
        )
    if run_id and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", run_id):
        raise JobError(
            Outcome.USAGE,
            msg("--run-id {run_id!r} is not a valid run ID", run_id=run_id),
            msg("use at most 128 letters, digits and . _ : / -"),
        )
    return run_id


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
