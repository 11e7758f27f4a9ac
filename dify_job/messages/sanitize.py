"""Make text of a server or a file safe for a terminal, the journal and a log line."""

import re

# C0 and C1 controls, lone surrogates, separators of lines and bidirectional control characters.
_UNPRINTABLE = r"\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069"
_CONTROLS = f"[{_UNPRINTABLE}]"
_MAX_LENGTH = 1000


def visible(text: str) -> str:
    """Return a text with control characters escaped, except line ends and tabs.

    Args:
        text: A text of a server or a file.
    """
    if text.isprintable():  # most texts; compiling the pattern takes 0.005 of `import requests`
        return text
    return re.sub(_CONTROLS, lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str, longest: int = _MAX_LENGTH) -> str:
    """Return a text in one line without control characters.

    Args:
        text: A text of a server or a file.
        longest: The maximum number of characters.
    """
    if len(text) <= longest and text.isprintable() and "  " not in text and text == text.strip():
        return text  # unchanged, so that a Message can be translated
    line = visible(" ".join(text[: 4 * longest].split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"
