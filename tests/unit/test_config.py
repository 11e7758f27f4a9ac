import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dify_job.config.dotenv import parse_dotenv
from dify_job.config.loader import load_config, pick
from dify_job.config.model import Config, Job, KeySource, Secret
from dify_job.config.permissions import fault_of_file
from dify_job.config.secrets import check_key, read_key
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(tmp_path: Path, text: str, **parts: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    for name, part in parts.items():
        (tmp_path / "config.d").mkdir(exist_ok=True)
        (tmp_path / "config.d" / f"{name}.toml").write_text(part)
    return path


def mistake(path: Path) -> str:
    with pytest.raises(JobError) as raised:
        load_config(path, environ={})
    assert raised.value.outcome is Outcome.CONFIG
    return raised.value.message


# Layers


def test_the_job_wins_over_the_defaults_and_flags_over_both(tmp_path: Path) -> None:
    path = config(tmp_path, '[defaults]\ntimeout = "1h"\nmode = "blocking"\n[jobs.a]\ntimeout = "5min"\n')
    job = load_config(path, environ={}).jobs["a"]
    assert (job.timeout, job.mode) == (300, "blocking")
    job = load_config(path, environ={}, flags={"timeout": "9s"}).jobs["a"]
    assert job.timeout == 9
    assert str(job.origins["timeout"]) == "flag --timeout"


@pytest.mark.parametrize("written", ['api_key_file = "/srv/key"\nevery = "1h"', ""])
def test_a_key_or_schedule_of_the_flags_replaces_the_one_below_whatever_its_kind(
    tmp_path: Path, written: str
) -> None:
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


def test_what_a_later_file_replaced_has_no_origin_any_more(tmp_path: Path) -> None:
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


def test_own_files_of_config_d_come_after_a_persons_of_the_same_job(tmp_path: Path) -> None:
    path = config(tmp_path, "", **{"a": '[jobs.a]\nevery = "2h"\n', "a.schedule": '[jobs.a]\nevery = "3h"\n'})
    assert load_config(path, environ={}).jobs["a"].schedule.every == 10800


def test_the_search_order(tmp_path: Path) -> None:
    named, by_variable, users = (tmp_path / name for name in ("named.toml", "variable.toml", "dify-job"))
    users.mkdir()
    for path in (named, by_variable, users / "config.toml"):
        path.write_text(f'[jobs.a]\ndescription = "{path.name}"\n')
    environ = {"DIFY_JOB_CONFIG": str(by_variable), "XDG_CONFIG_HOME": str(tmp_path)}
    assert load_config(named, environ=environ).path == named
    assert load_config(environ=environ).path == by_variable
    assert load_config(environ={"XDG_CONFIG_HOME": str(tmp_path)}).path == users / "config.toml"
    with pytest.raises(JobError, match="does not exist"):
        load_config(environ={"DIFY_JOB_CONFIG": str(tmp_path / "gone")})


# Mistakes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[jobs.a]\n\ntimout = 3\n", ":3: unknown key 'timout'; did you mean timeout?"),
        ("[job.a]\n", ":1: unknown key 'job'; did you mean jobs?"),
        ('[jobs.a]\ntimeout = "soon"\n', ":2: timeout 'soon' is not a time span"),
        ("[jobs.a]\ntimeout = 0\n", ":2: timeout must be more than 0 s"),
        ("[jobs.a]\ntimeout = true\n", ":2: timeout must be a time span"),
        ('[jobs.a]\nmode = "fast"\n', ":2: mode must be one of streaming, blocking"),
        ("[jobs.a]\nretry = { atempts = 1 }\n", ":2: retry has no key 'atempts'"),
        ("[jobs.a]\nretry = { attempts = 0 }\n", ":2: retry.attempts must be a whole number from 1"),
        ('[jobs.a]\napi_key = "app-x"\n', ":2: a key does not belong in the configuration"),
        ('[jobs.a]\nevery = "1h"\ncron = "0 7 * * *"\n', ":3: every and cron exclude one another"),
        ('[jobs.a]\nbase_url = "ftp://x"\n', ":2: base_url 'ftp://x' is not an http or https address"),
        ('[jobs.a]\nbase_url = "https://u:p@x"\n', ":2: base_url must not hold a user or password"),
        ('[jobs.a]\ntimezone = "Mars/Base"\n', ":2: timezone 'Mars/Base' is not a time zone"),
        ("[jobs.a]\nevery = 2\n", ":2: every has no unit; write it as 2h, 2min or 2s"),
        ('[jobs.a]\nevery = "2 "\n', ":2: every has no unit"),
        ("[jobs.A]\n", ":1: the job name 'A' is not allowed"),
        ('[jobs."a/b"]\n', "the job name 'a/b' is not allowed"),
        ("[jobs.a]\ninputs = 3\n", ":2: inputs must be a table"),
        ("jobs = 3\n", ":1: jobs must be a table"),
        ("[jobs.a\n", "is not TOML"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    path = config(tmp_path, text)
    assert words in mistake(path)
    assert str(path) in mistake(path)


@pytest.mark.parametrize("line", ["every = 1h", "timezone = Asia/Shanghai", "run_as = reports"])
def test_a_text_without_its_quotes_is_what_the_hint_is_about(tmp_path: Path, line: str) -> None:
    with pytest.raises(JobError, match="at line 2, column") as raised:
        load_config(config(tmp_path, f"[jobs.a]\n{line}\n"), environ={})
    assert (raised.value.hint or "").startswith("texts stand in quotes")


def test_a_file_of_windows_is_read_and_one_of_another_encoding_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b'\xef\xbb\xbf[jobs.a]\r\nevery = "2h"\r\n')
    assert load_config(path, environ={}).jobs["a"].schedule.every == 7200
    env = tmp_path / "windows.env"
    env.write_bytes(b"\xef\xbb\xbfSCHEDULER_INTERVAL_HOURS=2\r\n")
    assert load_config(env_file=env, environ={}).jobs["default"].schedule.every == 7200
    path.write_bytes(b'[jobs.a]\ndescription = "caf\xe9"\n')
    assert f"{path}:2 is not UTF-8" in mistake(path)


def test_all_mistakes_of_all_files_are_named_together(tmp_path: Path) -> None:
    path = config(tmp_path, "[jobs.a]\nfoo = 1\nmode = 2\n", x="[jobs.b]\nbar = 1\n")
    assert len(mistake(path).splitlines()) == 3


def test_pick_wants_a_name_where_there_are_several(tmp_path: Path) -> None:
    loaded = load_config(config(tmp_path, "[jobs.daily]\n[jobs.weekly]\n"), environ={})
    for name, outcome, words in (
        (None, Outcome.USAGE, "several"),
        ("dayly", Outcome.CONFIG, "did you mean daily"),
    ):
        with pytest.raises(JobError, match=words) as raised:
            pick(loaded, name)
        assert raised.value.outcome is outcome


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://localhost", "http://localhost/v1"),
        ("http://localhost/v1/", "http://localhost/v1"),
        ("https://h:8443/dify/", "https://h:8443/dify/v1"),
        ("https://h/dify/v1", "https://h/dify/v1"),
        ("http://[::1]:5001//v1//", "http://[::1]:5001/v1"),
    ],
)
def test_a_base_url_is_taken_with_or_without_v1(tmp_path: Path, written: str, meant: str) -> None:
    assert (
        load_config(config(tmp_path, f'[jobs.a]\nbase_url = "{written}"\n'), environ={}).jobs["a"].base_url
        == meant
    )


