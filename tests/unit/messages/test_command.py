"""Commands in messages, adapted to the reader."""

import copy
import pickle

import pytest

from dify_job.messages.command import Command, Reader, command, for_reader
from dify_job.messages.message import msg

ROOT = Reader()
USER = Reader(lacks_root=True)
BY_SUDO = Reader(by_sudo=True)
OTHER_CONFIG = Reader(config_options=("--config", "/srv/my jobs.toml"))


@pytest.mark.parametrize(
    ("argv", "needs_root", "reader", "typed"),
    [
        (("dify-job", "status"), False, ROOT, "dify-job status"),
        (("dify-job", "status"), False, USER, "dify-job status"),
        (("dify-job", "status"), True, USER, "sudo dify-job status"),
        (("dify-job", "status"), True, ROOT, "dify-job status"),
        (("dify-job", "status"), False, BY_SUDO, "sudo dify-job status"),
        (("systemctl", "status", "x"), False, BY_SUDO, "systemctl status x"),
        (("systemctl", "start", "x"), True, BY_SUDO, "sudo systemctl start x"),
        (("dify-job", "doctor", "a"), False, OTHER_CONFIG, "dify-job --config '/srv/my jobs.toml' doctor a"),
        (("dify-job", "exit-codes"), False, OTHER_CONFIG, "dify-job exit-codes"),
        (("rm", "/a b"), False, ROOT, "rm '/a b'"),
        (("echo", "{x}"), False, ROOT, "echo '{x}'"),
    ],
)
def test_command_is_adapted_to_the_reader(
    argv: tuple[str, ...], needs_root: bool, reader: Reader, typed: str
) -> None:
    wanted = command(*argv, needs_root=needs_root)
    assert for_reader(wanted, reader) == typed
    assert for_reader(msg("{command} shows it", command=wanted), reader) == f"{typed} shows it"


def test_text_without_commands_is_unchanged() -> None:
    assert for_reader("dify-job status", BY_SUDO) == "dify-job status"


def test_command_survives_copy_and_pickle() -> None:
    one = command("dify-job", "status", needs_root=True)
    for same in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert isinstance(same, Command)
        assert (same.argv, same.needs_root, str(same)) == (one.argv, True, "dify-job status")
