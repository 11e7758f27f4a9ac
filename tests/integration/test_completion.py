"""Shell completion of commands, options and job names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environment import bare_environ

_COMPLETE = {
    "bash": (
        'eval "$(_DIFY_JOB_COMPLETE=bash_source dify-job)"; COMP_WORDS=({words}); '
        "COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); _dify_job_completion dify-job; "
        'printf "%s\\n" "${{COMPREPLY[@]}}"'
    ),
    "fish": '_DIFY_JOB_COMPLETE=fish_source dify-job | source; complete -C "{line}"',
}


def completed(shell: str, line: str, home: Path) -> set[str]:
    (home / ".config/dify-job").mkdir(parents=True, exist_ok=True)
    (home / ".config/dify-job/config.toml").write_text(
        '[jobs.daily]\ndescription = "sales"\n[jobs.data-sync]\n[jobs.weekly]\n'
    )
    (home / "bin").mkdir(exist_ok=True)
    (home / "bin/dify-job").write_text(f'#!/bin/sh\nexec {sys.executable} -m dify_job "$@"\n')
    (home / "bin/dify-job").chmod(0o755)
    words = " ".join(f"'{word}'" for word in line.split(" "))
    done = subprocess.run(
        [shell, "-c", _COMPLETE[shell].format(words=words, line=line)],
        env=bare_environ(HOME=str(home), PATH=f"{home}/bin:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.split("\t")[0] for line in done.stdout.split("\n") if line}


@pytest.mark.parametrize("shell", [name for name in _COMPLETE if shutil.which(name)])
def test_names_of_jobs_are_completed(shell: str, tmp_path: Path) -> None:
    assert completed(shell, "dify-job run da", tmp_path) == {"daily", "data-sync"}
    assert completed(shell, "dify-job install daily w", tmp_path) == {"weekly"}


def test_broken_config_completes_no_job_and_prints_nothing(tmp_path: Path) -> None:
    (tmp_path / ".config/dify-job").mkdir(parents=True)
    assert completed("bash", "dify-job sta", tmp_path) == {"status"}
    (tmp_path / ".config/dify-job/config.toml").write_text("[[[")
    (tmp_path / "other.toml").write_text("[[[")
    assert completed("bash", f"dify-job run --config {tmp_path}/other.toml d", tmp_path) == set()
    assert "--timeout" in completed("bash", "dify-job run --ti", tmp_path)


@pytest.mark.parametrize(
    ("locale", "of_run", "of_validate"),
    [
        ("C.UTF-8", "Run a job's workflow once.", "Check every file, key, schedule and template of"),
        ("zh_CN.UTF-8", "运行一次任务的工作流。", "检查每个任务的所有文件、密钥、时间表和模板"),
    ],
)
def test_completion_help_is_complete_and_translated(locale: str, of_run: str, of_validate: str) -> None:
    def complete(words: str, instruction: str, at: str) -> str:
        env = {"LANG": locale, "COMP_WORDS": words, "COMP_CWORD": at, "_DIFY_JOB_COMPLETE": instruction}
        argv = [sys.executable, "-m", "dify_job"]
        return subprocess.run(argv, env=env, capture_output=True, encoding="utf-8", check=True).stdout

    assert f"plain\nrun\n{of_run}\n" in complete("dify-job ", "zsh_complete", "1")
    assert f"plain,validate\t{of_validate}" in complete("dify-job config ", "fish_complete", "")
    option = complete("dify-job run --time", "fish_complete", "--time").strip()
    assert option.startswith("plain,--timeout\t")
    assert option.isascii() == (locale == "C.UTF-8")