# Ownership


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is root's")
@pytest.mark.parametrize("owner", ["another user", "others can write"])
def test_root_refuses_a_config_that_others_can_change(tmp_path: Path, owner: str) -> None:
    path = config(tmp_path, "[jobs.a]\n")
    if owner == "another user":
        os.chown(path, 65534, 65534)
        assert "belongs to user 65534" in mistake(path)
    else:
        path.chmod(0o666)
        assert "can be written by others" in mistake(path)


# The environment and .env


def default(environ: dict[str, str], env_file: Path | None = None) -> Job:
    return load_config(env_file=env_file, environ={"XDG_CONFIG_HOME": "nowhere", **environ}).jobs["default"]


def key_of(job: Job) -> str:
    return read_key(job, {}).reveal()


def test_the_job_of_the_environment() -> None:
    job = default({"DIFY_API_KEY": "app-1", "DIFY_INPUTS": '{"a": 1}', "DIFY_END_USER": "me"})
    assert (key_of(job), job.base_url, job.inputs, job.end_user) == (
        "app-1",
        "http://localhost/v1",
        {"a": 1},
        "me",
    )


def test_the_env_file_of_the_original_system() -> None:
    Path(".env").write_text(
        "# Dify\nDIFY_API_KEY='app-2'\nexport DIFY_BASE_URL=\"http://d/v1\"  # ours\r\n"
        "SCHEDULER_INTERVAL_HOURS=2\nAUTO_START_SCHEDULER=false\n"
    )
    loaded = load_config(environ={"XDG_CONFIG_HOME": "nowhere"})
    job = loaded.jobs["default"]
    assert (key_of(job), job.base_url, job.schedule.every) == ("app-2", "http://d/v1", 7200)
    assert loaded.auto_start is False


