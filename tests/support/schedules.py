"""Random cron expressions, and what the real systemd-analyze makes of a calendar."""

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
    """The coming times as the real systemd tells them, in UTC; empty where it refuses the expression."""
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


def random_field(chance: random.Random, low: int, high: int, names: list[str]) -> str:
    def part() -> str:
        kind = chance.random()
        if kind < 0.45:
            return chance.choice(names) if names and chance.random() < 0.2 else str(chance.randint(low, high))
        if kind < 0.75:
            start = chance.randint(low, high - 1)
            end = chance.randint(start, high)
            step = f"/{chance.randint(1, end - start)}" if end > start and chance.random() < 0.4 else ""
            return f"{start}-{end}{step}"
        return f"*/{chance.randint(1, high - low)}"

    if chance.random() < 0.35:
        return "*"
    return ",".join(part() for _ in range(chance.choice([1, 1, 1, 2, 3])))


def random_cron(chance: random.Random) -> str:
    fields: tuple[tuple[int, int, list[str]], ...] = (
        (0, 59, []),
        (0, 23, []),
        (1, 31, []),
        (1, 12, MONTHS),
        (0, 6, DAYS),
    )
    return " ".join(random_field(chance, low, high, names) for low, high, names in fields)
