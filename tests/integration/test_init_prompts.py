"""init asks again after a wrong answer: if it exited, the next answer would enter the shell's history."""

import os
import pty
import select
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import KEY, Command
from tests.support.fake_dify.apps import App
from tests.support.fake_dify.server import FakeDify

CHAT = "app-chat-0123456789abcdef"


class TerminalUser:
    """Answers the prompts of a command on a terminal."""

    def __init__(self, home: Path, *arguments: str, **environ: str) -> None:
        self.shown = ""
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execve(
                sys.executable,
                [sys.executable, "-m", "dify_job", *arguments],
                {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb", **environ},
            )

    def answer(self, question: str, reply: str) -> None:
        before = len(self.shown)
        until = time.monotonic() + 30
        while question not in self.shown[before:] and self._read() and time.monotonic() < until:
            pass
        assert question in self.shown[before:], self.shown
        os.write(self._terminal, f"{reply}\n".encode())

    def wait(self) -> int:
        while self._read():
            pass
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        if not select.select([self._terminal], [], [], 30)[0]:
            return False
        try:
            part = os.read(self._terminal, 65536).decode(errors="replace")
        except OSError:
            return False
        self.shown += part
        return bool(part)


@pytest.fixture
def server() -> Iterator[FakeDify]:
    with FakeDify((App(KEY, "Daily report"), App(CHAT, "Chat", mode="advanced-chat")), ping=0.5) as made:
        yield made


def config_of(dify_job: Command) -> Path:
    return dify_job.home / ".config/dify-job/config.toml"


def test_wrong_url_key_name_and_schedule_are_asked_for_again(dify_job: Command, server: FakeDify) -> None:
    user = TerminalUser(dify_job.home, "init", "--user")
    user.answer("Dify's address [http://localhost/v1]: ", "ftp://x")
    user.answer("Dify's address [http://localhost/v1]: ", "http://127.0.0.1:1")
    user.answer("\nAPI key: ", "'app-quoted-0123456789'")
    user.answer("\nAPI key: ", "app-wrong-0123456789")
    user.answer("Dify's address [http://127.0.0.1:1/v1]: ", server.base_url)
    user.answer("\nAPI key: ", CHAT)
    user.answer("\nAPI key: ", KEY)
    user.answer("Name of the job [daily-report]: ", "Not a name")
    user.answer("Name of the job [", "daily")
    user.answer("Schedule [1h]: ", "2")
    user.answer("Schedule [1h]: ", "30 7 * * 1-5")
    assert user.wait() == 0, user.shown
    for message in (
        "is not an http or https address",
        "the server refused the connection",
        "must not be in quotes",
        "create an API key for the app in Dify: API Access",
        "is not a workflow",
        "is not allowed",
        "has no unit",
    ):
        assert message in user.shown, user.shown
    assert "0123456789" not in user.shown
    assert tomllib.loads(config_of(dify_job).read_text())["jobs"]["daily"]["cron"] == "30 7 * * 1-5"
    assert dify_job("config", "validate").code == 0


def test_existing_name_is_asked_for_again(dify_job: Command, server: FakeDify) -> None:
    given = ("init", "--user", "--base-url", server.base_url)
    assert dify_job(*given, "daily-report", input=KEY).code == 0
    user = TerminalUser(dify_job.home, *given, "--every", "2h")
    user.answer("\nAPI key: ", KEY)
    user.answer("Name of the job [daily-report]: ", "")
    user.answer("Name of the job [daily-report]: ", "second")
    assert user.wait() == 0, user.shown
    assert "the job daily-report exists already in " in user.shown
    assert (config_of(dify_job).parent / "config.d/second.toml").exists()


def test_script_gets_the_error_without_a_second_prompt(dify_job: Command) -> None:
    made = dify_job("init", "daily", "--user", "--base-url", "http://127.0.0.1:1", input=KEY)
    assert (made.code, "the configuration was not written" in made.stderr) == (69, True)


def test_directory_writable_by_others_is_rejected_before_the_first_prompt(
    dify_job: Command, server: FakeDify
) -> None:
    place = dify_job.home / "open dir"
    place.mkdir()
    place.chmod(0o777)
    config = place / "c.toml"
    given = ("--config", str(config), "init", "x", "--user", "--base-url", server.base_url)
    refused = dify_job(*given, input=KEY)
    assert (refused.code, list(place.iterdir())) == (78, [])
    assert f"chmod go-w '{place}'" in refused.stderr
    user = TerminalUser(dify_job.home, *given)
    assert user.wait() == 78
    assert "Enter the app's API key" not in user.shown
    place.chmod(0o755)
    assert dify_job(*given, input=KEY).code == 0
    assert dify_job("--config", str(config), "config", "validate").code == 0
