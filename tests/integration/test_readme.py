"""Every command of both READMEs is run, and both say the same commands."""

import re
import subprocess
from pathlib import Path

import pytest

from dify_job.standin.server import StandIn

from .conftest import KEY, Command

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")
# Run by other means: make runs these very tests; the installation is test_package's.
ELSEWHERE = {"make demo", "make test", "python3 -m venv /opt/dify-job", "/opt/dify-job/bin/pip install ."}


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
    assert blocks("README.md", "toml") == blocks("README.zh-CN.md", "toml")


@pytest.mark.parametrize("name", READMES)
def test_the_commands_work(name: str, dify_job: Command, server: StandIn) -> None:
    ran = 0
    for command in commands(name):
        if command in ELSEWHERE:
            continue
        if command.startswith("export"):
            assert "DIFY_API_KEY=" in command
            assert "DIFY_BASE_URL=" in command
            continue
        env = {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}
        if " daily" in command:
            config = dify_job.home / "config.toml"
            config.write_text(f'[jobs.daily]\nbase_url = "{server.base_url}"\napi_key_env = "DIFY_API_KEY"\n')
            env["DIFY_JOB_CONFIG"] = str(config)
        words = command.partition(" && ")[0].split()
        assert words[0] == "dify-job", command
        assert dify_job(*words[1:], env=env).code == 0, command
        ran += 1
    assert ran >= 2
    assert {request.body["inputs"]["topic"] for request in server.received} == {"sales"}


def test_the_config_of_the_readme_is_valid(dify_job: Command) -> None:
    key = dify_job.home / "daily.key"
    key.write_text("app-x")
    key.chmod(0o600)
    text = blocks("README.md", "toml")[0].replace("/etc/dify-job/credentials/daily.key", str(key))
    config = dify_job.home / "config.toml"
    config.write_text(text)
    ran = dify_job("config", "validate", "--config", str(config))
    assert (ran.code, ran.stdout) == (0, f"{config}: 1 job, no mistakes\n")


def test_make_has_the_targets_and_lists_them() -> None:
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = {line.split()[0] for line in done.stdout.splitlines()}
    assert targets == {
        "help", "demo", "test", "test-matrix", "test-newest", "lint", "format", "golden", "messages", "bench",
        "package", "deb", "clean",
    }  # fmt: skip
