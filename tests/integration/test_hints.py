"""Hints of read-only commands never suggest a command that starts a run."""

import re

import pytest

from ..support.command import Command

CONFIG = '[jobs.daily]\nbase_url = "http://127.0.0.1:9"\napi_key_file = "{home}/a.key"\n{more}'
READ_ONLY_COMMANDS = (
    ("history", "daily"), ("history",), ("status",), ("status", "daily"), ("logs", "daily"), ("next",),
    ("notify", "daily"), ("doctor",), ("doctor", "daily"), ("config", "show"), ("config", "validate"),
    ("history", "nosuch"), ("status", "nosuch"), ("logs", "nosuch"), ("secret", "set", "daily"),
    ("secret", "set", "nosuch"), ("notify", "nosuch"), ("doctor", "nosuch"),
)  # fmt: skip


@pytest.mark.parametrize("words", READ_ONLY_COMMANDS, ids=" ".join)
@pytest.mark.parametrize("more", ["", 'notify = { on_failure = ["apprise-url-from-file:/nowhere"] }\n'])
def test_no_hint_of_a_read_only_command_starts_a_run(
    dify_job: Command, words: tuple[str, ...], more: str
) -> None:
    path = dify_job.home / ".config/dify-job/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CONFIG.format(home=dify_job.home, more=more))
    path.chmod(0o600)
    ran = dify_job(*words, input="app-0123456789abcdef\n")
    output = ran.stdout + ran.stderr
    assert not re.search(r"dify-job( --?\S+( [/\w.]+)?)* run\b", output)


@pytest.mark.parametrize("language", ["C.UTF-8", "zh_CN.UTF-8"])
@pytest.mark.parametrize("every", ["5", '"1h"'], ids=["broken", "valid"])
@pytest.mark.parametrize(
    "words",
    [
        *READ_ONLY_COMMANDS, ("run", "daily"), ("run", "daily", "--scheduled"), ("run", "nosuch"),
        ("run", "daily", "--json"), ("install", "--installed", "daily"), ("install", "--check"),
        ("report", "--output", "-"), ("pause", "nosuch"), ("secret", "set"), ("render", "--target", "cron"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_commands_in_hints_name_the_configuration_of_the_call(
    dify_job: Command, words: tuple[str, ...], every: str, language: str
) -> None:
    path = dify_job.home / "mine.toml"
    path.write_text(CONFIG.format(home=dify_job.home, more=f"every = {every}\n"))
    path.chmod(0o600)
    ran = dify_job("--config", "mine.toml", *words, input="", env={"LC_ALL": language})
    if every == "5" and words[0] not in ("logs", "pause", "stop", "history"):
        assert f"dify-job --config {path} config validate" in ran.stdout + ran.stderr
    without = r"dify-job (?:config|doctor|history|init|install|logs|next|notify|run|secret|status|stop)\b"
    assert re.findall(without, ran.stdout + ran.stderr) == []
