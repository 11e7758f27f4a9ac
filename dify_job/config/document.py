"""A job as a config file says it."""

from typing import Any

from .model import Job, KeySource, ScheduleConfig
from .schema import SETTINGS
from .toml_writer import toml

_DEFAULTS = Job(name="default", base_url="", key=KeySource())


def job_document(job: Job, **others: Any) -> str:
    """Return a whole config with this one job, for a Kubernetes job: what differs from the defaults.

    Args:
        job: The job.
        **others: Keys of the job that have other values there.
    """
    values: dict[str, Any] = {"base_url": job.base_url}
    for setting in SETTINGS:
        value = setting.value(job)
        if setting.in_pod and value != setting.value(_DEFAULTS):
            values[setting.name] = setting.write(value)
    values |= others
    return f"[jobs.{job.name}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in values.items())


def schedule_keys(schedule: ScheduleConfig) -> dict[str, Any]:
    """Return the keys that say when a job runs; jitter and such are not among them."""
    job = Job(name="default", base_url="", key=KeySource(), schedule=schedule)
    named = ("every", "cron", "calendar", "timezone")
    settings = {setting.name: setting for setting in SETTINGS}
    given = {name: settings[name].value(job) for name in named}
    return {name: settings[name].write(value) for name, value in given.items() if value not in (None, ())}
