"""Translation of messages: English in the code, Chinese where the reader's locale asks for it.

The catalogue is gettext's, in locale/zh/LC_MESSAGES; `make messages` renews it with babel.
"""

import gettext
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from .message import Message

_LOCALES = Path(__file__).parent / "locale"


def is_chinese(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the locale of messages is Chinese: LC_ALL over LC_MESSAGES over LANG (locale(7)).

    LANGUAGE goes before them all, except where they ask for C (gettext's manual, The LANGUAGE variable).

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
        text: A message. A text that is none, such as a server's, stays as it is.

    """
    return _in_chinese(text) if is_chinese() else str(text)


def translate_constant(text: str) -> str:
    """Return the translation of a text without values that click holds as a plain `str`, such as a docstring.

    Args:
        text: The text as it stands in the code.

    """
    return _catalogue().gettext(text) if is_chinese() and text else text


def translate_clicks_texts() -> None:
    """Have click's own texts (`Usage:`, `No such option`) translated, where the locale asks for it.

    click calls gettext.gettext, which looks in the current domain.
    """
    if is_chinese():
        gettext.bindtextdomain("click", str(_LOCALES))
        gettext.textdomain("click")


def _in_chinese(text: object) -> str:
    if not isinstance(text, Message):
        return str(text)
    values = {
        name: _in_chinese(value) if isinstance(value, Message) else value
        for name, value in text.values.items()
    }
    return _catalogue().gettext(text.template).format_map(values)


@cache
def _catalogue() -> gettext.NullTranslations:
    try:
        with (_LOCALES / "zh/LC_MESSAGES/dify-job.mo").open("rb") as file:
            return gettext.GNUTranslations(file)
    except OSError:  # an upgrade replaces it at this moment
        return gettext.NullTranslations()
