"""Output of commands on a terminal."""

import os


def read_terminal(master: int) -> bytes:
    """Read what processes wrote on a terminal until the last of them has left it.

    Args:
        master: Descriptor of the terminal's controlling side; it is closed afterwards.

    Returns:
        Every byte, with the CR LF that a terminal makes of a line end.
    """
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:  # EIO: nobody has the terminal open any more
        pass
    os.close(master)
    return shown
