"""Jobs with a run history, of which some failed last night and one is paused."""

import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from .home import Home

JOBS = (
    "invoices",
    "daily-report",
    "translate-mails",
    "summaries",
    "tickets",
    "news",
    "a-job-with-a-name-of-forty-eight-characters-here",
    "weekly",
    "paused",
    "crawl",
)
NODE = {"title": "Summarise", "type": "llm", "error": "[Errno 111] Connection refused"}
FAILURE = {"template": 'failed at "{title}" ({type}): {error}', "values": NODE}


def record(began: datetime, outcome: str = "succeeded", **more: Any) -> dict[str, Any]:
    """Return a record of a run history.

    Args:
        began: Start of the run.
        outcome: Outcome of the run.
        more: Fields that differ.
    """
    codes = {"succeeded": 0, "skipped": 0, "failed": 80, "timeout": 124, "unknown": 74, "unreachable": 69}
    messages = {
        "succeeded": "workflow succeeded",
        "failed": 'failed at "Summarise" (llm): [Errno 111] Connection refused',
        "timeout": "the deadline of 30min passed; Dify confirmed the stop",
        "unreachable": "https://dify.example.com/v1 could not be reached: connection refused",
    }
    run_id = f"{random.Random(str(began)).getrandbits(128):032x}"
    return {
        "success": outcome == "succeeded",
        "message": messages.get(outcome, outcome),
        "call_time": began.astimezone().isoformat(timespec="milliseconds"),
        "outcome": outcome,
        "exit_code": codes.get(outcome),
        "attempts": 1,
        "duration_s": 12.3,
        "hint": None,
        "workflow_run_id": f"{run_id[:8]}-{run_id[8:12]}-4{run_id[13:16]}-a{run_id[17:20]}-{run_id[20:]}",
        "total_tokens": 2212,
        "failed_node": NODE if outcome == "failed" else None,
        "message_data": FAILURE if outcome == "failed" else None,
        **more,
    }


def write_history(directory: Path, records: list[dict[str, Any]]) -> None:
    """Write history and last result, like runs do; records are oldest first."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(each) + "\n" for each in records)
    (directory / "history.jsonl").write_text(lines)
    if records:
        (directory / "last.json").write_text(json.dumps(records[-1]) + "\n")


def hourly(now: datetime, number: int, outcome: Callable[[int], str]) -> list[dict[str, Any]]:
    """Return one record per hour until now, oldest first; `outcome` maps hours ago to an outcome."""
    return [record(now - timedelta(hours=ago), outcome(ago)) for ago in range(number, 0, -1)]


def ten_jobs(home: Home, now: datetime) -> Home:
    """Install ten jobs with histories: three failed last night, and one of them succeeded since."""
    table = '[jobs.{job}]\nbase_url = "http://127.0.0.1:9"\napi_key_file = "{{home}}/key"\nevery = "1h"\n'
    home.configure("".join(table.format(job=job) for job in JOBS).replace("{{home}}", "{home}"))
    assert home("install", "--user").code == 0
    assert home("pause", "paused", "--user").code == 0
    outcomes: dict[str, Callable[[int], str]] = {
        "invoices": lambda ago: "failed" if ago < 4 else "succeeded",
        "daily-report": lambda ago: "unreachable" if ago == 1 else "succeeded",
        "translate-mails": lambda ago: "failed" if ago == 3 else "succeeded",
    }
    for job in JOBS:
        records = hourly(now, 30, outcomes.get(job, lambda _: "succeeded"))
        write_history(home.path / "state/dify-job" / job, records)
    return home
