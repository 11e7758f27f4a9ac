"""Jobs of the documentation, run on a booted host as their users."""

import json
import re
from pathlib import Path

import pytest

from tests.support.fake_dify.apps import App
from tests.support.receivers import Receiver

from ..integration.test_readme import READMES
from .conftest import CANARY, Host

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/monitoring.md").read_text()


@pytest.mark.parametrize("name", READMES)
def test_job_of_the_readme_runs_as_a_dynamic_user(host: Host, name: str) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    [text] = [block for block in blocks if "[jobs.daily]" in block]
    form = tuple({"text-input": {"variable": key, "max_length": 48}} for key in ("topic", "since"))
    host.server.apps[CANARY] = App(CANARY, "Report", form=form, outputs={"result": {"total": 7}, "unused": 1})
    host.machine.write("/etc/dify-job/credentials/daily.key", CANARY, 0o600)
    with Receiver() as receiver:
        for shown, real in (
            ("https://dify.example.com/v1", host.server.base_url),
            ("https://hc-ping.com/...", f"http://{receiver.address}/ping/{receiver.CHECK}"),
        ):
            assert shown in text
            text = text.replace(shown, real)
        host.machine.write("/etc/dify-job/config.toml", text)
        assert host("config", "validate").code == 0
        host("install")
        for _ in range(2):  # the second run has a last success
            host.run("systemctl", "start", "dify-job-daily.service")
        pings = [ping.what for ping in receiver.pings]
    assert host.show("dify-job-daily.service", "DynamicUser") == "yes"
    assert [run.status for run in host.server.runs] == ["succeeded", "succeeded"]
    first, second = (run.inputs for run in host.server.runs)
    assert first["topic"] == second["topic"] == "sales"
    assert len(first["since"]) == len("2026-01-31"), "no run yet: today"
    assert first["since"] < second["since"], "a time of today"
    [file] = (host.machine.root / "var/lib/dify-job/daily/reports").resolve().glob("*.json")
    assert file.name == f"{first['since']}.json"
    assert json.loads(file.read_text()) == {"total": 7}
    assert file.stat().st_uid >= 61184, "of the dynamic users of systemd"
    assert pings == ["start", "0", "start", "0"]
    checked = json.loads(host("doctor", "daily", "--json", check=False).stdout)["jobs"][0]["checks"]
    assert [check for check in checks_of_files(checked) if check["level"] != "ok"] == []


def checks_of_files(checked: list[dict[str, str]]) -> list[dict[str, str]]:
    return [check for check in checked if check["check"] in ("output", "inputs", "reach", "notify", "state")]


def test_documented_metrics_are_written_by_the_user_of_the_job(host: Host) -> None:
    section = TEXT.partition("## Metrics")[2].partition("\n## ")[0]
    console = re.search(r"```console\n(.*?)```", section, re.DOTALL)
    toml = re.search(r"```toml\n\[jobs.daily\]\n(.*?)```", section, re.DOTALL)
    assert console is not None
    assert toml is not None
    host.server.apps[CANARY] = App(CANARY, "Report")
    host.machine.write("/etc/dify-job/credentials/daily.key", CANARY, 0o600)
    config = f'[jobs.daily]\nbase_url = "{host.server.base_url}"\ncalendar = "yearly"\n'
    config += 'api_key_file = "/etc/dify-job/credentials/daily.key"\n'
    host.machine.write("/etc/dify-job/config.toml", config + toml[1])
    for line in console[1].splitlines():
        host.run("sh", "-ec", line.removeprefix("$ sudo "))
    host.run("systemctl", "start", "dify-job-daily.service")
    written = host.machine.read("/srv/metrics/dify-job-daily.prom")
    assert 'dify_job_last_run_success{job="daily"} 1.0' in written
    host.run("dify-job", "uninstall", "daily", "--purge")
    host.run("sh", "-c", "userdel reports; rm -r /srv/metrics /etc/dify-job")