def test_a_hostile_env_file_does_not_redirect_the_key_of_the_environment() -> None:
    Path(".env").write_text("DIFY_BASE_URL=http://evil.example/v1\n")
    loaded = load_config(environ={"XDG_CONFIG_HOME": "nowhere", "DIFY_API_KEY": "app-1"})
    assert loaded.jobs["default"].base_url == "http://localhost/v1"
    assert "evil.example" not in loaded.jobs["default"].base_url
    assert "is not used" in loaded.warnings[0]


def test_an_address_of_the_environment_does_not_get_the_key_of_the_env_file() -> None:
    Path(".env").write_text("DIFY_API_KEY=app-2\n")
    assert default({"DIFY_BASE_URL": "http://evil.example"}).base_url == "http://localhost/v1"


def test_a_configured_key_does_not_go_to_an_address_of_the_environment(tmp_path: Path) -> None:
    path = config(tmp_path, '[jobs.a]\napi_key_env = "K"\n')
    job = load_config(path, environ={"DIFY_BASE_URL": "http://evil.example", "K": "k"}).jobs["a"]
    assert job.base_url == "http://localhost/v1"


def test_an_env_file_that_others_can_write_is_not_read() -> None:
    Path(".env").write_text("DIFY_API_KEY=app-2\n")
    Path(".env").chmod(0o666)
    loaded = load_config(environ={"XDG_CONFIG_HOME": "nowhere"})
    assert loaded.jobs["default"].key.inline is None
    assert "is not read: it can be written by others" in loaded.warnings[0]


def test_an_env_file_is_not_read_beside_a_config(tmp_path: Path) -> None:
    Path(".env").write_text("DIFY_API_KEY=app-2\n")
    assert load_config(config(tmp_path, "[jobs.a]\n"), environ={}).jobs["a"].key == KeySource()


