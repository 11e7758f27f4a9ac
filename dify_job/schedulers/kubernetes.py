"""A job as a CronJob: manifests for Kubernetes 1.29 and newer. Pure.

The rules for exit codes are rendered from the table of exit codes.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path

from ..config.model import Job, ScheduleConfig
from ..config.schema import SETTINGS, job_document
from ..config.toml_writer import toml
from ..exit_codes import TABLE, Outcome, RetrySafety
from ..messages.errors import JobError
from ..messages.message import msg, text_of
from ..schedule import cron_expr, intervals, oncalendar_expr, schedule_lines, upcoming
from ..system.managed_files import fingerprint, with_header
from ..system.templates import render_file
from ..system.timespan import timespan_text
from .model import RenderedFile

KUSTOMIZATION_HEADER = "# Managed by dify-job"
_NOTE = "render overwrites edits; keep changes in a patch of kustomize (docs/kubernetes.md)"
_LAST_SUCCESS = re.compile(r"\{[{%][^}]*\blast_success\b")
_MAX_NAME = 50  # a CronJob allows 52; the pod of an indexed Job adds `-0` to a host name of 63
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_GRACE = 60  # seconds between the job's own deadline and the cluster's
_RETRIES = 2
_MIN_DEADLINE = 10  # the controller looks every 10 s (kubernetes.io, CronJob limitations)
_NO_CATCH_UP = 60  # seconds of permitted lateness without catch_up
_MAX_MISSED = 90  # the controller gives up after 100 missed starts
_MAX_CATCH_UP = 7 * 86400
_MAX_CONFIG = 1024 * 1024 - 4096  # bytes: the limit of a ConfigMap, minus its metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The target cluster.

    Attributes:
        image: A container image with dify-job on its PATH.
        namespace: The namespace of the objects; None for kubectl's default.
    """

    image: str
    namespace: str | None = None


def render_manifests(
    job: Job, cluster: Cluster, source: Path, now: datetime
) -> tuple[RenderedFile, RenderedFile]:
    """Return ConfigMap and CronJob of a job.

    Args:
        job: The job.
        cluster: The target cluster.
        source: The path of the configuration, for the header.
        now: The current time, aware.

    Raises:
        JobError: (rejected) A cluster cannot run the job; the hint names the alternative.
    """
    _check_cluster(cluster)
    _check_nothing_local(job)
    times = job.times
    try:
        line, zone = cron_line(times, job.name)
    except JobError as error:
        raise JobError(
            error.outcome, msg("job {name}: {message}", name=job.name, message=error.message), error.hint
        ) from None
    name = object_name(job.name)
    values: dict[str, object] = {
        "job": toml(job.name),
        "name": name,
        "secret": name,
        "namespace": cluster.namespace and toml(cluster.namespace),
        "image": toml(cluster.image),
        "schedule": toml(line),
        "schedule_in_words": toml(schedule_lines.schedule_text(times)),
        "zone": toml(zone),
        "starting_deadline": _starting_deadline(times, now),
        "active_deadline": math.ceil(job.timeout + times.jitter) + _GRACE,
        "retries": _RETRIES,
        "safe": [row.code for row in TABLE if row.retry is RetrySafety.SAFE],
        "safe_outcomes": ", ".join(row.outcome for row in TABLE if row.retry is RetrySafety.SAFE),
        "final": [row.code for row in TABLE if row.code and row.retry is not RetrySafety.SAFE],
        "run_id": job.end_user is None,
        "config": job_document(job, state="none", **_pod_schedule(times, zone)),
    }
    if len(str(values["config"]).encode()) > _MAX_CONFIG:
        raise _not_in_pod(
            job,
            msg("its inputs are larger than 1 MiB, the limit of a ConfigMap"),
            msg("put large inputs into files, and give the http or https addresses of the files"),
        )
    print_of = fingerprint(repr((times._asdict(), job.timeout, values["config"], cluster)))
    return (
        _manifest(job, f"{name}.configmap.yaml", "configmap", values, print_of, source),
        _manifest(job, f"{name}.cronjob.yaml", "cronjob", values, print_of, source),
    )


