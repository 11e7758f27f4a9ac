"""Owner of a TCP connection on this machine."""

import os
import socket

from dify_job.compat.peer_credentials import owner_of, peer_of

LINE = "   0: {here} {there} {state} 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0000 20"


V4_HERE, V4_THERE = "0100007F:A001", "0100007F:1F40"


V6_HERE, V6_THERE = "0000000000000000FFFF00000100007F:A001", "0000000000000000FFFF00000100007F:1F40"


ENDS = ((bytes([127, 0, 0, 1]), 0xA001), (bytes([127, 0, 0, 1]), 8000))


def line(
    here: str = V4_HERE, there: str = V4_THERE, state: str = "01", uid: int = 1000, inode: int = 77
) -> str:
    return LINE.format(here=here, there=there, state=state, uid=uid, inode=inode)


def test_owner_is_read_from_the_kernel_s_table() -> None:
    assert owner_of([line()], *ENDS) == 1000
    assert owner_of([line(here=V6_HERE, there=V6_THERE, uid=1001)], *ENDS) == 1001
    assert owner_of([line(here=V4_THERE, there=V4_HERE, uid=0)], *ENDS) is None  # the server's own end
    assert owner_of([line(state=state, uid=0) for state in ("06", "04", "05", "08", "0A")], *ENDS) is None
    assert owner_of([line(uid=0, inode=0)], *ENDS) is None  # no process has it open
    assert owner_of([line(), line(here=V6_HERE, there=V6_THERE, uid=0)], *ENDS) is None
    assert owner_of(["", "nonsense", line(here="zz:1")], *ENDS) is None


def test_local_connection_has_its_owner(pair: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = pair
    assert peer_of(accepted).uid == os.geteuid()
    client.close()
    assert peer_of(accepted).uid is None
