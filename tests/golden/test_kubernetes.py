"""The manifests of one job, whole."""

from pathlib import Path

import pytest

from dify_job.config.loader import load_config
from dify_job.schedulers.kubernetes import Cluster, render_manifests
from tests.unit.schedulers.test_kubernetes import NOW

from .test_golden import compare

CONFIG = """[jobs.daily]
base_url = "https://dify.example.com"
cron = "30 7 * * 1-5"
timezone = "Asia/Shanghai"
max_late = "10min"
timeout = "20min"
inputs = { topic = "sales", day = "{{ today }}" }
"""


@pytest.mark.parametrize("kind", ["configmap", "cronjob"])
def test_the_manifests_of_a_job_are_the_golden_ones(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    job = load_config(tmp_path / "config.toml", environ={}).jobs["daily"]
    cluster = Cluster(image="registry.example.com/dify-job:0.1.0", namespace="reports")
    for artifact in render_manifests(job, cluster, Path("/etc/dify-job/config.toml"), NOW):
        if kind in artifact.path.name:
            compare(f"kubernetes-{kind}.yaml", artifact.text, request)
