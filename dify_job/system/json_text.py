"""JSON with a bound on nesting and on digits, so that no value overflows the stack of its readers."""

import json
import os
import re
from collections.abc import Callable
from typing import Any

from ..messages.message import msg

MAX_DEPTH = 200  # levels of nesting; Python's recursion limit is 1000 frames
_MAX_DIGITS = 4300  # of an integer, CPython's limit (sys.int_info.default_max_str_digits)
_MAX_BITS = 14284  # of a number with that many digits
_SERVER = json.JSONDecoder(parse_constant=lambda _: None)  # Python servers send NaN, which is not JSON
# A text, a bracket, or a number with too many digits.
_TOKEN = re.compile(
    rf'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{{}}]|-?[0-9]{{{_MAX_DIGITS + 1},}}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?',
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


class BoundsError(ValueError):
    """A value is nested too deep, or has a number with too many digits."""


class RawJson:
    """A JSON value as text, because it is nested too deep or is a number with too many digits."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"RawJson({self.text[:40]!r})"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RawJson) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def opened(self) -> Any:
        """Return the value with its upper levels parsed; a number is not changed."""
        return self if self.text[:1] not in "[{" else loads_answer(self.text)

    def map_texts(self, change: Callable[[str], str]) -> "RawJson":
        """Return the value with each of its texts changed, quotes included."""
        return RawJson(
            _TOKEN.sub(lambda found: change(found[0]) if found[0][0] == '"' else found[0], self.text)
        )


def loads(text: str, *, strict: bool = True) -> Any:
    """Parse JSON of a user.

    Args:
        text: The JSON.
        strict: Reject line ends in strings, as JSON requires.

    Raises:
        BoundsError: It is nested too deep, or has a number with too many digits.
        ValueError: It is no JSON.
    """
    try:
        value = json.loads(text, strict=strict)
    except (RecursionError, json.JSONDecodeError) as error:
        if isinstance(error, RecursionError):
            raise _too_deep() from None
        raise
    except ValueError:
        raise _too_many_digits() from None
    check(value)
    return value


def check(value: Any) -> None:
    """Check the depth and the digits of a value.

    Raises:
        BoundsError: It is nested too deep, or has a number with too many digits.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if any(isinstance(one, int) and one.bit_length() > _MAX_BITS for one in level):
            raise _too_many_digits()
        level = _children(level)
        if not level:
            return
    raise _too_deep()


def loads_answer(text: str) -> Any:
    """Parse JSON of a server. Too deep values, and numbers with too many digits, become RawJson.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        value = _SERVER.decode(text)
    except json.JSONDecodeError:
        raise
    except (RecursionError, ValueError):
        return _by_parts(text)
    if text.count("[") + text.count("{") > MAX_DEPTH:
        try:
            check(value)
        except BoundsError:
            return _by_parts(text)
    return value


def dumps(value: Any, *, indent: int | None = None, allow_nan: bool = True) -> str:
    """Format a value that may contain RawJson.

    Args:
        value: The value.
        indent: Spaces for each level; None for one line.
        allow_nan: Whether NaN and infinities are written.

    Raises:
        ValueError: The value contains NaN or an infinity, and allow_nan is False.
        TypeError: The value contains a type that JSON lacks.
    """
    raw: list[str] = []
    nonce = ""

    def default(one: Any) -> str:
        nonlocal nonce
        if not isinstance(one, RawJson):
            raise TypeError(f"{type(one).__name__} is no JSON")
        nonce = nonce or os.urandom(12).hex()
        raw.append(one.text)
        return f"{nonce}:{len(raw) - 1}"

    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=allow_nan, indent=indent, default=default)
    except RecursionError:
        raise _too_deep() from None
    return re.sub(f'"{nonce}:([0-9]+)"', lambda found: raw[int(found[1])], text) if raw else text


def _too_deep() -> BoundsError:
    return BoundsError(msg("the data is nested more than {levels} levels deep", levels=MAX_DEPTH))


def _too_many_digits() -> BoundsError:
    return BoundsError(msg("the data contains a number with more than {digits} digits", digits=_MAX_DIGITS))


def _children(level: list[Any]) -> list[Any]:
    """Return the children of the containers among the values."""
    below: list[Any] = []
    for one in level:
        if isinstance(one, dict):
            below += one.values()
        elif isinstance(one, (list, tuple)):
            below += one
    return below


class _Blocks:
    """A text in blocks of MAX_DEPTH levels, with placeholders for deeper values."""

    def __init__(self, text: str) -> None:
        self.prefix = f"{os.urandom(12).hex()}:"
        self.raw: list[RawJson] = []
        self._text = text
        self._depth = 0
        # For each open block: its start, its text so far, and the start of the rest.
        self._blocks: list[tuple[int, list[str], int]] = [(0, [], 0)]

    def open(self, at: int) -> None:
        """Process an opening bracket."""
        if self._depth and self._depth % MAX_DEPTH == 0:
            self._blocks.append((at, [], at))
        self._depth += 1

    def close(self, end: int) -> None:
        """Process a closing bracket."""
        self._depth -= 1
        if self._depth > 0 and self._depth % MAX_DEPTH == 0 and len(self._blocks) > 1:
            start, pieces, rest = self._blocks.pop()
            _SERVER.decode("".join((*pieces, self._text[rest:end])))  # raises ValueError if it is no JSON
            self.replace(start, end)

    def replace(self, start: int, end: int) -> None:
        """Put a placeholder for a part of the text; only a part of the first block stores its text."""
        outer, pieces, rest = self._blocks[-1]
        text = self._text[start:end] if len(self._blocks) == 1 else ""
        self.raw.append(RawJson(_ESCAPE.sub(_unescaped, text)))
        pieces += (self._text[rest:start], f'"{self.prefix}{len(self.raw) - 1}"')
        self._blocks[-1] = (outer, pieces, end)

    def finish(self) -> Any:
        """Return the value of the first block, with placeholders."""
        if len(self._blocks) > 1:
            raise ValueError("a bracket is not closed")
        _, pieces, rest = self._blocks[0]
        return _SERVER.decode("".join((*pieces, self._text[rest:])))


def _unescaped(found: re.Match[str]) -> str:
    """Return the character of an unneeded escape, because redaction does not find a key in escapes."""
    character = chr(int(found[1], 16)) if found[1] else found[0][1]
    return character if character == "/" or (found[1] and _is_plain(character)) else found[0]


def _is_plain(character: str) -> bool:
    return character.isprintable() and character not in '"\\'


def _by_parts(text: str) -> Any:
    blocks = _Blocks(text)
    for token in _TOKEN.finditer(text):
        kind = token[0][0]
        if kind in "[{":
            blocks.open(token.start())
        elif kind in "]}":
            blocks.close(token.end())
        elif kind != '"':
            blocks.replace(token.start(), token.end())
    return _with_raw(blocks.finish(), blocks.prefix, blocks.raw)


def _with_raw(value: Any, prefix: str, raw: list[RawJson]) -> Any:
    if isinstance(value, str):
        return raw[int(value.removeprefix(prefix))] if value.startswith(prefix) else value
    if isinstance(value, dict):
        return {key: _with_raw(inner, prefix, raw) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_raw(inner, prefix, raw) for inner in value]
    return value
