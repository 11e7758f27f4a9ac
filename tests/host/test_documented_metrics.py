"""The metrics of the documentation, with its own commands, on a booted host."""

import re
from pathlib import Path

from tests.support.fake_dify.apps import App

from .conftest import CANARY, Host

TEXT = (Path(__file__).parents[2] / "docs/monitoring.md").read_text()


def test_documented_metrics_are_written_by_the_user_of_the_job(host: Host) -> None:
    section = TEXT.partition("## Metrics")[2].partition("\n## ")[0]
    console = re.search(r"```console\n(.*?)```", section, re.DOTALL)
    toml = re.search(r"```toml\n\[jobs.daily\]\n(.*?)```", section, re.DOTALL)
    assert console is not None
    assert toml is not None
    host.server.apps[CANARY] = App(CANARY, "Report")
    host.machine.write("/etc/dify-job/credentials/daily.key", CANARY, 0o600)
    config = f'[jobs.daily]\nbase_url = "{host.server.base_url}"\nevery = "1h"\n'
    config += 'api_key_file = "/etc/dify-job/credentials/daily.key"\n'
    host.machine.write("/etc/dify-job/config.toml", config + toml[1])
    for line in console[1].splitlines():
        host.run("sh", "-ec", line.removeprefix("$ sudo "))
    host.run("systemctl", "start", "dify-job-daily.service")
    written = host.machine.read("/srv/metrics/dify-job-daily.prom")
    assert 'dify_job_last_run_success{job="daily"} 1.0' in written
    host.run("dify-job", "uninstall", "daily", "--purge")
    host.run("sh", "-c", "userdel reports; rm -r /srv/metrics /etc/dify-job")
