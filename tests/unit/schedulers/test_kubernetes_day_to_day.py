"""Operation of manifests in a cluster, and `render` with a directory of manifests."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_validate import utils as schemas

from dify_job.cli.main import cli
from dify_job.config.model import Job, KeySource, ScheduleConfig
from dify_job.messages.errors import JobError
from dify_job.schedule import upcoming
from dify_job.schedulers.kubernetes import Cluster, clock_warnings, cron_line, render_manifests

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DOCS = Path(__file__).parents[3] / "docs/kubernetes.md"
NEWEST = max(schemas.all_versions(), key=lambda name: tuple(map(int, name.split("."))))


def cronjob(**settings: Any) -> dict[str, Any]:
    job = Job(name="daily", base_url="https://d.example.com/v1", key=KeySource(), **settings)
    _, rendered = render_manifests(job, Cluster(image="r/d:1"), Path("/etc/c.toml"), NOW)
    document: dict[str, Any] = yaml.safe_load(rendered.text)
    return document


def pod(**settings: Any) -> dict[str, Any]:
    spec: dict[str, Any] = cronjob(**settings)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def render(directory: Path, text: str, *words: str) -> Result:
    config = directory / "config.toml"
    config.write_text('[defaults]\nbase_url = "https://d.example.com"\n' + text)
    asked = ["render", "--config", str(config), "--target", "kubernetes", "--image", "r/d:1"]
    return CliRunner().invoke(cli, [*asked, "--output-dir", str(directory / "k8s"), *words])


# Schedules


def _days_of_controller(line: str, first: date, count: int) -> list[date]:
    """Return the days of a cron line for the CronJob controller (robfig/cron v3, dayMatches)."""
    _, _, days, months, weekdays = line.split()

    def matches(field: str, number: int) -> bool:
        return field == "*" or str(number) in field.split(",")

    found = []
    for each in (first + timedelta(days=offset) for offset in range(count)):
        by_day, by_weekday = matches(days, each.day), matches(weekdays, each.isoweekday() % 7)
        both = "*" in (days, weekdays)
        if matches(months, each.month) and ((by_day and by_weekday) if both else (by_day or by_weekday)):
            found.append(each)
    return found


DAY_FIELDS = st.sampled_from(["*", "1-31", "1,15", "13", "*/1", "1-31/2"])
WEEKDAY_FIELDS = st.sampled_from(["*", "1-5", "0-6", "mon", "0-7", "*/1", "fri-mon"])


@given(DAY_FIELDS, WEEKDAY_FIELDS)
def test_days_of_a_line_are_those_of_cron(days: str, weekdays: str) -> None:
    times = ScheduleConfig(cron=f"0 6 {days} * {weekdays}", timezone="UTC")
    try:
        line, _ = cron_line(times, "daily")
    except JobError:
        return
    until = NOW + timedelta(days=400)
    meant = []
    for at in upcoming.due_times(times, NOW):
        if at > until:
            break
        meant.append(at.date())
    assert _days_of_controller(line, NOW.date(), 400) == meant


def test_day_field_with_every_day_becomes_an_asterisk() -> None:
    assert cron_line(ScheduleConfig(cron="0 6 1-31 * 1-5", timezone="UTC"), "daily")[0] == "0 6 * * *"
    assert cron_line(ScheduleConfig(cron="0 6 1 * 0-6", timezone="UTC"), "daily")[0] == "0 6 * * *"


@pytest.mark.parametrize("every", [60.0, 900.0, 1800.0, 3600.0, 7200.0, 86400.0])
def test_interval_gets_a_minute_derived_from_the_name(every: float) -> None:
    lines = {cron_line(ScheduleConfig(every=every), f"job-{number}")[0] for number in range(300)}
    assert len(lines) == min(every, 3600) / 60
    for line in lines:
        minutes = [int(minute) for minute in line.split()[0].replace("*", "0").split(",")]
        assert all(0 <= minute < 60 for minute in minutes)


@pytest.mark.parametrize(
    ("cron", "shown"),
    [("30 2 * * *", ["skipped", "twice"]), ("0 12 * * *", []), ("30 * * * *", [])],
)
def test_render_warns_of_times_that_a_clock_change_repeats(cron: str, shown: list[str]) -> None:
    warnings = clock_warnings(ScheduleConfig(cron=cron, timezone="Europe/Berlin"), "daily", NOW)
    assert sorted(word for word in ("skipped", "twice") if any(word in one for one in warnings)) == shown
    assert clock_warnings(ScheduleConfig(cron=cron, timezone="UTC"), "daily", NOW) == ()


# The pod


def test_field_references_have_an_api_version() -> None:
    fields = [one["valueFrom"]["fieldRef"] for one in pod()["containers"][0]["env"] if "valueFrom" in one]
    assert fields
    assert {field["apiVersion"] for field in fields} == {"v1"}


def test_pod_is_evicted_soon_from_a_node_that_does_not_answer() -> None:
    assert {one["key"]: one["tolerationSeconds"] for one in pod()["tolerations"]} == {
        "node.kubernetes.io/not-ready": 60,
        "node.kubernetes.io/unreachable": 60,
    }


def test_missing_secret_does_not_hold_the_pod_until_its_deadline() -> None:
    [secret] = [volume["secret"] for volume in pod()["volumes"] if "secret" in volume]
    assert secret["optional"] is True


def test_template_with_last_success_is_rejected() -> None:
    for text in ("{{ last_success or today }}", "{% if last_success %}x{% endif %}"):
        with pytest.raises(JobError, match="a pod has no record of earlier runs"):
            cronjob(inputs={"since": {"day": [text]}})
    assert cronjob(inputs={"note": "last_success is a word"})


# A directory of manifests

TWO = '[jobs.daily]\nevery = "1h"\n[jobs.weekly]\nevery = "1h"\n'


def test_refused_job_does_not_stop_the_others(tmp_path: Path) -> None:
    done = render(tmp_path, '[jobs.a]\nevery = "7h"\n[jobs.b]\nevery = "1h"\n[jobs.c]\noverlap = "wait"\n')
    assert isinstance(done.exception, JobError)
    assert done.exception.outcome == "rejected"
    assert "every is '7h'" in done.stderr + str(done.exception)
    assert "wait for an earlier run" in done.stderr + str(done.exception)
    assert sorted(path.name for path in (tmp_path / "k8s").glob("*job-*")) == [
        "dify-job-b.configmap.yaml",
        "dify-job-b.cronjob.yaml",
    ]


def test_files_of_removed_jobs_are_deleted_and_others_stay(tmp_path: Path) -> None:
    assert render(tmp_path, TWO).exit_code == 0
    directory = tmp_path / "k8s"
    (directory / "dify-job-of-a-person.yaml").write_text("kind: Secret\n")
    edited = directory / "dify-job-weekly.cronjob.yaml"
    edited.write_text(edited.read_text() + "# edited\n")
    assert render(tmp_path, TWO.partition("[jobs.weekly]")[0], "daily").exit_code == 0
    assert (directory / "dify-job-weekly.configmap.yaml").exists()
    done = render(tmp_path, TWO.partition("[jobs.weekly]")[0])
    assert sorted(path.name for path in directory.iterdir()) == [
        "dify-job-daily.configmap.yaml",
        "dify-job-daily.cronjob.yaml",
        "dify-job-of-a-person.yaml",
        "dify-job-weekly.cronjob.yaml",
        "kustomization.yaml",
    ]
    assert "weekly.configmap.yaml was removed" in done.stderr
    assert "weekly.cronjob.yaml was not removed, because it was edited" in done.stderr


def test_kustomization_lists_the_manifests_unless_it_is_user_written(tmp_path: Path) -> None:
    render(tmp_path, TWO)
    listed = tmp_path / "k8s/kustomization.yaml"
    names = yaml.safe_load(listed.read_text())["resources"]
    assert names == sorted(path.name for path in listed.parent.glob("dify-job-*"))
    assert len(names) == 4
    listed.write_text("resources: []\n")
    assert "was not written by dify-job, so" in render(tmp_path, TWO).stderr
    assert listed.read_text() == "resources: []\n"


def test_header_says_that_render_overwrites_edits(tmp_path: Path) -> None:
    render(tmp_path, TWO)
    for path in (tmp_path / "k8s").iterdir():
        first = path.read_text().partition("\n")[0]
        assert "refused" not in first
        assert "render overwrites edits" in first


# The documents


def _merged(base: Any, patch: Any) -> Any:
    """Apply a strategic merge patch; merges containers by name, as the documented patch needs."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return base | {key: _merged(base.get(key), value) for key, value in patch.items()}
    if isinstance(base, list) and all(isinstance(one, dict) and "name" in one for one in patch):
        names = {one["name"]: one for one in base}
        return list(
            (names | {one["name"]: _merged(names.get(one["name"], {}), one) for one in patch}).values()
        )
    return patch


def test_documented_patch_fits_the_manifest() -> None:
    found = re.search(r"```yaml\n(# k8s-prod.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    [change] = yaml.safe_load(found[1])["patches"]
    patch = yaml.safe_load(change["patch"])
    del patch["metadata"]["name"]
    document = _merged(cronjob(), patch)
    schemas.validate(document, NEWEST, strict=True)
    spec = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "512Mi"}
    assert spec["containers"][0]["command"] == ["dify-job"]
    label, _, value = change["target"]["labelSelector"].partition("=")
    assert document["metadata"]["labels"][label] == value


def test_documented_alerts_use_the_right_series() -> None:
    text = DOCS.read_text()
    assert "kube_job_status_failed" not in text
    assert 'kube_job_failed{condition="true"' in text
    assert "kube_cronjob_status_last_successful_time" in text


@pytest.mark.parametrize("words", [(), ("a",)])
def test_render_of_only_rejected_jobs_creates_no_directory(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = render(tmp_path, '[jobs.a]\nevery = "7h"\n', *words)
    assert isinstance(done.exception, JobError)
    assert done.exception.outcome == "rejected"
    assert not (tmp_path / "k8s").exists()