def test_a_named_env_file_wins_over_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "x.env"
    file.write_text("DIFY_API_KEY=app-file\nDIFY_BASE_URL=http://file\n")
    job = default({"DIFY_API_KEY": "app-env", "DIFY_BASE_URL": "http://env"}, env_file=file)
    assert (key_of(job), job.base_url) == ("app-file", "http://file/v1")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"DIFY_INPUTS": "{"}, "is not JSON"),
        ({"DIFY_INPUTS": "[1]"}, "must be a table"),
        ({"SCHEDULER_INTERVAL_HOURS": "often"}, "is not a time span"),
        ({"AUTO_START_SCHEDULER": "maybe"}, "neither true nor false"),
        ({"DIFY_BASE_URL": "localhost"}, "is not an http"),
    ],
)
def test_mistakes_in_the_environment(environ: dict[str, str], words: str) -> None:
    with pytest.raises(JobError, match=words):
        default(environ)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A = b ", "b"),
        ("A=b # comment", "b"),
        ("A=b#c", "b#c"),
        ('A="b # c"', "b # c"),
        ("A='it is'", "it is"),
        ('A="x\\ny\\""', 'x\ny"'),
        ("A=", ""),
        ("A=$HOME", "$HOME"),
        ('A={"text": "x"}', '{"text": "x"}'),
        ("\ufeffA=b\r", "b"),
    ],
)
def test_a_line_of_an_env_file(line: str, value: str) -> None:
    assert parse_dotenv(line) == {"A": value}


# The key


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "k.key"
    path.write_text("app-secret-canary-1\n")
    path.chmod(0o600)
    return path


def job_with(file: Path) -> Job:
    return Job(name="a", base_url="http://localhost/v1", key=KeySource(file=file))


def test_a_key_file_is_read(key_file: Path) -> None:
    assert read_key(job_with(key_file), {}) == Secret("app-secret-canary-1")


def test_a_credential_wins_and_its_mode_is_not_checked(key_file: Path, tmp_path: Path) -> None:
    credential = tmp_path / "credentials" / "dify-job.a.api_key"
    credential.parent.mkdir()
    credential.write_text("app-credential")
    credential.chmod(0o644)
    environ = {"CREDENTIALS_DIRECTORY": str(credential.parent)}
    assert read_key(job_with(key_file), environ).reveal() == "app-credential"


@pytest.mark.parametrize("name", ["dify-job.a.api_key", "api_key"])
def test_a_credential_that_cannot_be_read_is_told_and_nothing_takes_its_place(
    key_file: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "credentials" / name).mkdir(parents=True)
    with pytest.raises(JobError, match=f"credentials/{name} cannot be read: Is a directory"):
        read_key(job_with(key_file), {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})


def _readable(path: Path) -> None:
    path.chmod(0o644)


def _in_open_directory(path: Path) -> None:
    path.parent.chmod(0o777)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _missing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_readable, "can be read by others"),
        (_in_open_directory, "which others can write"),
        (_fifo, "not a regular file"),
        (_directory, "not a regular file"),
        (_missing, "No such file"),
    ],
)
def test_a_key_file_that_is_not_secret_is_refused(key_file: Path, spoil: object, words: str) -> None:
    assert callable(spoil)
    spoil(key_file)
    with pytest.raises(JobError, match=words) as raised:
        read_key(job_with(key_file), {})
    assert raised.value.outcome is Outcome.CONFIG
    assert raised.value.hint


def _given_away(path: Path) -> None:
    path.chmod(0o644)
    os.chown(path, 65534, 65534)