def object_name(job: str) -> str:
    """Return the unique name of a job's objects: RFC 1123, short enough for the pods."""
    name = f"dify-job-{job}"
    if _LABEL.fullmatch(name) and len(name) <= _MAX_NAME:
        return name
    digest = hashlib.sha256(job.encode()).hexdigest()[:8]
    return f"{name.replace('_', '-')[: _MAX_NAME - 9].rstrip('-')}-{digest}"


def cron_line(times: ScheduleConfig, job: str) -> tuple[str, str]:
    """Return the five fields of a CronJob and their time zone.

    Args:
        times: The job's schedule.
        job: The name of the job, which determines the minute of intervals.

    Raises:
        JobError: (rejected) One line cannot express the schedule; the hint names the nearest that it can.
    """
    if times.every is not None:
        return _interval(times.every, job), "Etc/UTC"
    if times.cron is not None:
        return _fields(times.cron), _explicit(times.timezone)
    zones, lines = set[str](), set[str]()
    for expression in times.calendar:
        zones.add(_explicit(oncalendar_expr.split_zone(expression)[1] or times.timezone))
        try:
            lines.add(cron_expr.cron_of(oncalendar_expr.without_steps(expression)))
        except ValueError as error:
            raise _rejected(msg("calendar = {expression!r}", expression=expression), text_of(error)) from None
    if len(zones) > 1:
        raise _rejected(
            msg("calendar = {list!r}", list=list(times.calendar)),
            msg("the lines use several time zones, but a CronJob has one"),
        )
    return _merged(lines, times), zones.pop()


def clock_warnings(times: ScheduleConfig, job: str, now: datetime) -> tuple[str, ...]:
    """Return the effects of the clock changes of the next year on a job in a cluster, a sentence each.

    Args:
        times: The job's schedule, which cron_line accepts.
        job: The name of the job.
        now: The start of the year, aware.
    """
    line, zone = cron_line(times, job)
    return upcoming.line_warnings(line, zone, now)


