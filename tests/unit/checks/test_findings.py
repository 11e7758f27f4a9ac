"""Findings of doctor for faults that a test cannot create, from values in place of a host."""

import os
import py_compile
import socket
import sys
import venv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dify_job.checks import machine, probes, program, service, settings
from dify_job.checks.context import HostContext
from dify_job.checks.finding import Severity, location_of
from dify_job.checks.probes import Servers
from dify_job.checks.server import check_transport
from dify_job.config.model import Config, Job, KeySource, Notify, Origin, ScheduleConfig, Secret, Source
from dify_job.dify.app_info import AppProbe, NoAnswer
from dify_job.schedulers.cron import UserCrontab
from dify_job.schedulers.model import InstalledJob, Scope

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


def make_job(base_url: str = "https://dify.example.com/v1", **settings_: object) -> Job:
    return Job(name="daily", base_url=base_url, key=KeySource(), **settings_)  # type: ignore[arg-type]


def context_of(job: Job, app: AppProbe | None = None) -> HostContext:
    """Return the context of a job and the response of its server."""
    context = HostContext(
        job=job,
        config=Config(path=None, files=(), jobs={}),
        scheduler=UserCrontab(Scope.USER),
        now=NOW,
    )
    vars(context).update(app=app, key=None)
    return context


@pytest.mark.parametrize(
    ("base_url", "level"),
    [
        ("http://localhost/v1", Severity.OK),
        ("http://127.0.0.2:5001/v1", Severity.OK),
        ("http://[::1]:5001/v1", Severity.OK),
        ("http://dify.example.com/v1", Severity.WARN),
        ("http://127.evil.example.com/v1", Severity.WARN),
        ("https://dify.example.com/v1", Severity.OK),
    ],
)
def test_unencrypted_key_to_another_machine_is_a_warning(base_url: str, level: Severity) -> None:
    assert check_transport(context_of(make_job(base_url))).severity is level


@pytest.mark.parametrize(
    ("days", "level"), [(400, Severity.OK), (15, Severity.OK), (13, Severity.WARN), (0, Severity.WARN)]
)
def test_certificate_expiring_within_two_weeks_is_a_warning(days: int, level: Severity) -> None:
    seen = AppProbe(certificate_ends=NOW + timedelta(days=days, hours=1))
    check = check_transport(context_of(make_job(), seen))
    assert check.severity is level
    assert f"{NOW + timedelta(days=days, hours=1):%Y-%m-%d}" in check.message


@pytest.mark.parametrize(
    ("origins", "key", "place"),
    [
        ({"inputs": Origin(Source.FILE, "/a.toml", 4)}, "inputs", "/a.toml:4"),
        ({"inputs": Origin(Source.FILE, "/a.toml", 4)}, "files", "the table [jobs.daily] of /a.toml"),
        ({"base_url": Origin(Source.ENVIRONMENT, "DIFY_BASE_URL")}, "base_url", "environment DIFY_BASE_URL"),
        ({}, "base_url", "the environment variable DIFY_BASE_URL"),
        ({}, "ca_file", "the table [jobs.daily] of a configuration file"),
    ],
)
def test_fix_names_the_file_and_line_of_a_setting(origins: dict[str, Origin], key: str, place: str) -> None:
    assert location_of(make_job(origins=origins), key) == place


def test_fix_for_unencrypted_transport_names_the_origin_of_base_url() -> None:
    origins = {"base_url": Origin(Source.FILE, "/etc/x.toml", 7)}
    found = check_transport(context_of(make_job("http://far.example.com/v1", origins=origins)))
    assert found.fix == "set base_url to an https:// address in /etc/x.toml:7"


@pytest.mark.parametrize(
    ("synchronised", "ahead", "level"),
    [
        (True, None, Severity.OK),
        (None, 5.0, Severity.OK),
        (None, None, Severity.OK),
        (False, 1.0, Severity.WARN),
        (True, 61.0, Severity.WARN),
        (True, -3600.0, Severity.WARN),
    ],
)
def test_unsynchronised_or_different_clock_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, synchronised: bool | None, ahead: float | None, level: Severity
) -> None:
    monkeypatch.setattr(machine, "_synchronised", lambda: synchronised)
    assert machine.check_clock(context_of(make_job(), AppProbe(clock_ahead=ahead))).severity is level


