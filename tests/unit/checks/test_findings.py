"""What doctor says where the thing itself cannot be had in a test: values in, lines out."""

import os
import py_compile
import socket
import sys
import venv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dify_job.checks import environment, machine, program, server, service, settings
from dify_job.checks.context import HostContext
from dify_job.checks.finding import place_of
from dify_job.checks.server import Servers, check_transport
from dify_job.config.model import Config, Job, KeySource, Notify, Origin, ScheduleConfig, Secret, Source
from dify_job.dify.app_info import AppProbe
from dify_job.messages.problem import Severity
from dify_job.schedulers.backend import InstalledJob, Scope
from dify_job.schedulers.cron import UserCrontab

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


def job(base_url: str = "https://dify.example.com/v1", **settings_: object) -> Job:
    return Job(name="daily", base_url=base_url, key=KeySource(), **settings_)  # type: ignore[arg-type]


def seen_as(looked_at: Job, app: AppProbe | None = None) -> HostContext:
    """A job whose server gave this answer."""
    context = HostContext(
        job=looked_at,
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
def test_key_that_travels_unencrypted_beyond_this_machine_is_a_warning(
    base_url: str, level: Severity
) -> None:
    assert check_transport(seen_as(job(base_url))).severity is level


@pytest.mark.parametrize(
    ("days", "level"), [(400, Severity.OK), (15, Severity.OK), (13, Severity.WARN), (0, Severity.WARN)]
)
def test_certificate_that_ends_within_two_weeks_is_a_warning(days: int, level: Severity) -> None:
    seen = AppProbe(certificate_ends=NOW + timedelta(days=days, hours=1))
    check = check_transport(seen_as(job(), seen))
    assert check.severity is level
    assert f"{NOW + timedelta(days=days, hours=1):%Y-%m-%d}" in check.message


@pytest.mark.parametrize(
    ("origins", "key", "place"),
    [
        ({"inputs": Origin(Source.FILE, "/a.toml", 4)}, "inputs", "/a.toml:4"),
        ({"inputs": Origin(Source.FILE, "/a.toml", 4)}, "files", "[jobs.daily] of /a.toml"),
        ({"base_url": Origin(Source.ENVIRONMENT, "DIFY_BASE_URL")}, "base_url", "environment DIFY_BASE_URL"),
        ({}, "base_url", "the variable DIFY_BASE_URL"),
        ({}, "ca_file", "[jobs.daily] of a config file"),
    ],
)
def test_where_a_key_is_edited(origins: dict[str, Origin], key: str, place: str) -> None:
    assert place_of(job(origins=origins), key) == place


def test_origin_of_what_is_to_be_changed_is_named() -> None:
    origins = {"base_url": Origin(Source.FILE, "/etc/x.toml", 7)}
    found = check_transport(seen_as(job("http://far.example.com/v1", origins=origins)))
    assert found.fix == "set base_url to https:// (/etc/x.toml:7)"


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
def test_clock_that_nobody_sets_or_that_is_not_the_servers_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, synchronised: bool | None, ahead: float | None, level: Severity
) -> None:
    monkeypatch.setattr(machine, "_synchronised", lambda: synchronised)
    assert machine.check_clock(seen_as(job(), AppProbe(clock_ahead=ahead))).severity is level


def case_of(told: Job, python: Path | None = None) -> HostContext:
    scheduler = UserCrontab(Scope.USER)
    one = InstalledJob(
        job=told.name,
        backend="cron",
        scope=Scope.USER,
        paths=(),
        fingerprint="",
        source="",
        python=python,
    )
    config = Config(path=None, files=(), jobs={})
    return HostContext(job=told, config=config, scheduler=scheduler, now=NOW, installed=((scheduler, one),))


def test_notifications_need_apprise_in_the_interpreter_that_the_job_has(tmp_path: Path) -> None:
    urls = tmp_path / "urls"
    urls.write_text("json://localhost\n")
    urls.chmod(0o600)
    venv.create(tmp_path / "other", symlinks=True)
    told = job(notify=Notify(on_failure=(f"apprise-url-from-file:{urls}",)))
    check = settings.check_apprise(case_of(told))
    assert check is not None
    assert check.severity is Severity.OK, "these tests have it"
    other = tmp_path / "other/bin/python"
    check = settings.check_apprise(case_of(told, other))
    assert check is not None
    assert (check.severity, check.message) == (
        Severity.WARN,
        f"nobody will be notified: {other} has no apprise",
    )
    assert check.fix == f"python3 -m pip --python {other} install apprise"


def test_zone_data_that_the_machine_lacks_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "_ZONEINFO", tmp_path)
    zoned = job(schedule=ScheduleConfig(calendar=("07:00",), timezone="Asia/Shanghai"))
    assert settings.check_zone(seen_as(zoned)).severity is Severity.FAIL
    named = job(schedule=ScheduleConfig(calendar=("07:00 Europe/Berlin",)))
    assert "Europe/Berlin" in settings.check_zone(seen_as(named)).message
    (tmp_path / "Asia").mkdir()
    (tmp_path / "Asia/Shanghai").touch()
    assert settings.check_zone(seen_as(zoned)).severity is Severity.OK
    assert settings.check_zone(seen_as(job())).severity is Severity.OK


