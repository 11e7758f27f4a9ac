"""Directives of rendered units, and the systemd versions that support them."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dify_job.config.model import ScheduleConfig
from dify_job.exit_codes import TABLE, Outcome, RetrySafety
from dify_job.schedulers import units
from dify_job.schedulers.job_spec import JobSpec
from dify_job.schedulers.model import RenderedFile, Scope
from tests.support.systemd_analyze import needs_systemd_analyze

ROOT = Path(__file__).parents[3]
VERSIONS = (239, 247, 249, 252, 255, 257, 262)
PLAIN = JobSpec(
    job="daily",
    description="The daily report, 100% of it",
    schedule=ScheduleConfig(cron="0 7 * * 1-5", timezone="Asia/Shanghai"),
    config_path=Path("/etc/dify-job/config.toml"),
    python=Path("/opt/dify-job/bin/python"),
    timeout=1800.0,
    key_file=Path("/etc/dify-job/credentials/daily.key"),
    fingerprint="0123456789abcdef",
)
FULL = replace(
    PLAIN,
    schedule=ScheduleConfig(every=7200.0, jitter=300.0, catch_up=True, max_late=600.0),
    reads=(Path("/srv/in/report.pdf"),),
    writes=(Path("/srv/out"),),
)
NOTIFIES = replace(
    PLAIN,
    secrets=(("notify-0123456789abcdef", Path("/etc/dify-job/notify.urls")),),
    writes=(Path("/srv/out"), Path("/var/lib/node_exporter/textfile")),
    metrics_directory=Path("/var/lib/node_exporter/textfile"),
    notify='{"healthchecks": "https://hc-ping.com/x?a=%20$", "on_failure": []}',
)
SYSTEM = {
    "plain": PLAIN,
    "full": FULL,
    "run-as": replace(PLAIN, run_as="reports"),
    "when-due": replace(PLAIN, schedule=ScheduleConfig(every=25_200.0)),
    "notifies": NOTIFIES,
    "in-home": replace(PLAIN, python=Path("/home/maria/venv/bin/python"), run_as="maria"),
}
CASES = [
    *((f"system-{name}-252", plan, Scope.SYSTEM, 252) for name, plan in SYSTEM.items()),
    *((f"system-full-{version}", FULL, Scope.SYSTEM, version) for version in VERSIONS if version != 252),
    *((f"system-notifies-{version}", NOTIFIES, Scope.SYSTEM, version) for version in (239, 257)),
    ("user-notifies-252", NOTIFIES, Scope.USER, 252),
    *((f"user-{version}", FULL, Scope.USER, version) for version in (239, 252, 257)),
]
IDS = [case[0] for case in CASES]

# First version that supports a directive (systemd's NEWS and manual pages).
SINCE = {
    "RestrictSUIDSGID": 242,
    "ProtectHostname": 242,
    "ProtectKernelLogs": 244,
    "ProtectClock": 245,
    "LoadCredential": 247,
    "FixedRandomDelay": 247,
    "ProtectProc": 247,
    "ProcSubset": 247,
    "LoadCredentialEncrypted": 250,
    "RestartMode": 254,
    "DeferReactivation": 257,
}
ALWAYS = """
    Description Documentation Wants After OnFailure Type ExecStart TimeoutStartSec TimeoutStopSec
    SuccessExitStatus RestartPreventExitStatus SyslogIdentifier LogExtraFields Environment UMask
    NoNewPrivileges LockPersonality RestrictRealtime MemoryDenyWriteExecute SystemCallArchitectures
    RestrictAddressFamilies DynamicUser User StateDirectory StateDirectoryMode ProtectSystem ProtectHome
    ReadWritePaths ReadOnlyPaths CapabilityBoundingSet KeyringMode PrivateDevices PrivateTmp PrivateUsers
    ProtectControlGroups ProtectKernelModules ProtectKernelTunables RemoveIPC RestrictNamespaces
    SystemCallErrorNumber SystemCallFilter OnCalendar AccuracySec RandomizedDelaySec Persistent WantedBy
