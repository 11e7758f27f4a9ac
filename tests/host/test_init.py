"""init and install set up a job in two commands; keys can be encrypted for the machine."""

import json
import stat
from collections.abc import Iterator

import pytest

from .conftest import CANARY, Host
from .test_user_units import Login, alice  # noqa: F401 - a fixture

SERVICE = "dify-job-daily.service"
CREDENTIAL = "/etc/credstore.encrypted/dify-job.daily.api_key"


@pytest.fixture
def bare(host: Host) -> Iterator[Host]:
    host.run("rm", "-rf", "/etc/dify-job")
    yield host
    host.run("rm", "-rf", CREDENTIAL)


def test_init_with_a_key_on_stdin_works_under_a_strict_umask(bare: Host) -> None:
    script = f"umask 077; dify-job init daily --base-url {bare.server.base_url} --every 2h"
    done = bare.run("sh", "-ec", script, stdin=CANARY)
    assert CANARY not in done.stdout + done.stderr
    modes = {
        path: stat.S_IMODE((bare.machine.root / path).stat().st_mode)
        for path in ("etc/dify-job", "etc/dify-job/config.toml", "etc/dify-job/credentials")
    }
    assert modes == {
        "etc/dify-job": 0o755,
        "etc/dify-job/config.toml": 0o644,
        "etc/dify-job/credentials": 0o700,
    }
    assert bare.server.runs == []
    installed = bare.run("sh", "-ec", "umask 077; dify-job install daily").stdout
    assert "daily: installed, every 2h, enabled" in installed
    assert bare.show("dify-job-daily.timer", "ActiveState") == "active"
    assert bare.server.runs == []
    bare.run("systemctl", "start", SERVICE)
    assert len(bare.server.runs) == 1
    assert bare.show(SERVICE, "ExecMainStatus") == "0"
    assert json.loads(bare("doctor", "daily", "--json", check=False).stdout)["worst"] != "fail"


def test_init_as_a_user(alice: Login) -> None:  # noqa: F811
    host = alice.host
    home = "env", "-C", "/home/alice", "/opt/dify-job/bin/dify-job"
    host.run(*home, "init", "daily", "--base-url", host.server.base_url, user="alice", stdin=CANARY)
    assert "daily is enabled" in alice("install", "daily").stdout
    alice.run("systemctl", "--user", "start", SERVICE)
    assert len(host.server.runs) == 1
    alice("uninstall", "daily")


@pytest.mark.since(250)
def test_encrypted_key_is_stored_nowhere_in_plain(bare: Host) -> None:
    bare.run("dify-job", "init", "daily", "--base-url", bare.server.base_url, stdin=CANARY)
    bare("install", "daily")
    output = bare.run("dify-job", "secret", "set", "daily", "--encrypt", stdin=CANARY).stdout
    assert f"stored in {CREDENTIAL}, encrypted" in output
    plain = "/etc/dify-job/credentials/daily.key"
    assert f"the old API key is still in {plain}; to delete it: shred -u {plain}" in output
    bare.run("shred", "-u", plain)
    assert bare.status()["sync"] == "outdated"
    bare("install", "daily")
    unit = bare.machine.read(f"/etc/systemd/system/{SERVICE}")
    assert f"LoadCredentialEncrypted=api_key:{CREDENTIAL}\n" in unit
    assert "LoadCredential=" not in unit
    assert bare.run("grep", "-rl", CANARY, "/etc", "/var/lib/dify-job", check=False).stdout == ""
    bare.run("systemctl", "start", SERVICE)
    assert json.loads(bare("run", "daily").stdout)["outcome"] == "succeeded"
    assert len(bare.server.runs) == 2
    assert bare("config", "validate").code == 0
    shown = bare("config", "show", "daily").stdout
    assert CREDENTIAL in shown
    assert CANARY not in shown
    lines = json.loads(bare("doctor", "daily", "--json", check=False).stdout)["jobs"][0]["checks"]
    assert {"ok"} == {
        line["level"] for line in lines if line["check"] in ("key", "access", "units", "override")
    }


@pytest.mark.since(250)
def test_new_key_stays_encrypted_unless_no_encrypt_is_given(bare: Host) -> None:
    bare.run("dify-job", "init", "daily", "--base-url", bare.server.base_url, stdin=CANARY)
    bare.run("dify-job", "secret", "set", "daily", "--encrypt", stdin=CANARY)
    bare("install", "daily")
    before = bare.machine.read(CREDENTIAL)
    output = bare.run("dify-job", "secret", "set", "daily", stdin="app-slow").stdout
    assert "encrypted" in output
    assert "dify-job install" not in output
    assert bare.machine.read(CREDENTIAL) != before
    bare.run("dify-job", "secret", "set", "daily", "--no-encrypt", stdin=CANARY)
    bare("install", "daily")
    assert "LoadCredential=api_key:/etc/dify-job/credentials/daily.key" in bare.machine.read(
        f"/etc/systemd/system/{SERVICE}"
    )
    bare.run("systemctl", "start", SERVICE)
    assert len(bare.server.runs) == 1


@pytest.mark.since(250)
def test_key_encrypted_on_another_machine_is_reported_with_a_working_fix(bare: Host) -> None:
    bare.run("dify-job", "init", "daily", "--base-url", bare.server.base_url, stdin=CANARY)
    bare.run("dify-job", "secret", "set", "daily", "--encrypt", stdin=CANARY)
    bare("install", "daily")
    bare.run("sh", "-ec", f"sed -i 's/^..../AAAA/' {CREDENTIAL}")
    assert bare.run("systemctl", "start", SERVICE, check=False).code == 1
    lines = {
        line["check"]: line
        for line in json.loads(bare("doctor", "daily", "--json", check=False).stdout)["jobs"][0]["checks"]
    }
    assert lines["key"]["level"] == "fail"
    assert "cannot be decrypted" in lines["key"]["message"]
    assert "243/CREDENTIALS" in lines["last-run"]["message"]
    fix = lines["last-run"]["fix"]
    assert fix == "dify-job secret set daily"
    bare.run(*fix.split(), stdin=CANARY)
    bare.run("systemctl", "start", SERVICE)
    assert len(bare.server.runs) == 1


@pytest.mark.since(250)
def test_encrypted_key_is_refused_under_cron_run_as(bare: Host) -> None:
    bare.run("dify-job", "init", "daily", "--base-url", bare.server.base_url, stdin=CANARY)
    bare.run("dify-job", "secret", "set", "daily", "--encrypt", stdin=CANARY)
    refused = bare("install", "daily", "--backend", "cron", "--run-as", "alice", check=False)
    assert refused.code == 78
    assert "alice cannot decrypt the API key" in refused.stderr
    assert bare("install", "daily", "--backend", "cron").code == 0


def test_secret_set_preserves_the_owner_of_a_key(bare: Host) -> None:
    bare.run("dify-job", "init", "daily", "--base-url", bare.server.base_url, stdin=CANARY)
    key = "/etc/dify-job/credentials/daily.key"
    bare.run("sh", "-ec", f"chmod 711 /etc/dify-job/credentials; chown alice {key}")
    bare("install", "daily", "--backend", "cron", "--run-as", "alice")
    bare.run("dify-job", "secret", "set", "daily", stdin="app-two-seconds")
    assert bare.run("stat", "-c", "%U %a", key).stdout == "alice 600\n"
    assert bare.machine.read(key) == "app-two-seconds\n"
