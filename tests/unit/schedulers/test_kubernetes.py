"""Manifests, validated with Kubernetes' schemas and a model of its Job controller."""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubernetes_validate import utils as schemas

from dify_job.cli.main import cli
from dify_job.config.loader import load_config
from dify_job.config.model import (
    Downloads,
    Expectation,
    Job,
    KeySource,
    Metrics,
    Notify,
    Output,
    RetryPolicy,
    ScheduleConfig,
)
from dify_job.config.schema import FIELDS, SETTINGS, job_document
from dify_job.exit_codes import TABLE, RetrySafety
from dify_job.messages.errors import JobError
from dify_job.schedule import upcoming
from dify_job.schedulers.kubernetes import Cluster, cron_line, object_name, render_manifests

NOW = datetime(2026, 5, 1, tzinfo=UTC)
CLUSTER = Cluster(image="registry.example.com/dify-job:0.1.0", namespace="reports")
VERSIONS = sorted({name for name in schemas.all_versions() if tuple(map(int, name.split("."))) >= (1, 29)})
PLAIN = Job(name="daily", base_url="https://dify.example.com/v1", key=KeySource())
SHANGHAI = "Asia/Shanghai"
RFC_1123 = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@pytest.fixture(scope="module", autouse=True)
def _read_each_schema_once() -> Iterator[None]:
    plain = schemas.schema_contents
    schemas.schema_contents = functools.cache(plain)
    yield
    schemas.schema_contents = plain


def manifests(job: Job, cluster: Cluster = CLUSTER) -> tuple[dict[str, Any], dict[str, Any]]:
    texts = [artifact.text for artifact in render_manifests(job, cluster, Path("/etc/c.toml"), NOW)]
    config_map, cron_job = (yaml.safe_load(text) for text in texts)
    return config_map, cron_job


def job_spec(job: Job) -> dict[str, Any]:
    spec: dict[str, Any] = manifests(job)[1]["spec"]["jobTemplate"]["spec"]
    return spec


def test_schemas_of_1_29_and_newer_are_available() -> None:
    assert VERSIONS[0].startswith("1.29")
    assert len(VERSIONS) >= 4


# Schemas, names, and the config that the pod reads

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,47}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
SPANS = st.integers(1, 10**6).map(float)
ZONES = st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "UTC", "America/New_York"])
SCHEDULES = st.one_of(
    st.just(ScheduleConfig()),
    st.builds(ScheduleConfig()._replace, every=st.sampled_from([60.0, 300.0, 3600.0, 7200.0, 86400.0])),
    st.builds(
        ScheduleConfig()._replace,
        cron=st.sampled_from(["30 7 * * 1-5", "@daily", "*/5 8-18 1,15 * *"]),
        timezone=ZONES,
    ),
    st.builds(
        ScheduleConfig()._replace,
        calendar=st.sampled_from([("Mon..Fri 07:30",), ("07:30", "19:30"), ("*-*-01 06:00",)]),
        timezone=ZONES,
    ),
)


EXPECTATIONS = st.builds(
    Expectation,
    nonempty=st.booleans(),
    equals=st.just(()) | st.tuples(st.integers() | TEXTS | st.booleans()),
    regex=st.none() | st.sampled_from(["^OK", 'a"b']),
    type=st.sampled_from([(), ("string",), ("object", "array")]),
)


