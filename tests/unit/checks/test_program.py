"""Checks of interpreter, bytecode and environment."""

import os
import py_compile
import sys
from pathlib import Path

import pytest

from dify_job.checks import program
from dify_job.checks.finding import Severity
from dify_job.config.model import Job
from tests.support.host_contexts import context_of, installed_context_of, make_job


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


def test_doctor_does_not_run_an_interpreter_that_others_can_replace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Root runs doctor, but the job's run_as user owns the virtual environment."""
    ran: list[object] = []
    monkeypatch.setattr("dify_job.checks.program.subprocesses.run", lambda *argv, **_: ran.append(argv))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (tmp_path / "bin").chmod(0o777)
    check = program.check_interpreter(installed_context_of(make_job(), tmp_path / "bin/python"))
    assert check is not None
    assert (check.severity, ran) == (Severity.OK, [])
    assert f"not safe: other users can change files in the directory {tmp_path}/bin" in check.message


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

    def checks(job: Job) -> list[str | None]:
        check = program.check_environment(context_of(job))
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