""".split()  # noqa: SIM905 - words


def rendered(plan: JobSpec, scope: Scope, version: int) -> tuple[RenderedFile, ...]:
    directory = Path("/etc/systemd/system" if scope is Scope.SYSTEM else "~/.config/systemd/user")
    return units.render_units(plan, scope, version, directory)


def settings(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^([A-Z][A-Za-z]+)=(.*)$", text, re.MULTILINE)


@pytest.mark.parametrize(("name", "plan", "scope", "version"), CASES, ids=IDS)
def test_unit_has_only_directives_that_its_systemd_supports(
    name: str, plan: JobSpec, scope: Scope, version: int
) -> None:
    for key, _ in settings("".join(file.text for file in rendered(plan, scope, version))):
        assert key in SINCE or key in ALWAYS, f"{name}: {key}: since which version?"
        assert SINCE.get(key, 0) <= version, f"{name}: {key} needs {SINCE[key]}"


def runnable(plan: JobSpec) -> JobSpec:
    return replace(plan, python=Path(sys.executable).resolve())


@needs_systemd_analyze
@pytest.mark.parametrize(
    ("name", "plan", "scope", "version"),
    [case for case in CASES if case[3] <= 252],
    ids=str,
)
def test_systemd_accepts_units_for_its_own_and_older_versions(
    name: str, plan: JobSpec, scope: Scope, version: int, tmp_path: Path
) -> None:
    files = []
    for artifact in rendered(runnable(plan), scope, version):
        file = tmp_path / artifact.path.name
        file.write_text(artifact.text)
        files.append(str(file))
    user = ["--user"] if scope is Scope.USER else []
    command = ["systemd-analyze", *user, "verify", "--man=no", "--recursive-errors=no", *files]
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    messages = [line for line in done.stderr.splitlines() if "dify-job" in line]
    assert (done.returncode, messages) == (0, []), name


@needs_systemd_analyze
@pytest.mark.parametrize("plan", SYSTEM.values(), ids=SYSTEM)
def test_exposure_level_of_a_system_unit_is_at_most_1_5(plan: JobSpec, tmp_path: Path) -> None:
    service, _, *handler = rendered(runnable(plan), Scope.SYSTEM, 252)
    for artifact in (service, *handler):
        file = tmp_path / artifact.path.name
        file.write_text(artifact.text)
        command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout.splitlines()[-1]


@needs_systemd_analyze
def test_static_unit_for_packagers_is_accepted_by_systemd(tmp_path: Path) -> None:
    static = ROOT / "deploy/systemd/dify-job@.service"
    file = tmp_path / "dify-job@daily.service"
    file.write_text(
        static.read_text().replace("/opt/dify-job/bin/python", str(Path(sys.executable).resolve()))
    )
    for check in (
        ["verify", "--man=no", "--recursive-errors=no"],
        ["security", "--offline=true", "--threshold=15"],
    ):
        done = subprocess.run(
            ["systemd-analyze", *check, str(file)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_static_unit_for_packagers_has_the_same_sandbox() -> None:
    static = ROOT / "deploy/systemd/dify-job@.service"
    own = dict(settings(rendered(PLAIN, Scope.SYSTEM, 252)[0].text))
    theirs = dict(settings(static.read_text()))
    lines = {
        "Description",
        "ExecStart",
        "LoadCredential",
        "StateDirectory",
        "TimeoutStartSec",
        "LogExtraFields",
    }
    assert {key for key in own if own[key] != theirs.get(key)} - lines <= {
        "RestartPreventExitStatus",
        "StateDirectoryMode",
        "SuccessExitStatus",
        "OnFailure",
    }


# Installed units


def service(**changes: object) -> dict[str, str]:
    plan = replace(PLAIN, **changes)  # type: ignore[arg-type]
    return dict(settings(rendered(plan, Scope.SYSTEM, 252)[0].text))


def test_exit_codes_in_the_unit_are_those_of_the_table() -> None:
    unit = service()
    clean = [str(row.code) for row in TABLE if row.outcome is Outcome.CANCELLED]
    assert unit["SuccessExitStatus"].split() == clean == ["129", "130", "131", "143"]
    never_again = {
        str(row.code) for row in TABLE if row.retry not in (RetrySafety.SAFE, RetrySafety.NOT_NEEDED)
    }
    assert set(unit["RestartPreventExitStatus"].split()) == never_again
    assert not {"69", "75", "0"} & never_again


def test_command_has_only_interpreter_config_and_job() -> None:
    for plan in SYSTEM.values():
        for version in VERSIONS:
            unit = dict(settings(rendered(plan, Scope.SYSTEM, version)[0].text))
            words = unit["ExecStart"].split()
            start = [str(plan.python), "-P", "-m", "dify_job", "run", "--scheduled"]
            assert words == [*start, "--config", str(plan.config_path), "daily"]


def test_deadline_of_the_unit_is_after_that_of_the_job() -> None:
    assert service(timeout=900.0)["TimeoutStartSec"] == "16min"
    assert service()["TimeoutStopSec"] == "45s"


@pytest.mark.parametrize("version", VERSIONS)
def test_unit_below_247_has_no_dynamic_user(version: int) -> None:
    unit = dict(settings(rendered(PLAIN, Scope.SYSTEM, version)[0].text))
    assert ("DynamicUser" in unit) is ("LoadCredential" in unit) is (version >= 247)
    assert unit["CapabilityBoundingSet"] == ""


def test_user_unit_has_no_state_directory_credential_or_privileged_directive() -> None:
    for version in VERSIONS:
        unit = dict(settings(rendered(FULL, Scope.USER, version)[0].text))
        forbidden = ("StateDirectory", "LoadCredential", "DynamicUser", "User", "After", "Wants")
        assert not [key for key in unit if key in forbidden or key.startswith(("Private", "Protect"))]


def test_timer_has_no_directive_that_fires_at_boot_reload_or_install() -> None:
    for plan in SYSTEM.values():
        for scope in Scope:
            for version in VERSIONS:
                timer = settings(rendered(plan, scope, version)[1].text)
                assert not [key for key, _ in timer if re.fullmatch("On(Boot|Startup|Unit.*|Active)Sec", key)]
                assert ("AccuracySec", "1s") in timer
                assert ("Persistent", "yes") in timer or not plan.schedule.catch_up


def test_jitter_is_a_fixed_random_delay() -> None:
    timer = dict(settings(rendered(FULL, Scope.SYSTEM, 252)[1].text))
    assert (timer["RandomizedDelaySec"], timer["FixedRandomDelay"]) == ("5min", "yes")
    assert "RandomizedDelaySec" not in dict(settings(rendered(PLAIN, Scope.SYSTEM, 252)[1].text))


def test_systemd_older_than_239_is_rejected_with_a_hint() -> None:
    with pytest.raises(Exception, match="needs 239 or newer"):
        rendered(PLAIN, Scope.SYSTEM, 238)