def test_servers_of_many_jobs_are_asked_in_bounded_time_and_each_app_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    clock = [0.0]

    def look(base_url: str, key: str, *, limit: float, **_: object) -> AppProbe:
        asked.append(f"{base_url} {key}")
        clock[0] += 2 * limit
        return AppProbe(broken="no answer") if "gone" in base_url else AppProbe(version="1.14.2")

    monkeypatch.setattr(server, "probe_app", look)
    monkeypatch.setattr("dify_job.checks.server.time.monotonic", lambda: clock[0])
    servers = Servers()
    key = Secret("app-0123456789abcdef")
    assert servers.look(job("https://gone"), key) == AppProbe(broken="no answer")
    assert servers.look(job("https://gone"), Secret("app-another-0123456789")) == AppProbe(broken="no answer")
    assert len(asked) == 1
    assert servers.look(job("https://a"), key) is not None
    assert servers.look(job("https://a"), key) is not None
    assert len(asked) == 2
    assert servers.look(job("https://b"), key) is None
    assert clock[0] <= 30


def test_bytecode_is_there_only_if_it_is_of_this_source(tmp_path: Path) -> None:
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
def test_proxy_counts_where_this_shell_would_go_through_it(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], base_url: str, names: set[str]
) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert environment._proxy_variables(base_url) == names


def test_without_journal_and_syslog_the_log_of_cron_needs_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_JOURNAL", tmp_path / "none")
    monkeypatch.setattr(machine, "_SYSLOG", tmp_path / "none")
    config = Config(path=None, files=(), jobs={})

    def check(log_file: Path | None) -> Severity:
        case = HostContext(
            job=job(log_file=log_file), config=config, scheduler=UserCrontab(Scope.USER), now=NOW
        )
        return machine.check_journal(case).severity

    assert check(None) is Severity.WARN
    assert check(tmp_path / "log") is Severity.OK
    assert check(tmp_path / "nowhere" / "log") is Severity.WARN
    monkeypatch.setattr(machine, "_SYSLOG", tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        assert check(None) is Severity.OK
    assert check(None) is Severity.WARN, "it left its socket behind"


def test_interpreter_that_others_can_replace_is_not_run_by_doctor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """root runs doctor, and the job's run_as user owns the virtual environment."""
    ran: list[object] = []
    monkeypatch.setattr("dify_job.checks.program.subprocesses.run", lambda *argv, **_: ran.append(argv))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (tmp_path / "bin").chmod(0o777)
    check = program.check_interpreter(case_of(job(), tmp_path / "bin/python"))
    assert check is not None
    assert (check.severity, ran) == (Severity.OK, [])
    assert f"not tried, for it stands in {tmp_path}/bin, which others can write" in check.message


def test_jobs_of_one_name_are_one_job_only_where_they_come_from_one_config(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    config = Config(path=path, files=(path,), jobs={})

    def installed(scope: Scope, source: Path) -> tuple[UserCrontab, InstalledJob]:
        one = InstalledJob(
            job="daily",
            backend="cron",
            scope=scope,
            paths=(),
            fingerprint="",
            source=str(source),
            enabled=True,
        )
        return UserCrontab(scope), one

    mine = installed(Scope.USER, path)
    machines = installed(Scope.SYSTEM, Path("/etc/dify-job/config.toml"))
    case = HostContext.of(job(), config, [mine, machines], NOW)
    assert [one for _, one in case.installed] == [mine[1]]
    both = HostContext.of(job(), config, [mine, installed(Scope.SYSTEM, path)], NOW)
    check = service.check_units(both)
    assert check.severity is Severity.FAIL
    assert check.message == "installed twice, in cron (user) and cron (system): it runs twice"
    elsewhere = HostContext.of(job(), config, [machines], NOW)
    assert elsewhere.one == machines[1]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_that_only_this_shell_trusts_belong_into_the_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    for name in list(os.environ):
        if name.lower().endswith(("_proxy", "_ca_bundle", "_cert_file")):
            monkeypatch.delenv(name)
    bundle = tmp_path / "own-ca.pem"
    bundle.touch()
    monkeypatch.setenv(variable, str(bundle))
    config = Config(path=None, files=(), jobs={})

    def checks(told: Job) -> list[str | None]:
        case = HostContext(job=told, config=config, scheduler=UserCrontab(Scope.USER), now=NOW)
        check = environment.check_environment(case)
        return [check.fix] if check is not None else []

    fix = [f'set ca_file = "{bundle}" in [jobs.daily] of a config file']
    assert checks(job()) == fix
    assert checks(job(ca_file=bundle)) == []
    assert checks(job("http://localhost/v1")) == []
    if variable != "SSL_CERT_FILE":  # of several a run takes one
        monkeypatch.setenv("SSL_CERT_FILE", "/etc/hosts")
        assert checks(job()) == fix
    bundle.unlink()  # requests fails then, and passes over one of OpenSSL's
    assert bool(checks(job())) == (variable != "SSL_CERT_FILE")
