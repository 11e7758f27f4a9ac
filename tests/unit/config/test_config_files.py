"""config.d: ignored files, and the jobs that a broken file affects."""

import os
import time
from pathlib import Path

import pytest

from dify_job.config.loader import load_config, pick, pick_all, pick_usable
from dify_job.config.model import Config
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError

MAIN = '[defaults]\nbase_url = "http://d"\n[jobs.good]\nmode = "blocking"\n'


def load(tmp_path: Path, main: str = MAIN, **parts: str | bytes) -> Config:
    (tmp_path / "config.toml").write_text(main)
    (tmp_path / "config.d").mkdir(exist_ok=True)
    for name, part in parts.items():
        content = part if isinstance(part, bytes) else part.encode()
        (tmp_path / "config.d" / f"{name}.toml").write_bytes(content)
    return load_config(tmp_path / "config.toml", environ={})


@pytest.mark.parametrize("name", [".#x", "._x", ".x.toml.swp", ".hidden"])
def test_files_with_a_leading_dot_are_ignored(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / f"{name}.toml").symlink_to("nobody@host.123:456")
    (tmp_path / "config.d" / f"{name}2.toml").write_bytes(b"\0\5\x16\7 not TOML")
    config = load(tmp_path)
    assert (list(config.jobs), config.broken_files) == (["good"], ())


@pytest.mark.parametrize(
    ("content", "broken_jobs"),
    [
        ("this is not TOML", []),
        ("[jobs.bad]\nevery = 1h\n", ["bad"]),
        ("[jobs.bad\n", ["bad"]),
        ("[jobs.bad.inputs]\nx = \n", ["bad"]),
        ('jobs.bad.every = "1h"\njobs.bad.every = "2h"\n', ["bad"]),
        ("[jobs.good]\nevery = 1h\n", ["good"]),
        ("[jobs.bad]\ntimout = 1\n", ["bad"]),
        ('[jobs.bad]\nrun_as = "a b"\n', ["bad"]),
        ("[job.bad]\n", []),
        ("[defaults]\nmode = \n", ["good"]),
        (b"[jobs.bad]\ndescription = '\xe9'\n", ["bad"]),
        (b"\xff\xfe[\0", []),
        (b"\xef\xbb\xbf[jobs.bad]\nevery = 1h\n", ["bad"]),
        ("[jobs.bad]\ninputs." + "a." * 5000 + "a = 1\n", ["bad"]),
        ("[jobs.bad]\ninputs.a = " + "[" * 3000 + "]" * 3000 + "\n", ["bad"]),
        ("[jobs.bad]\ninputs.a = " + "9" * 5000 + "\n", ["bad"]),
        ("[jobs.bad]\ninputs.a = 0x" + "f" * 5000 + "\n", ["bad"]),
    ],
)
def test_broken_file_fails_the_jobs_that_need_it(
    tmp_path: Path, content: str | bytes, broken_jobs: list[str]
) -> None:
    main = MAIN + "[jobs.second]\n" if broken_jobs == ["good"] else MAIN
    if broken_jobs == ["good"] and "defaults" in str(content):
        with pytest.raises(JobError, match=r"x\.toml"):
            load(tmp_path, main, x=content)
        return
    config = load(tmp_path, main, x=content)
    assert list(config.broken) == broken_jobs
    for name in broken_jobs:
        with pytest.raises(JobError, match=r"config\.d/x\.toml") as raised:
            pick(config, name)
        assert raised.value.outcome is Outcome.CONFIG
        assert raised.value.hint
    others = [name for name in ("good", "second") if name in main and name not in broken_jobs]
    if "good" not in broken_jobs:
        assert pick(config, "good").base_url == "http://d/v1"
    assert [job.name for job in pick_usable(config, [])] == [n for n in others if f"[jobs.{n}]" in main]
    with pytest.raises(JobError, match=r"x\.toml"):
        pick_all(config, [])


def test_broken_file_fails_the_job_of_its_name(tmp_path: Path) -> None:
    main = "[jobs.good]\n[jobs.other]\n[jobs.third]\n"
    config = load(tmp_path, main, **{"other": "garbage", "good.schedule": "[jobs.gone]\n every = "})
    assert (list(config.jobs), sorted(config.broken)) == (["third"], ["good", "other"])


def test_job_of_a_broken_file_is_reported_with_the_error_of_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, new="garbage")
    with pytest.raises(JobError, match=r"new\.toml is not TOML"):
        pick(config, "new")
    assert pick(config, None).name == "good"


def test_job_is_not_reported_missing_if_a_file_is_unreadable(tmp_path: Path) -> None:
    config = load(tmp_path, teams="garbage")
    with pytest.raises(JobError, match=r"'reports'.*teams\.toml is not TOML") as raised:
        pick(config, "reports")
    assert "init" not in str(raised.value.hint)


@pytest.mark.parametrize("kind", ["fifo", "directory", "dangling", "device"])
def test_path_that_is_no_regular_file_fails_no_job(tmp_path: Path, kind: str) -> None:
    (tmp_path / "config.d").mkdir()
    place = tmp_path / "config.d/x.toml"
    match kind:
        case "fifo":
            os.mkfifo(place)
        case "directory":
            place.mkdir()
        case "dangling":
            place.symlink_to("gone.toml")
        case _:
            place.symlink_to("/dev/zero")
    began = time.monotonic()
    config = load(tmp_path)
    assert time.monotonic() - began < 60
    assert list(config.jobs) == ["good"]
    assert [file.path for file in config.broken_files] == [place]


@pytest.mark.skipif(os.geteuid() != 0, reason="root becomes another user here")
def test_unreadable_file_fails_every_job(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o755)
    load(tmp_path, x="[defaults]\nmode = 'blocking'\n")
    (tmp_path / "config.d/x.toml").chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(JobError, match=r"x\.toml cannot be read: Permission denied"):
            load_config(tmp_path / "config.toml", environ={})
    finally:
        os.seteuid(0)


def test_error_in_one_job_does_not_affect_others(tmp_path: Path) -> None:
    config = load(tmp_path, MAIN + '[jobs.bad]\ntimout = "1h"\n')
    assert (list(config.jobs), list(config.broken), config.names) == (["good"], ["bad"], ("good", "bad"))
    with pytest.raises(JobError, match="several jobs"):
        pick(config, None)


def test_deep_nesting_in_the_config_is_an_error(tmp_path: Path) -> None:
    for value in ("[" * 5000 + "]" * 5000, "9" * 5000, "{a=" * 300 + "1" + "}" * 300):
        with pytest.raises(JobError, match=r"config\.toml") as raised:
            load(tmp_path, f"[jobs.a]\ninputs.x = {value}\n")
        assert raised.value.outcome is Outcome.CONFIG
