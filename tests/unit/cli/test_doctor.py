"""Text of doctor for a terminal."""

import pytest

from dify_job.checks.finding import Finding, Severity
from dify_job.cli import doctor
from dify_job.messages.command import command
from dify_job.messages.message import msg
from dify_job.report.text import Terminal

pytestmark = pytest.mark.usefixtures("english")
GOOD = Finding("tls", Severity.OK, "all is well")
MAIL = Finding("mail", Severity.WARN, "no mail program", "install one")
CLOCK = Finding("clock", Severity.WARN, "the clock is late", "set it")


def test_problem_of_several_jobs_is_printed_once_with_their_names(capfd: pytest.CaptureFixture[str]) -> None:
    key = Finding("key", Severity.FAIL, "no key", "store it")
    doctor._print([("a", [GOOD, MAIL, CLOCK]), ("b", [GOOD, MAIL, key]), ("c", [GOOD, MAIL, CLOCK])])
    assert capfd.readouterr().out.splitlines() == [
        "a: 1 of 3 checks passed",
        "b: 1 of 3 checks passed",
        "  fail  key          no key",
        "                     store it",
        "c: 1 of 3 checks passed",
        "all jobs:",
        "  warn  mail         no mail program",
        "                     install one",
        "a, c:",
        "  warn  clock        the clock is late",
        "                     set it",
    ]


def test_long_texts_are_wrapped_but_their_commands_are_not(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "terminal_of_stdout", lambda: Terminal(columns=60))
    fix = msg(
        "check the address of it, and then run: {command}", command=command("dify-job", "config", "show")
    )
    doctor._print([("a", [Finding("server", Severity.FAIL, "the server does not answer " * 3, fix)])])
    _, *lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 60] == []
    assert lines[0].startswith("  fail  server       the server ")
    assert all(line.startswith(" " * 21) for line in lines[1:])
    assert lines[-1].strip() == "dify-job config show"