def case_of(job: Job, python: Path | None = None) -> HostContext:
    scheduler = UserCrontab(Scope.USER)
    one = InstalledJob(
        job=job.name,
        backend="cron",
        scope=Scope.USER,
        files={},
        fingerprint="",
        source="",
        python=python,
    )
    config = Config(path=None, files=(), jobs={})
    return HostContext(job=job, config=config, scheduler=scheduler, now=NOW, installed=((scheduler, one),))


def test_notifications_need_apprise_in_the_interpreter_of_the_job(tmp_path: Path) -> None:
    urls = tmp_path / "urls"
    urls.write_text("json://localhost\n")
    urls.chmod(0o600)
    venv.create(tmp_path / "other", symlinks=True)
    job = make_job(notify=Notify(on_failure=(f"apprise-url-from-file:{urls}",)))
    check = settings.check_apprise(case_of(job))
    assert check is not None
    assert check.severity is Severity.OK, "these tests have it"
    other = tmp_path / "other/bin/python"
    check = settings.check_apprise(case_of(job, other))
    assert check is not None
    assert (check.severity, check.message) == (
        Severity.WARN,
        f"nobody will be notified: the Python environment of {other} does not contain apprise",
    )
    assert check.fix == f"python3 -m pip --python {other} install apprise"


def test_missing_zone_data_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "_ZONEINFO", tmp_path)
    zoned = make_job(schedule=ScheduleConfig(calendar=("07:00",), timezone="Asia/Shanghai"))
    assert settings.check_zone(context_of(zoned)).severity is Severity.FAIL
    named = make_job(schedule=ScheduleConfig(calendar=("07:00 Europe/Berlin",)))
    assert "Europe/Berlin" in settings.check_zone(context_of(named)).message
    (tmp_path / "Asia").mkdir()
    (tmp_path / "Asia/Shanghai").touch()
    assert settings.check_zone(context_of(zoned)).severity is Severity.OK
    assert settings.check_zone(context_of(make_job())).severity is Severity.OK


def test_servers_of_many_jobs_are_queried_in_bounded_time_and_each_app_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    clock = [0.0]

    def probe(base_url: str, key: str, *, limit: float, **_: object) -> AppProbe:
        asked.append(f"{base_url} {key}")
        clock[0] += 2 * limit
        return AppProbe(failure=NoAnswer("no answer")) if "gone" in base_url else AppProbe(version="1.14.2")

    monkeypatch.setattr(probes, "probe_app", probe)
    monkeypatch.setattr("dify_job.checks.probes.time.monotonic", lambda: clock[0])
    servers = Servers()
    key = Secret("app-0123456789abcdef")
    assert servers.probe(make_job("https://gone"), key) == AppProbe(failure=NoAnswer("no answer"))
    assert servers.probe(make_job("https://gone"), Secret("app-another-0123456789")) == AppProbe(
        failure=NoAnswer("no answer")
    )
    assert len(asked) == 1
    assert servers.probe(make_job("https://a"), key) is not None
    assert servers.probe(make_job("https://a"), key) is not None
    assert len(asked) == 2
    assert servers.probe(make_job("https://b"), key) is None
    assert clock[0] <= 30


def test_file_that_one_job_lacks_is_no_fault_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "probe_app", lambda *_, **__: AppProbe(version="1.14.2"))
    servers, key = Servers(), Secret("app-0123456789abcdef")
    assert servers.probe(make_job(ca_file=Path("/nowhere.pem")), key) is None
    assert servers.probe(make_job(), key) == AppProbe(version="1.14.2")


def test_bytecode_counts_only_if_it_matches_the_source(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    assert not program._is_compiled(source)
    compiled = Path(py_compile.compile(str(source)) or "")
    assert program._is_compiled(source)
    os.utime(source, (1, 1))
    assert not program._is_compiled(source)
    py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    assert program._is_compiled(source)
    compiled.write_bytes(b"half")
    assert not program._is_compiled(source)


@pytest.mark.parametrize(
    ("environ", "base_url", "names"),
    [
        ({}, "https://dify.example.com/v1", set()),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://dify.example.com/v1", {"HTTPS_PROXY"}),
        ({"https_proxy": "http://p:3128"}, "https://dify.example.com/v1", {"https_proxy"}),
        ({"HTTPS_PROXY": "http://p:3128"}, "http://dify.example.com/v1", set()),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "example.com"}, "https://dify.example.com/v1", set()),
        ({"ALL_PROXY": "http://p:3128"}, "http://dify.example.com/v1", {"ALL_PROXY"}),
        ({"all_proxy": "http://p:3128", "http_proxy": "http://q"}, "http://dify.example.com", {"http_proxy"}),
        ({"ALL_PROXY": "http://p:3128", "NO_PROXY": "example.com"}, "https://dify.example.com/v1", set()),
    ],
)
def test_proxy_of_the_shell_is_reported_if_it_would_be_used(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], base_url: str, names: set[str]
) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert program._proxy_variables(base_url) == names