def _in_strange_open_directory(path: Path) -> None:
    path.parent.chmod(0o757)
    os.chown(path.parent, 65534, 65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("spoil", [_readable, _in_open_directory, _given_away, _in_strange_open_directory])
def test_the_mend_of_a_key_file_pasted_lets_it_be_read(key_file: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(key_file)
    with pytest.raises(JobError) as raised:
        read_key(job_with(key_file), {})
    subprocess.run(["sh", "-c", raised.value.hint or ""], check=True)
    assert read_key(job_with(key_file), {})


@pytest.mark.skipif(os.geteuid() != 0, reason="to root alone a config must be root's")
def test_the_mend_of_a_config_that_others_can_change_pasted_lets_it_be_read(tmp_path: Path) -> None:
    path = config(tmp_path, "[jobs.a]\n")
    path.chmod(0o666)
    path.parent.chmod(0o777)
    os.chown(path, 65534, 65534)
    for _ in range(2):
        with pytest.raises(JobError, match="others") as raised:
            load_config(path, environ={})
        subprocess.run(["sh", "-c", raised.value.hint or ""], check=True)
    assert load_config(path, environ={}).jobs


def test_a_sticky_directory_is_fine(key_file: Path) -> None:
    key_file.parent.chmod(0o1777)
    assert read_key(job_with(key_file), {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_of_another_user_is_refused(key_file: Path) -> None:
    os.chown(key_file, 65534, 65534)
    with pytest.raises(JobError, match="belongs to user 65534"):
        read_key(job_with(key_file), {})


@pytest.mark.parametrize(
    "text", ["", "\n", "a b", "a\nb", "app-x\n\n", "app-é", "app-x\0", "Bearer app-secret-canary-1", " app-x"]
)
def test_a_key_that_would_break_the_header_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(JobError) as raised:
        check_key(text, "a test")
    assert "canary" not in raised.value.message + (raised.value.hint or "")


def test_a_job_without_a_key_says_where_to_put_it() -> None:
    with pytest.raises(JobError, match="has no API key") as raised:
        read_key(load_config(environ={}).jobs["default"], {})
    assert "DIFY_API_KEY" in (raised.value.hint or "")
    # A variable would change nothing for a job of a configuration file.
    with pytest.raises(JobError, match="has no API key") as raised:
        read_key(Job(name="a", base_url="", key=KeySource()), {})
    assert (raised.value.hint or "").startswith("dify-job secret set a")


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("app-secret-canary-1")
    job = Job(name="a", base_url="", key=KeySource(inline=secret))
    assert "canary" not in f"{secret} {secret!r} {job!r} {secret:}"


def test_reading_a_config_imports_nothing_that_a_run_does_not_need(tmp_path: Path) -> None:
    path = config(tmp_path, '[jobs.a]\ntimeout = "5min"\n')
    code = (
        "import sys; from pathlib import Path; from dify_job.config.loader import load_config;"
        f"load_config(Path({str(path)!r})); import json; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = json.loads(done.stdout)
    assert not {"jinja2", "click", "structlog", "requests", "difflib", "zoneinfo"} & set(loaded)


# The working directory can be anybody's


def as_it_is_read() -> Config:
    return load_config(environ={"XDG_CONFIG_HOME": "nowhere"})


def test_a_fifo_for_an_env_file_blocks_nothing() -> None:
    os.mkfifo(".env", 0o600)
    loaded = as_it_is_read()
    assert loaded.jobs["default"].key.inline is None
    assert "is not a regular file" in loaded.warnings[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("link", [False, True])
def test_an_env_file_that_another_user_made_or_linked_is_not_read(tmp_path: Path, link: bool) -> None:
    own = tmp_path / "own.env"
    own.write_text("DIFY_API_KEY=app-2\nDIFY_BASE_URL=http://evil.example\n")
    own.chmod(0o600)
    if link:
        Path(".env").symlink_to(own)
    else:
        own.rename(".env")
    assert as_it_is_read().jobs["default"].base_url == "http://evil.example/v1"
    os.chown(".env", 65534, 65534, follow_symlinks=False)
    loaded = as_it_is_read()
    assert loaded.jobs["default"].key.inline is None
    assert "is not read" in loaded.warnings[0]


def test_an_env_file_is_judged_and_read_through_one_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it could be exchanged between the two."""
    Path(".env").write_text("DIFY_API_KEY=app-good\n")

    def exchange(opened: os.stat_result, *, private: bool) -> str | None:
        fault = fault_of_file(opened, private=private)
        Path(".env").unlink()
        Path(".env").write_text("DIFY_API_KEY=app-evil\n")
        return fault

    monkeypatch.setattr("dify_job.config.discovery.fault_of_file", exchange)
    assert key_of(as_it_is_read().jobs["default"]) == "app-good"


# Key files


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_key_file_may_be_read_by_its_owner_alone(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    assert read_key(job_with(key_file), {})


@pytest.mark.parametrize("mode", [0o440, 0o640, 0o604, 0o660, 0o666])
def test_a_key_file_that_a_group_or_the_world_reads_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(JobError, match="by others"):
        read_key(job_with(key_file), {})


def test_a_link_to_a_key_file_is_judged_by_where_it_leads(key_file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.key"
    link.symlink_to(key_file)
    assert read_key(job_with(link), {})
    open_directory = tmp_path / "open"
    open_directory.mkdir()
    elsewhere = open_directory / "k.key"
    elsewhere.write_text("app-x")
    elsewhere.chmod(0o600)
    open_directory.chmod(0o777)
    link.unlink()
    link.symlink_to(elsewhere)
    with pytest.raises(JobError, match="which others can write"):
        read_key(job_with(link), {})


@pytest.mark.parametrize("source", ["file", "environment", "inline"])
def test_a_credential_wins_over_every_other_source(key_file: Path, tmp_path: Path, source: str) -> None:
    directory = tmp_path / "credentials"
    directory.mkdir()
    (directory / "api_key").write_text("app-credential\n")
    sources = {
        "file": KeySource(file=key_file),
        "environment": KeySource(env="K"),
        "inline": KeySource(inline=Secret("app-inline")),
    }
    job = Job(name="a", base_url="http://localhost/v1", key=sources[source])
    environ = {"CREDENTIALS_DIRECTORY": str(directory), "K": "app-env"}
    assert read_key(job, environ).reveal() == "app-credential"


def test_a_configured_key_stays_with_the_address_of_its_own_config(tmp_path: Path) -> None:
    """Neither a hostile .env beside it nor a variable takes it elsewhere."""
    Path(".env").write_text("DIFY_BASE_URL=http://evil.example\n")
    path = config(tmp_path, '[defaults]\nbase_url = "http://good"\n[jobs.a]\napi_key_env = "K"\n')
    environ = {"DIFY_BASE_URL": "http://evil.example", "DIFY_API_KEY": "app-other", "K": "app-own"}
    job = load_config(path, environ=environ).jobs["a"]
    assert (job.base_url, read_key(job, environ).reveal()) == ("http://good/v1", "app-own")


# Files that cannot be read


@pytest.mark.skipif(os.geteuid() != 0, reason="root becomes another user here")
@pytest.mark.parametrize("where", ["directory", "file", "config.d"])
def test_a_config_that_a_user_may_not_read_is_named_and_no_fault_of_ours(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dify-job" / "config.toml"
    path.parent.mkdir()
    path.write_text("[jobs.a]\n")
    (path.parent / "config.d").mkdir()
    {"directory": path.parent, "file": path, "config.d": path.parent / "config.d"}[where].chmod(0o600)
    for parent in tmp_path.parents:
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    monkeypatch.setattr("dify_job.config.discovery._SYSTEM_CONFIG", path)
    os.seteuid(65534)
    try:
        with pytest.raises(JobError, match="cannot be read: Permission denied") as raised:
            load_config(environ={"XDG_CONFIG_HOME": str(tmp_path / "other")})
    finally:
        os.seteuid(0)
    assert raised.value.outcome is Outcome.CONFIG


@pytest.mark.skipif(os.geteuid() != 0, reason="root becomes another user here")
def test_the_home_of_another_user_is_passed_over(tmp_path: Path) -> None:
    home = tmp_path / "dify-job"
    home.mkdir(0o700)
    (home / "config.toml").write_text("[jobs.a]\n")
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        assert load_config(environ={"XDG_CONFIG_HOME": str(tmp_path)}).path is None
    finally:
        os.seteuid(0)
