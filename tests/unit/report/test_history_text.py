"""Text of `history` for terminals of several widths."""

from datetime import timedelta

import pytest

from dify_job.report.history_text import history_lines
from dify_job.report.text import Terminal, columns_of
from dify_job.state.history import RunRecord
from tests.support.histories import record
from tests.support.statuses import NOW

pytestmark = pytest.mark.usefixtures("english")


def runs(*jobs: str) -> list[RunRecord]:
    """Return a failed run with a long message, a good run and a skipped one of each job."""
    return [
        RunRecord.of(record(NOW - timedelta(hours=hours), outcome, **more))._replace(job=job)
        for hours, job in enumerate(jobs)
        for outcome, more in (
            ("failed", {"message": "the node failed, " + "x " * 60}),
            ("succeeded", {}),
            ("skipped", {"workflow_run_id": None}),
        )
    ]


@pytest.mark.parametrize("jobs", [("a",), ("a", "b")], ids=["one job", "two jobs"])
@pytest.mark.parametrize(("columns", "lines"), [(60, 5), (80, 5), (130, 3), (400, 1)])
def test_run_takes_as_few_lines_as_fit(jobs: tuple[str, ...], columns: int, lines: int) -> None:
    found = runs(*jobs)
    shown = history_lines(found, Terminal(columns=columns))
    assert [line for line in shown if columns_of(line) > columns] == []
    text = "\n".join(shown)
    for word in ("failed (80)", "succeeded", "skipped", str(found[0].run_id)):
        assert word in text
    first = next(number for number, line in enumerate(shown) if line.startswith("✗"))
    second = next(number for number, line in enumerate(shown) if line.startswith("✓"))
    assert second - first <= lines
    assert (second - first == 1) == (lines == 1)
    assert (str(found[0].run_id) in shown[first]) == (columns > 100)


def test_outcome_of_one_job_is_never_left_out() -> None:
    text = "\n".join(history_lines(runs("a"), Terminal(columns=40)))
    assert "failed (80)" in text
