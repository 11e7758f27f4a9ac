"""The reader's terminal: width, colours and character set of standard output."""

import os
import shutil
import sys
from collections.abc import Mapping

from ..report.text import Terminal, has_utf8

_NO_LIMIT = 1000  # columns of a line that no terminal shows


def terminal_of_stdout(environ: Mapping[str, str] = os.environ) -> Terminal:
    """Return what standard output can show.

    Args:
        environ: The environment variables. COLUMNS sets the width; NO_COLOR and TERM=dumb turn colours off.

    """
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    size = shutil.get_terminal_size((_NO_LIMIT, 24))
    colours = is_terminal and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
    return Terminal(columns=max(size.columns, 40), rows=size.lines, colours=colours, utf8=has_utf8(environ))
