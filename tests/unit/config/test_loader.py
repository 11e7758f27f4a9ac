"""Loading the config: layers, merging, errors with line numbers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dify_job.config import discovery
from dify_job.config.loader import load_config, pick, pick_all
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from tests.support.config_files import config


def error_of(path: Path) -> str:
    with pytest.raises(JobError) as raised:
        pick_all(load_config(path, environ={}), [])
    assert raised.value.outcome is Outcome.CONFIG
    return raised.value.message


def test_job_overrides_defaults_and_flags_override_both(tmp_path: Path) -> None:
    path = config(tmp_path, '[defaults]\ntimeout = "1h"\nmode = "blocking"\n[jobs.a]\ntimeout = "5min"\n')
    job = load_config(path, environ={}).jobs["a"]
    assert (job.timeout, job.mode) == (300, "blocking")
    job = load_config(path, environ={}, flags={"timeout": "9s"}).jobs["a"]
    assert job.timeout == 9
    assert str(job.origins["timeout"]) == "flag --timeout"


@pytest.mark.parametrize("name", ["api_key_file", "api_key_credential", "ca_file"])
def test_relative_path_is_relative_to_the_directory_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config(tmp_path, f'[jobs.a]\n{name} = "secrets/x"\n')
    monkeypatch.chdir("/")
    relative = Path(os.path.relpath(tmp_path, "/"), "config.toml")
    for path in (tmp_path / "config.toml", relative):
        job = load_config(path, environ={}).jobs["a"]
        values = (job.key.file, job.key.encrypted, job.ca_file)
        assert [value for value in values if value] == [tmp_path / "secrets/x"]


@pytest.mark.parametrize("written", ['api_key_file = "/srv/key"\nevery = "1h"', ""])
def test_key_or_schedule_of_the_flags_replaces_any_kind_in_the_config(tmp_path: Path, written: str) -> None:
    (tmp_path / "c.toml").write_text(f"[jobs.default]\n{written}\n")
    path, environ = (tmp_path / "c.toml", {}) if written else (None, {"DIFY_API_KEY": "app-below-0123456789"})
    job = pick(load_config(path, environ=environ, flags={"api_key_env": "K", "cron": "5 * * * *"}), None)
    assert (job.key.env, job.key.file, job.key.inline, str(job.key.origin)) == (
        "K",
        None,
        None,
        "flag --api-key-env",
    )
    assert (job.schedule.cron, job.schedule.every) == ("5 * * * *", None)
    assert not job.origins.keys() & {"api_key_file", "every"}


def test_config_d_is_merged_key_by_key_in_lexical_order(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        '[jobs.a]\nend_user = "x"\nevery = "1h"\ninputs = { a = 1, b = 1 }\n',
        b='[jobs.a]\nmode = "blocking"\ncron = "0 7 * * *"\n[jobs.a.inputs]\nb = 2\n',
        c='[jobs.a]\nmode = "streaming"\n[jobs.new]\n',
    )
    loaded = load_config(path, environ={}, with_lines=True)
    job = loaded.jobs["a"]
    assert (job.end_user, job.mode, dict(job.inputs)) == ("x", "streaming", {"a": 1, "b": 2})
    assert (job.schedule.every, job.schedule.cron) == (None, "0 7 * * *")
    assert str(job.origins["mode"]) == f"{tmp_path}/config.d/c.toml:2"
    assert list(loaded.jobs) == ["a", "new"]


def test_replaced_setting_has_the_origin_of_its_replacement(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        '[jobs.a]\ncron = "0 7 * * *"\napi_key_file = "/k"\n',
        a='[jobs.a]\nevery = "2h"\napi_key_credential = "/c"\n',
    )
    job = load_config(path, environ={}, with_lines=True).jobs["a"]
    assert (job.schedule.every, job.schedule.cron) == (7200, None)
    assert (job.key.file, job.key.encrypted) == (None, Path("/c"))
    assert set(job.origins) == {"every", "api_key_credential"}
    assert str(job.key.origin) == f"{tmp_path}/config.d/a.toml:3"


def test_managed_file_overrides_a_user_file_of_the_same_job(tmp_path: Path) -> None:
    path = config(tmp_path, "", **{"a": '[jobs.a]\nevery = "2h"\n', "a.schedule": '[jobs.a]\nevery = "3h"\n'})
    assert load_config(path, environ={}).jobs["a"].schedule.every == 10800


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[jobs.a]\n\ntimout = 3\n", ":3: unknown setting 'timout'; did you mean timeout?"),
        ("[job.a]\n", ":1: unknown setting 'job'; did you mean jobs?"),
        ("[daily]\nevery = '2h'\n", ":1: unknown setting 'daily'; a job begins with [jobs.daily]"),
        ("every = '2h'\n", ":1: unknown setting 'every'; write a setting below [defaults] or [jobs.NAME]"),
        ('[jobs.a]\ntimeout = "soon"\n', ":2: timeout is 'soon', which is not a time span"),
        ("[jobs.a]\ntimeout = 0\n", ":2: timeout must be more than 0 s"),
        ("[jobs.a]\ntimeout = true\n", ":2: timeout must be a time span"),
        ('[jobs.a]\nmode = "fast"\n', ":2: mode must be one of streaming, blocking"),
        ("[jobs.a]\nretry = { atempts = 1 }\n", ":2: retry has no setting 'atempts'"),
        ("[jobs.a]\nretry = { attempts = 0 }\n", ":2: retry.attempts must be a whole number of at least 1"),
        ('[jobs.a]\napi_key = "app-x"\n', ":2: the API key must not be in the configuration"),
        (
            '[jobs.a]\nevery = "1h"\ncron = "0 7 * * *"\n',
            ":3: the settings every, cron cannot be used together",
        ),
        ('[jobs.a]\nbase_url = "http://${HOST}/v1"\n', ":2: base_url must contain the name of the server"),
        ('[jobs.a]\nbase_url = "http://<host>:80"\n', ":2: base_url must contain the name of the server"),
        ('[jobs.a]\nbase_url = "ftp://x"\n', ":2: base_url is not an http or https address"),
        ('[jobs.a]\nbase_url = "https://a..b"\n', ":2: base_url is not an http or https address"),
        ('[jobs.a]\nbase_url = "https://*.example.com"\n', ":2: base_url is not an http or https address"),
        (f'[jobs.a]\nbase_url = "https://{"a" * 64}.b"\n', ":2: base_url is not an http or https address"),
        ('[jobs.a]\nbase_url = "https://u:p@x"\n', ":2: base_url must not contain a user or password"),
        ('[jobs.a]\ntimezone = "Mars/Base"\n', ":2: timezone is 'Mars/Base', a time zone"),
        ("[jobs.a]\nevery = 2\n", ":2: every has no unit; write it as 2h, 2min or 2s"),
        ('[jobs.a]\nevery = "2 "\n', ":2: every has no unit"),
        ("[jobs.A]\n", ":1: the job name 'A' is not allowed"),
        ('[jobs."a/b"]\n', "the job name 'a/b' is not allowed"),
        ("[jobs.a]\ninputs = 3\n", ":2: inputs must be a table"),
        ("jobs = 3\n", ":1: jobs must be a table"),
        ("[jobs.a\n", "is not TOML"),
    ],
)
def test_error_is_reported_with_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    path = config(tmp_path, text)
    assert words in error_of(path)
    assert str(path) in error_of(path)


@pytest.mark.parametrize("line", ["every = 1h", "timezone = Asia/Shanghai", "run_as = reports"])
def test_missing_quotes_are_explained_by_the_hint(tmp_path: Path, line: str) -> None:
    with pytest.raises(JobError, match="at line 2, column") as raised:
        load_config(config(tmp_path, f"[jobs.a]\n{line}\n"), environ={})
    assert (raised.value.hint or "").startswith("write strings in quotes")


def test_windows_encoding_is_read_and_other_bytes_are_reported_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b'\xef\xbb\xbf[jobs.a]\r\nevery = "2h"\r\n')
    assert load_config(path, environ={}).jobs["a"].schedule.every == 7200
    env = tmp_path / "windows.env"
    env.write_bytes(b"\xef\xbb\xbfSCHEDULER_INTERVAL_HOURS=2\r\n")
    assert load_config(env_file=env, environ={}).jobs["default"].schedule.every == 7200
    path.write_bytes(b'[jobs.a]\ndescription = "caf\xe9"\n')
    assert f"{path} is not UTF-8 (line 2)" in error_of(path)


def test_errors_of_all_files_are_reported_together(tmp_path: Path) -> None:
    path = config(tmp_path, "[jobs.a]\nfoo = 1\nmode = 2\n", x="[jobs.b]\nbar = 1\n")
    assert len(error_of(path).splitlines()) == 3


def test_pick_needs_a_name_if_there_are_several_jobs(tmp_path: Path) -> None:
    loaded = load_config(config(tmp_path, "[jobs.daily]\n[jobs.weekly]\n"), environ={})
    for name, outcome, words in (
        (None, Outcome.USAGE, "several"),
        ("dayly", Outcome.CONFIG, "did you mean daily"),
    ):
        with pytest.raises(JobError, match=words) as raised:
            pick(loaded, name)
        assert raised.value.outcome is outcome


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("http://localhost", "http://localhost/v1"),
        ("http://localhost/v1/", "http://localhost/v1"),
        ("https://h:8443/dify/", "https://h:8443/dify/v1"),
        ("https://h/dify/v1", "https://h/dify/v1"),
        ("http://[::1]:5001//v1//", "http://[::1]:5001/v1"),
    ],
)
def test_base_url_is_accepted_with_or_without_v1(tmp_path: Path, written: str, expected: str) -> None:
    assert (
        load_config(config(tmp_path, f'[jobs.a]\nbase_url = "{written}"\n'), environ={}).jobs["a"].base_url
        == expected
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is root's")
@pytest.mark.parametrize("owner", ["another user", "others can write"])
def test_root_rejects_a_config_that_others_can_change(tmp_path: Path, owner: str) -> None:
    path = config(tmp_path, "[jobs.a]\n")
    if owner == "another user":
        os.chown(path, 65534, 65534)
        assert "belongs to user 65534" in error_of(path)
    else:
        path.chmod(0o666)
        assert "can be changed by other users" in error_of(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="to root alone a config must be root's")
def test_pasted_fix_makes_a_rejected_config_readable(tmp_path: Path) -> None:
    path = config(tmp_path, "[jobs.a]\n")
    path.chmod(0o666)
    path.parent.chmod(0o777)
    os.chown(path, 65534, 65534)
    for _ in range(2):
        with pytest.raises(JobError, match="other users could change it") as raised:
            load_config(path, environ={})
        subprocess.run(["sh", "-c", raised.value.hint or ""], check=True)
    assert load_config(path, environ={}).jobs


def test_loading_a_config_imports_no_unneeded_modules(tmp_path: Path) -> None:
    path = config(tmp_path, '[jobs.a]\ntimeout = "5min"\n')
    code = (
        "import sys, dify_job.cli; from pathlib import Path; from dify_job.config.loader import load_config;"
        f"load_config(Path({str(path)!r})); import json; print(json.dumps(sorted("
        "name for name in sys.modules if type(sys.modules[name]).__name__ != 'LazyModule')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = json.loads(done.stdout)
    assert not {"jinja2", "click", "structlog", "requests", "difflib", "zoneinfo"} & set(loaded)


def test_lines_of_many_jobs_are_found_without_a_search_for_each_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`doctor`, `config validate` and `install` name the line of each setting."""
    keys_in, searched = discovery._keys_in, list[str]()

    def search(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
        searched.append(text)
        return keys_in(text)

    monkeypatch.setattr(discovery, "_keys_in", search)
    path = tmp_path / "config.toml"
    path.write_text("".join(f'[jobs.job-{number}]\nbase_url = "http://localhost"\n' for number in range(50)))
    config = load_config(path, with_lines=True)
    assert config.jobs["job-49"].origins["base_url"].line == 100
    assert len(searched) < 5, "not for each job"
