"""The .env of the original system: names, quotes and comments, nothing expanded."""

import re

from ..messages.message import msg

_LINE = re.compile(
    r"""\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*
    (?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\r\n]*?))\s*(?:(?<=\s)\#.*|(?<=["'])\s*\#.*)?$""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse_dotenv(text: str) -> dict[str, str]:
    """The variables in it; the last of two lines for one name counts. Raises ValueError with the line."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        part = _LINE.match(line.rstrip("\r"))
        if part is None:
            raise ValueError(msg("line {number} is not NAME=VALUE", number=number))
        name, double, single, plain = part.groups()
        if double is not None:
            found[name] = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), double)
        else:
            found[name] = single if single is not None else plain.strip()
    return found
