"""The commands of both READMEs, run in their order on a booted host."""

import pytest

from tests.support.fake_dify.apps import App

from ..integration.test_readme import READMES, commands
from .conftest import CANARY, Host

# Not run here: make runs these tests, and the fixture `machine` installs the wheel with pip.
ELSEWHERE = (
    "make ",
    "sudo python3 -m venv /opt/dify-job",
    "sudo /opt/dify-job/bin/pip install .",
    "sudo ln -s /opt/dify-job/bin/dify-job /usr/local/bin/",
)


@pytest.mark.parametrize("name", READMES)
def test_commands_of_the_readme_work(host: Host, name: str) -> None:
    topic = {"text-input": {"variable": "topic", "required": False, "max_length": 48}}
    host.server.apps[CANARY] = App(CANARY, "Report", form=(topic,))
    host.machine.write("/usr/local/bin/sudo", '#!/bin/sh\nexec "$@"\n', 0o755)
    env_file = f"DIFY_API_KEY={CANARY}\nDIFY_BASE_URL={host.server.base_url}\nAUTO_START_SCHEDULER=true\n"
    host.machine.write("/root/readme/.env", env_file, 0o600)
    env = {"KEY": CANARY, "PATH": "/opt/dify-job/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    ran = 0
    for command in commands(name):
        if command.startswith(ELSEWHERE):
            continue
        if command.startswith("export "):
            env |= {"DIFY_API_KEY": CANARY, "DIFY_BASE_URL": host.server.base_url}
            continue
        script = command.replace("https://dify.example.com/v1", host.server.base_url)
        host.run("bash", "-c", f"cd /root/readme && {script}", env=env)
        if command.startswith("dify-job run -i"):  # the next command is typed in a new shell
            env = {key: value for key, value in env.items() if not key.startswith("DIFY_")}
        ran += 1
    assert ran > 15
    assert [run.inputs.get("topic") for run in host.server.runs] == ["sales", None]
    for page in ("dify-job", "dify-job.toml"):
        assert "DIFY-JOB" in host.run("man", "-P", "cat", page).stdout
    host.run("rm", "-r", "/usr/local/bin/sudo", "/root/readme")
    host.run("sh", "-c", "rm /usr/local/share/man/man?/dify-job*")