# The settings that are written into the configuration of a pod.
WRITTEN: dict[str, st.SearchStrategy[Any]] = {
    "base_url": st.just("https://dify.example.com/v1"),
    "mode": st.sampled_from(["streaming", "blocking"]),
    "workflow_id": st.none() | st.uuids().map(str),
    "end_user": st.none() | st.text("abc-@.'\"{}", min_size=1, max_size=20),
    "timeout": SPANS,
    "connect_timeout": SPANS,
    "idle_timeout": SPANS,
    "wait_network": st.none() | SPANS,
    "queue_time": SPANS,
    "inputs": st.dictionaries(TEXTS, VALUES, max_size=4),
    "env": st.just(()) | st.just(("REGION", "TOPIC")),
    "console_url": st.none() | st.just("https://dify.example.com/app/1/logs"),
    "overlap": st.sampled_from(["fail", "skip"]),
    "partial": st.sampled_from(["failure", "success"]),
    "retry": st.builds(RetryPolicy, st.integers(1, 9), SPANS),
    "expect": st.dictionaries(st.just("outputs.result"), EXPECTATIONS),
    "log_outputs": st.integers(0, 10**6),
    "description": st.none() | TEXTS.filter(str.strip),
}
WRITTEN_IN_PART = {
    "output": st.builds(
        Output()._replace,
        select=st.none() | st.just("outputs.result"),
        format=st.sampled_from(["text", "json"]),
        mode=st.none() | st.integers(0, 0o777),
    ),
    "notify": st.builds(Notify()._replace, healthchecks=st.none() | st.just("https://hc.example.com/ping/1")),
}
OTHERS = {
    "name": NAMES,
    "key": st.just(KeySource()),
    "schedule": st.builds(
        ScheduleConfig._replace,
        SCHEDULES,
        jitter=st.just(0.0) | SPANS,
        catch_up=st.booleans(),
        max_late=st.none() | SPANS,
    ),
}
JOBS = st.fixed_dictionaries(WRITTEN | WRITTEN_IN_PART | OTHERS).map(lambda values: Job(**values))


