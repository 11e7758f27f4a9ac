"""`dify-job demo --serve` as a process."""

import re
import signal

import pytest

from tests.support.command import Command


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_demo_server_serves_init_and_run(dify_job: Command, end: signal.Signals) -> None:
    serving = dify_job.start("demo", "--serve", "0")
    try:
        assert serving.stdout is not None
        url = re.search(r"http://\S+/v1", serving.stdout.readline())
        command = serving.stdout.readline()
        assert url is not None
        assert url[0] in command
        key, init = re.fullmatch(r"printf %s (\S+) \| dify-job (.+)\n", command).groups()  # type: ignore[union-attr] # asserted by groups
        done = dify_job(*init.split(), "--user", input=key)
        assert done.code == 0, done.stderr
        assert dify_job("run", "-q", "--print", "outputs.topic", "demo").stdout == "sales\n"
    finally:
        serving.send_signal(end)
    assert serving.wait() == 0


def test_used_port_is_reported(dify_job: Command, server: object) -> None:
    port = re.search(r":(\d+)/", server.base_url)[1]  # type: ignore[attr-defined, index] # a FakeDify
    ran = dify_job("demo", "--serve", port)
    assert (ran.code, "Address already in use" in ran.stderr) == (73, True)
