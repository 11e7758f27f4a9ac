"""Both READMEs have the same commands and a valid config; tests/host runs the commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dify_job.log.journal import MESSAGE_IDS
from tests.support.command import KEY, Command
from tests.support.environment import bare_environ
from tests.support.fake_dify.server import FakeDify

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def commands(name: str) -> list[str]:
    lines = [line for block in blocks(name, "console") for line in block.splitlines()]
    return [line[2:] for line in lines if line.startswith("$ ")]


def test_both_readmes_have_the_same_commands_and_config() -> None:
    english, chinese = (
        [re.sub(r'echo ".*"', "echo", command) for command in commands(name)] for name in READMES
    )
    assert english == chinese
    for language in ("toml", "python"):
        assert blocks("README.md", language) == blocks("README.zh-CN.md", language)


def test_config_of_the_readme_is_valid(dify_job: Command) -> None:
    key = dify_job.home / "daily.key"
    key.write_text("app-x")
    key.chmod(0o600)
    text = blocks("README.md", "toml")[0].replace("/etc/dify-job/credentials/daily.key", str(key))
    config = dify_job.home / "config.toml"
    config.write_text(text)
    ran = dify_job("config", "validate", "--config", str(config))
    assert (ran.code, ran.stdout) == (0, f"{config}: 1 job, no errors\n")


def test_program_of_the_readme_runs(dify_job: Command, server: FakeDify) -> None:
    config = f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "DIFY_API_KEY"\n'
    (dify_job.home / "config.toml").write_text(config)
    home = dify_job.home
    places = {"STATE_DIRECTORY": str(home / "s"), "DIFY_JOB_CONFIG": str(home / "config.toml")}
    env = bare_environ(HOME=str(home), **places)
    for key, expected in ((KEY, ""), ("app-fails", "80 ")):
        done = subprocess.run(
            [sys.executable, "-c", blocks("README.md", "python")[0]],
            env=env | {"DIFY_API_KEY": key}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert (done.stdout[:3], done.stderr) == (expected, "")
    assert [run.inputs for run in server.runs] == [{"topic": "sales"}] * 2


def test_make_help_lists_the_targets() -> None:
    done = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, env=bare_environ(), capture_output=True, text=True, check=True
    )
    targets = {line.split()[0] for line in done.stdout.splitlines()}
    assert targets == {
        "help", "demo", "test", "test-all", "test-slow", "test-host", "test-matrix", "test-newest",
        "test-newest-libraries", "test-oldest", "coverage", "lint", "format", "constraints", "contract",
        "messages", "bench", "package", "deb", "clean",
    }  # fmt: skip


@pytest.mark.parametrize("name", [*READMES, *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_to_files_are_valid(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / name).read_text())
    missing = [link for link in links if not ((ROOT / name).parent / link).exists()]
    assert missing == []


def test_documented_message_ids_are_those_of_the_journal() -> None:
    ids = re.findall(r"`([0-9a-f]{32})`", (ROOT / "docs/monitoring.md").read_text())
    assert ids == list(MESSAGE_IDS.values())
