"""Lines of the log for people."""

import io

import pytest

from dify_job import log


def test_line_end_in_a_field_begins_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_logger", "_level"):
        monkeypatch.setattr(log, name, getattr(log, name))
    stream = io.StringIO()
    log.set_up(log_format="console", level=log.INFO, job="daily", stream=stream)
    log.info("node_started", node="Ask\r\ndaily: succeeded in 1 s", other="x\u2028y")
    assert (
        stream.getvalue() == "daily: node_started  node=Ask\\r\\ndaily: succeeded in 1 s  other=x\\u2028y\n"
    )
