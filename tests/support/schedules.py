"""Random cron expressions, and next times of calendars by systemd-analyze."""

import random
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def by_systemd(expression: str, count: int, base: str = "2026-11-24 10:00:00 UTC") -> list[str]:
    """Return the next times of a calendar expression by systemd-analyze.

    Args:
        expression: The calendar expression.
        count: Number of times.
        base: Time after which they are.

    Returns:
        Times in UTC; empty if systemd rejects the expression.
    """
    command = [
        "systemd-analyze",
        "calendar",
        f"--iterations={count}",
        f"--base-time={base}",
        "--",
        expression,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}
    )
    found = [
        line
        for line in done.stdout.splitlines()
        if re.match(r"\s+(Next elapse|Iter\. #\d+|\(in UTC\))", line)
    ]
    return [times[0] for line in found if (times := re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line))]


def wall_times(times: Iterator[datetime], count: int) -> list[str]:
    return [f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" for at in islice(times, count)]


def random_field(rng: random.Random, low: int, high: int, names: list[str]) -> str:
    def part() -> str:
        kind = rng.random()
        if kind < 0.45:
            return rng.choice(names) if names and rng.random() < 0.2 else str(rng.randint(low, high))
        if kind < 0.75:
            start = rng.randint(low, high - 1)
            end = rng.randint(start, high)
            step = f"/{rng.randint(1, end - start)}" if end > start and rng.random() < 0.4 else ""
            return f"{start}-{end}{step}"
        return f"*/{rng.randint(1, high - low)}"

    if rng.random() < 0.35:
        return "*"
    return ",".join(part() for _ in range(rng.choice([1, 1, 1, 2, 3])))


def random_cron(rng: random.Random) -> str:
    fields: tuple[tuple[int, int, list[str]], ...] = (
        (0, 59, []),
        (0, 23, []),
        (1, 31, []),
        (1, 12, MONTHS),
        (0, 6, DAYS),
    )
    return " ".join(random_field(rng, low, high, names) for low, high, names in fields)
