"""What the schedule package needs to know of a job's schedule."""

from typing import Protocol, Self


class Schedule(Protocol):
    """When a job runs, as its configuration says; at most one of every, calendar and cron is set."""

    @property
    def every(self) -> float | None:
        """The interval between two runs, in seconds."""

    @property
    def calendar(self) -> tuple[str, ...]:
        """Calendar expressions, as of systemd.time(7)."""

    @property
    def cron(self) -> str | None:
        """Five cron fields, as of crontab(5)."""

    @property
    def timezone(self) -> str | None:
        """The zone of calendar and cron; None for the machine's own."""

    @property
    def jitter(self) -> float:
        """The longest delay after a scheduled time, in seconds."""

    @property
    def catch_up(self) -> bool:
        """True where a missed run is made once, later."""

    @property
    def max_late(self) -> float | None:
        """How late a run can start, in seconds; None without a limit."""

    @property
    def says_when(self) -> bool:
        """True where one of every, calendar and cron is set."""

    def with_every(self, seconds: float) -> Self:
        """Return the schedule with another interval."""