def test_cron_job_without_journal_and_syslog_needs_a_log_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_JOURNAL", tmp_path / "none")
    monkeypatch.setattr(machine, "_SYSLOG", tmp_path / "none")
    config = Config(path=None, files=(), jobs={})

    def check(log_file: Path | None) -> Severity:
        case = HostContext(
            job=make_job(log_file=log_file), config=config, scheduler=UserCrontab(Scope.USER), now=NOW
        )
        return machine.check_journal(case).severity

    assert check(None) is Severity.WARN
    assert check(tmp_path / "log") is Severity.OK
    assert check(tmp_path / "nowhere" / "log") is Severity.WARN
    monkeypatch.setattr(machine, "_SYSLOG", tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        assert check(None) is Severity.OK
    assert check(None) is Severity.WARN, "only the socket of an ended daemon is left"


def test_doctor_does_not_run_an_interpreter_that_others_can_replace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Root runs doctor, but the job's run_as user owns the virtual environment."""
    ran: list[object] = []
    monkeypatch.setattr("dify_job.checks.program.subprocesses.run", lambda *argv, **_: ran.append(argv))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (tmp_path / "bin").chmod(0o777)
    check = program.check_interpreter(case_of(make_job(), tmp_path / "bin/python"))
    assert check is not None
    assert (check.severity, ran) == (Severity.OK, [])
    assert f"not safe: other users can change files in the directory {tmp_path}/bin" in check.message


def test_jobs_of_one_name_are_the_same_only_with_the_same_config(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    config = Config(path=path, files=(path,), jobs={})

    def installed(scope: Scope, source: Path) -> tuple[UserCrontab, InstalledJob]:
        one = InstalledJob(
            job="daily",
            backend="cron",
            scope=scope,
            files={},
            fingerprint="",
            source=str(source),
            enabled=True,
        )
        return UserCrontab(scope), one

    mine = installed(Scope.USER, path)
    machines = installed(Scope.SYSTEM, Path("/etc/dify-job/config.toml"))
    case = HostContext.of(make_job(), config, [mine, machines], NOW)
    assert [one for _, one in case.installed] == [mine[1]]
    both = HostContext.of(make_job(), config, [mine, installed(Scope.SYSTEM, path)], NOW)
    check = service.check_sync(both)
    assert check is not None
    assert check.severity is Severity.FAIL
    assert (
        check.message
        == "the job is installed twice (cron (user) and cron (system)), so it runs twice each time"
    )
    elsewhere = HostContext.of(make_job(), config, [machines], NOW)
    assert elsewhere.installed_job == machines[1]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_trusted_by_the_shell_only_are_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    for name in list(os.environ):
        if name.lower().endswith(("_proxy", "_ca_bundle", "_cert_file")):
            monkeypatch.delenv(name)
    bundle = tmp_path / "own-ca.pem"
    bundle.touch()
    monkeypatch.setenv(variable, str(bundle))
    config = Config(path=None, files=(), jobs={})

    def checks(job: Job) -> list[str | None]:
        case = HostContext(job=job, config=config, scheduler=UserCrontab(Scope.USER), now=NOW)
        check = program.check_environment(case)
        return [check.fix] if check is not None else []

    fix = [f'set ca_file = "{bundle}" in the table [jobs.daily] of a configuration file']
    assert checks(make_job()) == fix
    assert checks(make_job(ca_file=bundle)) == []
    assert checks(make_job("http://localhost/v1")) == []
    if variable != "SSL_CERT_FILE":  # a run uses one of several
        monkeypatch.setenv("SSL_CERT_FILE", "/etc/hosts")
        assert checks(make_job()) == fix
    bundle.unlink()  # requests fails without its bundle, but ignores a missing one of OpenSSL
    assert bool(checks(make_job())) == (variable != "SSL_CERT_FILE")