def _interval(every: float, job: str) -> str:
    nearest = intervals.nearest_exact(every, 60, lines=1)
    if nearest[0] != every:
        raise JobError(
            Outcome.REJECTED,
            msg(
                "the setting every is {every!r}, but the one cron line of a CronJob cannot express "
                "that interval",
                every=timespan_text(every),
            ),
            msg(
                "use one of the nearest intervals that a CronJob supports: {intervals}",
                intervals=intervals.interval_text(nearest),
            ),
        )
    [times] = intervals.times_of(nearest[0])
    shift = int(hashlib.sha256(job.encode()).hexdigest(), 16) % (min(nearest[0], 3600) // 60)
    minutes = tuple(minute + shift for minute in times.minutes)
    return cron_expr.each_day(replace(times, minutes=minutes))


def _fields(expression: str) -> str:
    cron = cron_expr.read_cron(expression)
    if len(cron.days) < 31 and len(cron.weekdays) < 7 and not cron.either_day:
        raise _rejected(
            msg("cron = {expression!r}", expression=expression),
            msg(
                "cron on this machine runs the job on days that match both day fields, but Kubernetes on "
                "days that match one of them"
            ),
        )
    days, weekdays = cron.days, cron.weekdays
    if cron.either_day and (len(days) == 31 or len(weekdays) == 7):  # `1-31` or Monday is every day
        days, weekdays = tuple(range(1, 32)), tuple(range(7))
    numbers = (cron.minutes, cron.hours, days, cron.months, weekdays)
    return " ".join(
        intervals.listed(each, size) for each, size in zip(numbers, (60, 24, 31, 12, 7), strict=True)
    )


def _merged(lines: set[str], times: ScheduleConfig) -> str:
    """Merge lines that differ in only one field to one line."""
    by_field = zip(*(line.split() for line in sorted(lines)), strict=True)
    columns = [list(dict.fromkeys(column)) for column in by_field]
    differ = [column for column in columns if len(column) > 1]
    if len(differ) > 1 or any("*" in column for column in differ):
        raise _rejected(
            msg("calendar = {list!r}", list=list(times.calendar)),
            msg("these times need more than one cron line"),
        )
    return " ".join(
        ",".join(map(str, sorted({int(number) for part in column for number in part.split(",")})))
        if len(column) > 1
        else column[0]
        for column in columns
    )


def _explicit(zone: str | None) -> str:
    if zone is None:
        raise _rejected(
            msg("the schedule"),
            msg("it has no time zone, and the time zone of the cluster can differ from this machine's"),
            msg('set timezone in the job, such as timezone = "Asia/Shanghai"'),
        )  # fmt: skip
    return "Etc/UTC" if zone == "UTC" else zone


def _starting_deadline(times: ScheduleConfig, now: datetime) -> int:
    if times.max_late is not None:
        return max(_MIN_DEADLINE, math.ceil(times.max_late))
    if not times.catch_up:
        return _NO_CATCH_UP
    runs = list(islice(upcoming.run_times(times, now), 200))
    gap = min((later - earlier for earlier, later in pairwise(runs)), default=timedelta(days=1))
    return int(min(_MAX_CATCH_UP, max(_NO_CATCH_UP, _MAX_MISSED * gap.total_seconds())))


def _pod_schedule(times: ScheduleConfig, zone: str) -> dict[str, str]:
    """Return the pod's schedule settings: jitter, because a CronJob has none, and the zone of `today`."""
    jitter = {"jitter": timespan_text(times.jitter)} if times.jitter else {}
    day_of = times.timezone or (zone if times.calendar else None)
    return jitter | ({"timezone": day_of} if day_of is not None else {})


def _check_nothing_local(job: Job) -> None:
    for setting in SETTINGS:
        if setting.local is not None and (part := setting.local.part(setting.value(job))):
            why = msg("{key} names {part}, which exists only on this machine", key=setting.name, part=part)
            raise _not_in_pod(job, why, setting.local.hint)
    if _LAST_SUCCESS.search(json.dumps([job.inputs, job.files], default=str)):
        raise _not_in_pod(
            job,
            msg("its templates use last_success, but a pod has no record of earlier runs"),
            msg("remove last_success from inputs and files; {{{{ today }}}} can be used"),
        )
    if job.overlap == "wait":
        raise _not_in_pod(
            job,
            msg('it has overlap = "wait", but a CronJob cannot wait for an earlier run'),
            msg('set overlap = "fail" or "skip" in the job'),
        )


def _check_cluster(cluster: Cluster) -> None:
    if not cluster.image or not cluster.image.isprintable() or re.search(r"[\s{}]", cluster.image):
        raise JobError(
            Outcome.USAGE,
            msg("--image {image!r} is not the name of a container image", image=cluster.image),
            msg("write the image as REGISTRY/NAME:TAG"),
        )
    if cluster.namespace is not None and not _LABEL.fullmatch(cluster.namespace):
        raise JobError(
            Outcome.USAGE,
            msg("--namespace {namespace!r} is not the name of a namespace", namespace=cluster.namespace),
            msg("use at most 63 characters of a-z, 0-9 and -"),
        )


def _manifest(
    job: Job, file: str, template: str, values: dict[str, object], print_of: str, source: Path
) -> RenderedFile:
    body = render_file(f"kubernetes/{template}.yaml.j2", values)
    return RenderedFile(Path(file), with_header(job.name, print_of, str(source), body, _NOTE))


def kustomization(files: Iterable[str]) -> RenderedFile:
    """Return the kustomization.yaml of a directory of manifests.

    Args:
        files: The names of the manifests in the directory.
    """
    lines = "".join(f"  - {toml(name)}\n" for name in sorted(files))
    head = f"{KUSTOMIZATION_HEADER}; {_NOTE}\n"
    kind = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
    return RenderedFile(Path("kustomization.yaml"), f"{head}{kind}resources:\n{lines}")


def _rejected(what: str, why: str, hint: str = "") -> JobError:
    return JobError(
        Outcome.REJECTED,
        msg("{what} cannot be written as one CronJob: {reason}", what=what, reason=why),
        hint or msg("split the job into several jobs, or choose times that one cron line can express"),
    )


def _not_in_pod(job: Job, why: str, hint: str) -> JobError:
    return JobError(
        Outcome.REJECTED, msg("job {name} cannot run in a pod: {reason}", name=job.name, reason=why), hint
    )
