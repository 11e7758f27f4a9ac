"""Messages as JSON with template and values, so that each reader sees a record in their own language."""

import string
from collections.abc import Mapping
from typing import Any

from .command import Command
from .message import Message

_SPECS = ("", ",", "d", ",d", "s")  # formats of numbers and texts without padding
_MAX_LENGTH = 3000  # characters of a text and its values; a stored text has at most 1000
_MAX_DIGITS = 6  # after the decimal point


def as_data(text: str | None) -> dict[str, Any] | None:
    """Return the data of a message for a record.

    Args:
        text: The message.

    Returns:
        The template and the values; None for a text that is no message.
    """
    if not isinstance(text, Message):
        return None
    if isinstance(text, Command):
        return {"argv": list(text.argv), "needs_root": text.needs_root}
    values: dict[str, Any] = {}
    for name, value in text.values.items():
        if isinstance(value, Message):
            values[name] = as_data(value)
        else:
            plain = value is None or isinstance(value, (str, int, float))
            values[name] = value if plain else str(value)
    return {"template": text.template, "values": values}


def from_data(text: str, data: object) -> str:
    """Return the message of a record.

    Args:
        text: Its English text.
        data: The result of `as_data`, from a file that others may have written.

    Returns:
        The message, which can be translated; the text if the data are missing or belong to another text.
    """
    found = _message(data)
    return found if found is not None and found == text else text


def _message(data: object) -> Message | None:
    if not isinstance(data, Mapping):
        return None
    argv = data.get("argv")
    if isinstance(argv, list) and argv and all(isinstance(word, str) for word in argv):
        return Command(argv, needs_root=data.get("needs_root") is True)
    template, values = data.get("template"), data.get("values")
    if not isinstance(template, str) or not isinstance(values, Mapping):
        return None
    found = {name: _message(value) if isinstance(value, Mapping) else value for name, value in values.items()}
    try:
        fields = list(string.Formatter().parse(template))
        if not all(name is None or (name in found and _is_harmless(spec)) for _, name, spec, _ in fields):
            return None
        if sum(len(words) + len(str(found.get(name, ""))) for words, name, _, _ in fields) > _MAX_LENGTH:
            return None  # nested messages could double the text at each level
        return Message(template, found)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _is_harmless(spec: str | None) -> bool:
    """Return False for a format that could exhaust memory, because the template comes from a file."""
    digits = (spec or "").removeprefix(",").removeprefix(".").removesuffix("f")
    return (spec or "") in _SPECS or (digits.isdecimal() and int(digits) <= _MAX_DIGITS)