def test_every_setting_of_a_pod_is_tested() -> None:
    assert {setting.name for setting in SETTINGS if setting.in_pod and setting.local is None} == {*WRITTEN}


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(job=JOBS, version=st.sampled_from(VERSIONS))
def test_manifests_of_any_job_are_valid_and_contain_its_config(
    job: Job, version: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config_map, cron_job = manifests(job)
    for manifest in (config_map, cron_job):
        schemas.validate(manifest, version, strict=True)
        assert RFC_1123.fullmatch(manifest["metadata"]["name"])
        assert len(manifest["metadata"]["name"]) <= 50
        for label in manifest["metadata"]["labels"].values():
            assert RFC_1123.fullmatch(label)
            assert len(label) <= 63
    check_rules(cron_job["spec"]["jobTemplate"]["spec"])
    pod = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    check_restricted(pod)
    assert pod["containers"][0]["args"][-1] == job.name
    path = tmp_path_factory.getbasetemp() / "config.toml"
    path.write_text(config_map["data"]["config.toml"], encoding="utf-8")
    read = load_config(path, environ={}).jobs[job.name]
    assert read.state == "none"
    times = ScheduleConfig(jitter=job.schedule.jitter, timezone=job.schedule.timezone)
    expected = job._replace(state="none", schedule=times, description=read.description)
    assert read._replace(key=KeySource(), origins={}) == expected


def test_settings_rejected_in_a_pod_can_be_written_as_toml(tmp_path: Path) -> None:
    output = Output(file="/srv/out/x.json", downloads=Downloads(3, 5000), mode=0o640)
    notify = Notify(on_failure=("apprise-url-from-file:/etc/dify-job/notify.urls",))
    job = PLAIN._replace(
        output=output, notify=notify, files={"a": ("/srv/a.pdf",), "b": ("/srv/b", "/srv/c")},
        metrics=Metrics(Path("/var/lib/x.prom")), ca_file=Path("/etc/ca.pem"), overlap="wait",
        headers={"X-Team": "reports", "X-Secret": Path("/etc/header")},
    )  # fmt: skip
    (tmp_path / "config.toml").write_text(job_document(job))
    read = load_config(tmp_path / "config.toml", environ={}).jobs["daily"]
    assert read._replace(key=KeySource(), origins={}) == job


def check_rules(spec: dict[str, Any]) -> None:
    """Check the rules of the API server beyond the schema (ValidateJobSpec)."""
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["completionMode"] == "Indexed"
    for rule in spec["podFailurePolicy"]["rules"]:
        assert ("onExitCodes" in rule) != ("onPodConditions" in rule)
        values = rule.get("onExitCodes", {}).get("values", [])
        assert values == sorted(set(values))
        assert 0 not in values
        named = rule.get("onExitCodes", {}).get("containerName")
        assert named in (None, spec["template"]["spec"]["containers"][0]["name"])


def check_restricted(pod: dict[str, Any]) -> None:
    """Check the Pod Security Standard `restricted`."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
    assert all(kind in ("name", "configMap", "secret") for volume in pod["volumes"] for kind in volume)


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid_in_every_kubernetes_version(version: str) -> None:
    for manifest in manifests(PLAIN):
        schemas.validate(manifest, version, strict=True)


def test_names_are_unique() -> None:
    names = ["a-b", "a_b", "a-b-", "a-b_", "a" * 48, "a" * 47, "a" * 47 + "b", "0"]
    assert len({object_name(name) for name in names}) == len(names)
    assert object_name("daily") == "dify-job-daily"


def test_names_that_look_like_numbers_stay_strings() -> None:
    for name in ("007", "1e3", "true", "null", "0x1f", "12_3"):
        _, cron_job = manifests(PLAIN._replace(name=name), replace(CLUSTER, namespace="12"))
        assert cron_job["metadata"]["namespace"] == "12"
        assert cron_job["metadata"]["annotations"]["dify-job/job"] == name
        assert (
            cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"][-1] == name
        )


# Job controller (pkg/controller/job: matchPodFailurePolicy, getNewIndexFailureCounts)


@dataclass(frozen=True)
class PodEnd:
    """End of a failed pod: exit code of its container, None if unknown, and its condition."""

    code: int | None
    disrupted: bool = False


@dataclass
class Pods:
    """Result of a Job.

    Attributes:
        lost: DIFY_JOB_LOST of each created pod.
    """

    lost: list[int]
    failed: bool


def controller(spec: dict[str, Any], ends: Sequence[PodEnd]) -> Pods:
    """Simulate the Job controller; pods end like `ends`, and its last element repeats."""
    counted = ignored = 0
    pods = Pods([], failed=False)
    while len(pods.lost) < 50:
        pods.lost.append(ignored)
        end = ends[min(len(pods.lost), len(ends)) - 1]
        if end.code == 0:
            return pods
        action = _action(spec["podFailurePolicy"]["rules"], end)
        if action == "Ignore":
            ignored += 1
            continue
        counted += 1
        if action == "FailJob" or counted > min(spec["backoffLimit"], spec["backoffLimitPerIndex"]):
            pods.failed = True
            return pods
    raise AssertionError("no end")


def _action(rules: list[dict[str, Any]], end: PodEnd) -> str:
    for rule in rules:
        on = rule.get("onExitCodes")
        if (
            on is not None
            and end.code not in (None, 0)
            and (end.code in on["values"]) == (on["operator"] == "In")
        ):
            return str(rule["action"])
        if "onPodConditions" in rule and end.disrupted:
            return str(rule["action"])
    return "Count"


UNSAFE = sorted(
    {row.code for row in TABLE if row.code and row.retry is not RetrySafety.SAFE}
    | {1, 2, 126, 127, 137, 139, 255}
)
SAFE = sorted({row.code for row in TABLE if row.retry is RetrySafety.SAFE})


@pytest.mark.parametrize("disrupted", [False, True])
@pytest.mark.parametrize("code", UNSAFE)
@pytest.mark.parametrize("end_user", [None, "bob"])
def test_no_second_pod_is_created_after_an_unsafe_code(
    code: int, disrupted: bool, end_user: str | None
) -> None:
    pods = controller(job_spec(PLAIN._replace(end_user=end_user)), [PodEnd(code, disrupted)])
    assert pods == Pods([0], failed=True)


@pytest.mark.parametrize("disrupted", [False, True])
@pytest.mark.parametrize("code", SAFE)
def test_safe_code_is_retried_a_few_times(code: int, disrupted: bool) -> None:
    assert controller(job_spec(PLAIN), [PodEnd(code, disrupted)]) == Pods([0, 0, 0], failed=True)
    assert controller(job_spec(PLAIN), [PodEnd(code, disrupted), PodEnd(0)]) == Pods([0, 0], failed=False)


def test_policy_contains_every_exit_code() -> None:
    named = {
        code
        for rule in job_spec(PLAIN)["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {}).get("values", [])
    }
    assert named == {row.code for row in TABLE} - {0}


def test_pod_after_a_lost_one_gets_the_count_of_lost_pods() -> None:
    lost = PodEnd(None, disrupted=True)
    spec = job_spec(PLAIN)
    assert controller(spec, [lost, PodEnd(0)]) == Pods([0, 1], failed=False)
    assert controller(spec, [lost, lost, PodEnd(74)]) == Pods([0, 1, 2], failed=True)
    assert controller(spec, [PodEnd(69), lost, PodEnd(69), PodEnd(0)]) == Pods([0, 0, 1, 1], failed=False)


def test_lost_pod_with_a_fixed_end_user_is_not_replaced() -> None:
    spec = job_spec(PLAIN._replace(end_user="bob"))
    assert controller(spec, [PodEnd(None, disrupted=True)]) == Pods([0], failed=True)
    assert "DIFY_JOB_RUN_ID" not in [one["name"] for one in spec["template"]["spec"]["containers"][0]["env"]]


def test_pod_that_never_started_is_replaced() -> None:
    assert controller(job_spec(PLAIN), [PodEnd(None), PodEnd(0)]) == Pods([0, 0], failed=False)


# Deadlines


def test_deadlines_come_from_the_job() -> None:
    _, cron_job = manifests(PLAIN._replace(timeout=90.5, schedule=ScheduleConfig(jitter=30.0)))
    assert cron_job["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 121 + 60
    assert cron_job["spec"]["concurrencyPolicy"] == "Forbid"


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (ScheduleConfig(every=3600.0), 60),
        (ScheduleConfig(every=3600.0, max_late=600.0), 600),
        (ScheduleConfig(every=3600.0, max_late=1.0), 10),
        (ScheduleConfig(every=3600.0, catch_up=True), 90 * 3600),
        (ScheduleConfig(every=60.0, catch_up=True), 90 * 60),
        (ScheduleConfig(every=86400.0, catch_up=True), 7 * 86400),
    ],
)
def test_starting_deadline_follows_catch_up_and_max_late(times: ScheduleConfig, seconds: int) -> None:
    assert manifests(PLAIN._replace(schedule=times))[1]["spec"]["startingDeadlineSeconds"] == seconds


# Schedules


@pytest.mark.parametrize(
    ("times", "line", "zone"),
    [
        (Job(name="daily", base_url="", key=KeySource()).times, "18 * * * *", "Etc/UTC"),
        (ScheduleConfig(every=7200.0), "18 0,2,4,6,8,10,12,14,16,18,20,22 * * *", "Etc/UTC"),
        (ScheduleConfig(every=900.0), "3,18,33,48 * * * *", "Etc/UTC"),
        (ScheduleConfig(cron="30 7 * * 1-5", timezone=SHANGHAI), "30 7 * * 1,2,3,4,5", SHANGHAI),
        (ScheduleConfig(cron="0 6 1,15 * mon", timezone="UTC"), "0 6 1,15 * 1", "Etc/UTC"),
        (ScheduleConfig(calendar=("Mon..Wed 07:30",), timezone=SHANGHAI), "30 7 * * 1,2,3", SHANGHAI),
        (ScheduleConfig(calendar=(f"07:30 {SHANGHAI}", f"19:30 {SHANGHAI}")), "30 7,19 * * *", SHANGHAI),
        (ScheduleConfig(calendar=("*-*-* 00/6:15",), timezone="UTC"), "15 0,6,12,18 * * *", "Etc/UTC"),
    ],
)  # fmt: skip
def test_schedule_becomes_a_cron_line_and_a_zone(times: ScheduleConfig, line: str, zone: str) -> None:
    assert cron_line(times, "daily") == (line, zone)


@pytest.mark.parametrize("line", ["30 7 * * 1-5", "*/10 * * * *", "0 6 1,15 * mon", "5 4 * 2 *"])
def test_cron_line_has_the_same_times_in_the_manifest(line: str) -> None:
    times = ScheduleConfig(cron=line, timezone="Asia/Shanghai")
    there = times._replace(cron=cron_line(times, "daily")[0])
    own_times, manifest_times = (upcoming.run_times(each, NOW) for each in (times, there))
    assert [next(own_times) for _ in range(50)] == [next(manifest_times) for _ in range(50)]


@pytest.mark.parametrize(
    ("times", "why", "way_out"),
    [
        (ScheduleConfig(every=5400.0), "cannot express that interval", "1h or 2h"),
        (ScheduleConfig(every=30.0), "cannot express that interval", "1min"),
        (ScheduleConfig(every=5 * 3600.0), "cannot express that interval", "4h or 6h"),
        (ScheduleConfig(every=2 * 86400.0), "cannot express that interval", "1d"),
        (ScheduleConfig(cron="30 7 * * *"), "no time zone", "timezone ="),
        (ScheduleConfig(calendar=("07:30",)), "no time zone", "timezone ="),
        (ScheduleConfig(cron="0 0 */2 * mon", timezone="UTC"), "both|together", "one cron line"),
        (ScheduleConfig(calendar=("07:30:15 UTC",)), "seconds", "one cron line"),
        (ScheduleConfig(calendar=("*-*~1 07:30 UTC",)), "last day", "one cron line"),
        (ScheduleConfig(calendar=("2027-01-01 07:30 UTC",)), "years", "one cron line"),
        (ScheduleConfig(calendar=("07:30 UTC", "08:45 UTC")), "more than one cron line", "several jobs"),
        (ScheduleConfig(calendar=("07:30 UTC", "08:30 Asia/Shanghai")), "several time zones", "several jobs"),
    ],
)
def test_schedule_without_a_single_cron_line_is_rejected_with_the_nearest_one(
    times: ScheduleConfig, why: str, way_out: str
) -> None:
    with pytest.raises(JobError, match=why) as caught:
        manifests(PLAIN._replace(schedule=times))
    assert caught.value.message.startswith("job daily: ")
    assert caught.value.outcome == "rejected"
    assert way_out in (caught.value.hint or "")


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"report": "/srv/in/a.pdf"}},
        {"output": Output(file="/srv/out/x.json")},
        {"output": Output(downloads=Downloads())},
        {"metrics": Metrics(textfile=Path("/var/lib/x.prom"))},
        {"ca_file": Path("/etc/ca.pem")},
        {"notify": Notify(on_failure=("apprise-url-from-file:/etc/dify-job/notify.urls",))},
        {"overlap": "wait"},
        {"inputs": {"text": "x" * 1024 * 1024}},
    ],
)
def test_setting_without_meaning_in_a_pod_is_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(JobError, match="cannot run in a pod"):
        manifests(PLAIN._replace(**change))


def test_date_in_inputs_is_a_text_in_the_pod(tmp_path: Path) -> None:
    config_map, _ = manifests(PLAIN._replace(inputs=FIELDS["inputs"]({"day": date(2026, 1, 1)})))
    (tmp_path / "c.toml").write_text(config_map["data"]["config.toml"])
    assert load_config(tmp_path / "c.toml", environ={}).jobs["daily"].inputs == {"day": "2026-01-01"}


@pytest.mark.parametrize(
    "times",
    [
        ScheduleConfig(cron="0 7 * * *", timezone=SHANGHAI),
        ScheduleConfig(every=3600.0, timezone=SHANGHAI),
        ScheduleConfig(calendar=(f"07:30 {SHANGHAI}",)),
    ],
)
def test_today_in_a_template_uses_the_zone_of_the_job_in_a_pod(times: ScheduleConfig, tmp_path: Path) -> None:
    config_map, _ = manifests(PLAIN._replace(schedule=times))
    (tmp_path / "c.toml").write_text(config_map["data"]["config.toml"])
    assert load_config(tmp_path / "c.toml", environ={}).jobs["daily"].schedule.timezone == SHANGHAI


# The command


def test_render_writes_files_and_prints_the_kubectl_commands(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[jobs.daily]\nbase_url = "https://d.example.com"\napi_key_file = "/k/daily.key"\nevery = "1h"\n'
    )
    out = tmp_path / "out"
    asked = ["render", "--config", str(config), "--target", "kubernetes", "--image", "r/d:1"]
    done = CliRunner().invoke(cli, [*asked, "--namespace", "n", "--output-dir", str(out)])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == [
        "dify-job-daily.configmap.yaml",
        "dify-job-daily.cronjob.yaml",
        "kustomization.yaml",
    ]
    assert (
        "kubectl create secret generic dify-job-daily --namespace n --from-file=api_key=/k/daily.key"
        in done.stderr
    )
    printed = CliRunner().invoke(cli, asked).stdout
    assert [one["kind"] for one in yaml.safe_load_all(printed)] == ["ConfigMap", "CronJob"]


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://localhost/v1", True),
        ("http://127.1.2.3:8080/v1", True),
        ("http://[::1]/v1", True),
        ("http://dify.svc/v1", False),
    ],
)
def test_render_warns_of_a_loopback_base_url(url: str, warned: bool, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[jobs.daily]\nbase_url = "{url}"\n')
    asked = ["render", "--config", str(config), "--target", "kubernetes", "--image", "r/d:1"]
    ran = CliRunner().invoke(cli, asked)
    assert ran.exit_code == 0
    assert ("in a pod means the pod itself" in ran.stderr) == warned


@pytest.mark.parametrize(
    ("password", "warned"), [("hunter2", True), ("{{ env('PASSWORD') }}", False), ("", False)]
)
def test_render_warns_of_a_secret_in_inputs(password: str, warned: bool, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[jobs.daily]\nbase_url = "https://d.example.com"\nenv = ["PASSWORD"]\n'
        f'inputs = {{ account = {{ password = "{password}" }} }}\n'
    )
    asked = ["render", "--config", str(config), "--target", "kubernetes", "--image", "r/d:1"]
    shown = CliRunner().invoke(cli, asked).stderr
    assert ("an input that looks like a secret" in shown) == warned
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    "flags",
    [
        ["--target", "kubernetes"],
        ["--target", "kubernetes", "--image", "r/d:1", "--user"],
        ["--target", "kubernetes", "--image", "a b"],
        ["--target", "kubernetes", "--image", "r/d:1", "--namespace", "A_b"],
        ["--target", "systemd", "--image", "r/d:1"],
    ],
)
def test_conflicting_flags_are_rejected(flags: list[str], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[jobs.daily]\nbase_url = "https://d.example.com"\n')
    done = CliRunner().invoke(cli, ["render", "--config", str(config), *flags])
    assert isinstance(done.exception, JobError)
    assert done.exception.outcome == "usage"


# The image


def test_image_is_pinned_and_runs_as_nobody() -> None:
    """Read the Dockerfile only: a build needs a registry."""
    root = Path(__file__).parents[3]
    lines = (root / "deploy/container/Containerfile").read_text().splitlines()
    base = next(line for line in lines if line.startswith("ARG BASE="))
    assert re.fullmatch(r"ARG BASE=[a-z./]+/python:3\.\d+\.\d+-slim-[a-z]+", base)
    user = job_spec(PLAIN)["template"]["spec"]["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in lines
    wanted = (root / "deploy/container/requirements.txt").read_text().splitlines()[1:]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line) for line in wanted)
    needed = [line.split()[0] for line in _section((root / "setup.cfg").read_text(), "install_requires")]
    assert set(needed) <= {line.split("==")[0] for line in wanted}


def _section(text: str, key: str) -> list[str]:
    return [
        line for line in text.partition(f"{key} =\n")[2].partition("\n\n")[0].splitlines() if line.strip()
    ]
