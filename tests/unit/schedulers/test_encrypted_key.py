"""Keys encrypted by systemd-creds: supported units and rejected ones."""

from pathlib import Path

import pytest

from dify_job.config import secrets
from dify_job.config.model import Job, KeySource, Secret
from dify_job.messages.errors import JobError
from dify_job.schedulers.job_spec import job_spec
from dify_job.schedulers.model import Scope
from dify_job.schedulers.units import render_units
from dify_job.system import subprocesses
from dify_job.system.subprocesses import Completed

CREDENTIAL = Path("/etc/credstore.encrypted/dify-job.daily.api_key")
JOB = Job(name="daily", base_url="http://localhost/v1", key=KeySource(encrypted=CREDENTIAL))
PLAN = job_spec(JOB, Path("/etc/dify-job/config.toml"))


def service(scope: Scope, version: int) -> str:
    return render_units(PLAN, scope, version, Path("/etc/systemd/system"))[0].text


@pytest.mark.parametrize("version", [250, 252, 257])
def test_system_unit_loads_the_encrypted_key(version: int) -> None:
    text = service(Scope.SYSTEM, version)
    assert f"\nLoadCredentialEncrypted=api_key:{CREDENTIAL}\n" in text
    assert "LoadCredential=" not in text
    assert "DynamicUser=yes" in text


@pytest.mark.parametrize(("scope", "version"), [(Scope.SYSTEM, 249), (Scope.SYSTEM, 239), (Scope.USER, 257)])
def test_encrypted_key_without_support_of_systemd_is_rejected_with_a_hint(scope: Scope, version: int) -> None:
    with pytest.raises(JobError) as raised:
        service(scope, version)
    assert raised.value.hint is not None
    assert "dify-job secret set daily --no-encrypt" in raised.value.hint


def test_change_between_plain_and_encrypted_key_changes_the_fingerprint() -> None:
    plain = Job(name="daily", base_url="http://localhost/v1", key=KeySource(file=CREDENTIAL))
    assert job_spec(plain, PLAN.config_path).fingerprint != PLAN.fingerprint


def test_manual_run_decrypts_the_key_without_the_key_in_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], **_: object) -> Completed:
        asked.append(argv)
        return Completed(0, b"app-0123456789abcdef\n", b"")

    monkeypatch.setattr(subprocesses, "run", run)
    assert secrets.read_key(JOB, {}) == Secret("app-0123456789abcdef")
    assert asked == [["systemd-creds", "decrypt", "--name=api_key", str(CREDENTIAL), "-"]]


def test_failed_decryption_is_a_configuration_error_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        subprocesses, "run", lambda *_, **__: Completed(1, b"", b"Failed to determine local credential")
    )
    with pytest.raises(JobError, match="cannot be decrypted: Failed to determine local credential"):
        secrets.read_key(JOB, {})
