"""The original system's four calls, for the jobs that the unit names and no others."""

import json
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import join, msg
from ..report.page import render_page
from ..report.status import host_status
from ..schedulers.detect import visible
from . import run_unit, service
from .http_request import HttpError, Request
from .openapi import DOCS, openapi
from .server import Answer, as_json

_STATUSES = {Outcome.USAGE: 422, Outcome.REJECTED: 422, Outcome.BUSY: 409}
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
_HOURS = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True)
class Routes:
    """The calls. jobs: the jobs that can be started, stopped and queried. config: their configuration."""

    jobs: Sequence[str]
    config: Path

    def answer(self, request: Request, body: bytes) -> Answer:
        """Answer a request.

        Args:
            request: Its head.
            body: Its body.

        Raises:
            HttpError: There is no such path, method, job or parameter, or the call failed.
        """
        routes: dict[str, tuple[str, Callable[[Request], Answer]]] = {
            "/api/dify/call": (
                "POST",
                lambda request: as_json(asdict(run_unit.call(self._job(request), self.config))),
            ),
            "/api/dify/scheduler/start": ("POST", self._start),
            "/api/dify/scheduler/stop": (
                "POST",
                lambda request: as_json(
                    {"success": True} | service.stop_scheduler(self._job(request), config=self.config)
                ),
            ),
            "/api/dify/scheduler/status": (
                "GET",
                lambda request: as_json(service.scheduler_status(self._job(request), config=self.config)),
            ),
            "/": ("GET", self._page),
            "/openapi.json": ("GET", lambda _: as_json(openapi(self.jobs))),
            "/docs": ("GET", lambda _: Answer(200, DOCS, "text/html; charset=utf-8")),
        }
        if request.path not in routes:
            raise HttpError(404, msg("this path does not exist; GET /docs lists all paths"))
        method, handle = routes[request.path]
        if request.method != method:
            raise HttpError(405, msg("this path accepts only {method}", method=method), allow=method)
        _check_no_body(body)
        try:
            return handle(request)
        except JobError as error:
            hint = f"; {error.hint}" if error.hint else ""
            raise HttpError(_STATUSES.get(error.outcome, 500), error.message + hint) from None

    def _page(self, _request: Request) -> Answer:
        """The overview of these jobs."""
        status = host_status(visible("auto", None), self.jobs, config_path=self.config)
        page = render_page(status, host=socket.gethostname()).encode(errors="backslashreplace")
        return Answer(200, page, "text/html; charset=utf-8", {"Content-Security-Policy": _PAGE_POLICY})

    def _start(self, request: Request) -> Answer:
        hours = request.query.get("interval_hours", "1")
        if not _HOURS.fullmatch(hours):
            raise HttpError(422, msg("interval_hours must be a whole number of at least 1"))
        job = self._job(request, "interval_hours")
        return as_json({"success": True} | service.start_scheduler(int(hours), job, config=self.config))

    def _job(self, request: Request, *others: str) -> str:
        """Return the job of ?job=, or the only job. An unknown parameter is an error."""
        unknown = request.query.keys() - {"job", *others}
        if unknown:
            raise HttpError(
                422, msg("this path has no query parameter {parameter!r}", parameter=min(unknown))
            )
        name = request.query.get("job") or (self.jobs[0] if len(self.jobs) == 1 else None)
        if name is None:
            raise HttpError(
                422,
                msg(
                    "the query parameter job is missing; the names of the jobs are {jobs}",
                    jobs=join(", ", self.jobs),
                ),
            )
        if name not in self.jobs:
            raise HttpError(404, msg("the HTTP interface does not serve this job"))
        return name


def _check_no_body(body: bytes) -> None:
    """Reject a body: the inputs come from the configuration, so a body would have no effect."""
    try:
        empty = not body.strip() or json.loads(body) in ({}, None)
    except (ValueError, RecursionError):
        empty = False
    if not empty:
        raise HttpError(
            422, msg("this request must have no body; the inputs come from the job's configuration")
        )
