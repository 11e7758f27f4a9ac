"""A run prints text on a terminal, JSON otherwise and with --json; every log line names the job."""

import json
import os
import pty
import re

import pytest

from tests.support.command import KEY, Command
from tests.support.fake_dify.server import FakeDify
from tests.support.terminal import read_terminal


def run_on_terminal(
    dify_job: Command, server: FakeDify, *args: str, key: str = KEY, language: str = "C.UTF-8"
) -> tuple[int, str]:
    """Return the exit status, and what a terminal shows without the live lines."""
    code, shown = terminal_bytes(dify_job, server, *args, key=key, language=language)
    return code, re.sub(r"[^\n]*\x1b\[2K", "", shown.decode().replace("\r\n", "\n"))


def terminal_bytes(
    dify_job: Command, server: FakeDify, *args: str, key: str = KEY, language: str = "C.UTF-8"
) -> tuple[int, bytes]:
    config = dify_job.home / "c.toml"
    config.write_text(f'[jobs.invoices]\nbase_url = "{server.base_url}"\napi_key_env = "K"\n')
    master, slave = pty.openpty()
    env = {"K": key, "TERM": "xterm", "NO_COLOR": "1", "LANG": language}
    words = ("run", "--config", str(config), *args)
    process = dify_job.start(*words, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = read_terminal(master)
    process.communicate()
    return process.wait(), shown


def test_live_line_is_in_the_language_of_the_reader(dify_job: Command, server: FakeDify) -> None:
    code, shown = terminal_bytes(dify_job, server, key="app-two-seconds", language="zh_CN.UTF-8")
    assert code == 0
    live = [line for line in shown.decode().split("\x1b[2K") if " · " in line]
    assert any("已完成节点：" in line for line in live), live
    assert not [line for line in live if "nodes done" in line or "waiting" in line]


@pytest.mark.parametrize("words", [("absent",), ("--timeout", "x"), ("--mode", "x"), ("invoices", "a=b")])
def test_rejected_run_on_a_terminal_prints_its_reason_once(
    dify_job: Command, server: FakeDify, words: tuple[str, ...]
) -> None:
    code, shown = run_on_terminal(dify_job, server, *words)
    assert code in (64, 78)
    assert shown.count("dify-job: ") == 1
    assert '"success"' not in shown


def test_run_on_a_terminal_prints_a_line_and_its_outputs(dify_job: Command, server: FakeDify) -> None:
    code, shown = run_on_terminal(dify_job, server, "-i", "topic=sales", "-i", "text=one\ntwo")
    assert code == 0
    [ending] = [line for line in shown.splitlines() if line.startswith("✓")]
    assert re.fullmatch(r"✓ invoices: succeeded in [\d.]+s", ending)
    assert "  topic: sales\n" in shown
    assert "  text:\n    one\n    two\n" in shown
    assert "workflow succeeded" not in shown
    assert '"success"' not in shown


def test_failed_run_on_a_terminal_names_node_and_reason(dify_job: Command, server: FakeDify) -> None:
    code, shown = run_on_terminal(dify_job, server, key="app-fails")
    assert code == 80
    assert re.search(r'^✗ invoices: failed \(exit 80\) at "Ask the service" in [\d.]+s', shown, re.MULTILINE)
    assert "Connection refused" in shown


@pytest.mark.parametrize("words", [("--json",), ("--print", "outputs.topic")])
def test_json_and_print_are_the_same_on_a_terminal(
    dify_job: Command, server: FakeDify, words: tuple[str, ...]
) -> None:
    code, shown = run_on_terminal(dify_job, server, "-q", "-i", "topic=sales", *words)
    assert code == 0
    assert "✓" not in shown
    if words == ("--json",):
        assert json.loads(shown[shown.index("{") :])["outcome"] == "succeeded"
    else:
        assert shown.rstrip().endswith("sales")


def test_every_line_for_people_names_the_job(dify_job: Command, environ: dict[str, str]) -> None:
    for key in (KEY, "app-fails"):
        done = dify_job("run", "-v", "--log-format", "console", env=environ | {"DIFY_API_KEY": key})
        lines = done.stderr.splitlines()
        assert lines
        assert all(re.match(r"(error: |warning: )?default: ", line) for line in lines), done.stderr
    assert re.search(r"error: default: workflow failed .*Ask the service", done.stderr)
