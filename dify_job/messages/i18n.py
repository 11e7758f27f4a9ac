"""Translation of messages from English to Chinese, by the reader's locale.

The gettext catalogue is in locale/zh/LC_MESSAGES; `make messages` renews it with babel.
"""

import gettext
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from .message import Message, msg

_LOCALES = Path(__file__).parent / "locale"
_FULL_WIDTH = {", ": "，", "; ": "；"}
# Errors of the operating system (strerror(3)): Python gives these texts in English in every locale.
_SYSTEM_ERRORS = frozenset(
    {
        msg("Address already in use"),
        msg("Bad file descriptor"),
        msg("Broken pipe"),
        msg("Cannot allocate memory"),
        msg("Cannot assign requested address"),
        msg("Connection refused"),
        msg("Connection reset by peer"),
        msg("Disk quota exceeded"),
        msg("File exists"),
        msg("File name too long"),
        msg("File too large"),
        msg("Input/output error"),
        msg("Invalid argument"),
        msg("Invalid cross-device link"),
        msg("Is a directory"),
        msg("Name or service not known"),
        msg("Network is unreachable"),
        msg("No route to host"),
        msg("No space left on device"),
        msg("No such device or address"),
        msg("No such file or directory"),
        msg("Not a directory"),
        msg("Operation not permitted"),
        msg("Permission denied"),
        msg("Read-only file system"),
        msg("Resource temporarily unavailable"),
        msg("Stale file handle"),
        msg("Text file busy"),
        msg("Too many levels of symbolic links"),
        msg("Too many open files"),
    }
)


def is_chinese(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the locale of messages is Chinese: LC_ALL, then LC_MESSAGES, then LANG (locale(7)).

    LANGUAGE overrides them unless they select C (gettext's manual, The LANGUAGE variable).

    Args:
        environ: The environment variables.
    """
    chosen = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "C")
    if chosen.partition(".")[0] not in ("C", "POSIX"):
        chosen = environ.get("LANGUAGE") or chosen
    return chosen.startswith("zh")


def translate(text: str) -> str:
    """Return a message in the reader's language.

    Args:
        text: A message; another text, such as a server's, is returned unchanged.
    """
    return _chinese(text) if is_chinese() else str(text)


def translate_constant(text: str) -> str:
    """Return the translation of a text without values that click holds as a plain `str`, such as a docstring.

    Args:
        text: The text in the code.
    """
    return _catalogue().gettext(text) if is_chinese() and text else text


def enable_click_translation() -> None:
    """Translate click's own texts (`Usage:`, `No such option`) in a Chinese locale.

    click calls gettext.gettext, which uses the current domain.
    """
    if is_chinese():
        gettext.bindtextdomain("click", str(_LOCALES))
        gettext.textdomain("click")


def disable_click_translation() -> None:
    """Use click's own English texts from now on."""
    gettext.textdomain("messages")


def _chinese(text: str) -> str:
    if not isinstance(text, Message):
        return _catalogue().gettext(text) if text in _SYSTEM_ERRORS else _FULL_WIDTH.get(text, str(text))
    values = {
        name: _chinese(value) if isinstance(value, str) else value for name, value in text.values.items()
    }
    return _catalogue().gettext(text.template).format_map(values)


@cache
def _catalogue() -> gettext.NullTranslations:
    try:
        with (_LOCALES / "zh/LC_MESSAGES/dify-job.mo").open("rb") as file:
            return gettext.GNUTranslations(file)
    except OSError:  # an upgrade can replace the file now
        return gettext.NullTranslations()
