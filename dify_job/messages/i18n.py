"""Messages in the reader's language: English in the code, Chinese where bytes leave for a reader of it.

The catalogue is gettext's, in locale/zh_CN/LC_MESSAGES; `make messages` renews it. Its msgids are the
f-strings of the code with their placeholders, so that a finished message is known by what stands between
its values.
"""

import os
import re
from collections.abc import Container, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path

_LOCALES = Path(__file__).parent / "locale"
_PLACEHOLDER = r"\{(\w+)\}"
_DEEPEST = 4  # a message in a message in a message
_LEAD = r"(?s)(\s*(?:(?:dify-job|warning|error): )*)(.*)"
_MOST_SPLITS = 1000
_SHORT = 12  # characters
_WEAK = re.compile(r"\s*(?:[a-z]{1,5}\b:?\s*)?")  # `{} in {}`: it stands in many a server's text, too
_FOLLOWING = (";", ",", ":", "(")
_JOINT = re.compile("; |: |, ")
_OF_A_KEY = re.compile(r"([a-z_.]+) ((?:must|has|is|names) .+)")  # timeout must be more than 0 s


def is_chinese(environ: Mapping[str, str] = os.environ) -> bool:
    """True where the locale of messages is Chinese: LC_ALL over LC_MESSAGES over LANG (locale(7)).

    LANGUAGE goes before them all, except where they ask for C (gettext's manual, The LANGUAGE variable).
    """
    chosen = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "C")
    if chosen.partition(".")[0] not in ("C", "POSIX"):
        chosen = environ.get("LANGUAGE") or chosen
    return chosen.startswith("zh")


def translate(text: str) -> str:
    """The text, line by line, in the language of the locale; what has no translation stays as it is."""
    if not is_chinese():
        return text
    lines = (re.fullmatch(_LEAD, line) for line in text.split("\n"))
    return "\n".join(found[1] + _translated(found[2], _DEEPEST) for found in lines if found)


def _translated(text: str, depth: int) -> str:
    plain, templates = _catalogue()
    if text in plain:
        return plain[text]
    if (bare := text.strip()) != text:
        head, _, tail = text.partition(bare)
        return head + _translated(bare, depth) + tail if bare else text
    if not depth or not text:
        return text
    for template, translation in templates:
        if (values := _values(template, text, plain)) is not None:
            told = {name: _translated(value, depth - 1) for name, value in values.items()}
            if _is_by_chance(template, values, told):
                continue
            return re.sub(_PLACEHOLDER, lambda found: told[found[1]], translation)  # noqa: B023 - used at once
    if (key := _OF_A_KEY.fullmatch(text)) is not None:
        return f"{key[1]} {_translated(key[2], depth - 1)}"
    if (joint := _JOINT.search(text)) is not None:
        head, rest = text[: joint.start()], text[joint.end() :]
        return _translated(head, depth - 1) + joint[0] + _translated(rest, depth - 1)
    return text


def _is_by_chance(template: tuple[str, ...], values: Mapping[str, str], told: Mapping[str, str]) -> bool:
    """True for a text that a short template fits, but that is a server's, or several messages in a row."""
    literal = "".join(template[::2])
    before = [values[name] for name in template[1:-2:2]]
    if not template[0] and len(literal) <= _SHORT and any(_JOINT.search(f"{value} ") for value in before):
        return True
    foreign = any(" " in value.strip() and told[name] == value for name, value in values.items())
    return foreign and _WEAK.fullmatch(literal) is not None


def _values(template: tuple[str, ...], text: str, known: Container[str]) -> dict[str, str] | None:
    """What stands at a template's placeholders in a text; None where the text is not made from it.

    Where there are several ways to see it, the one with the most values that are messages themselves.
    """
    first, *rest = template
    if not text.startswith(first) or not all(literal in text for literal in rest[1::2]):
        return None
    splits = islice(_splits(rest, text, len(first)), _MOST_SPLITS)
    if "" in rest[1:-1:2]:  # two values side by side: the second is a message of its own, or empty
        return max(splits, key=lambda it: (_messages_in(it, known), *map(len, it.values())), default=None)
    return max(splits, key=lambda values: sum(value in known for value in values.values()), default=None)


def _messages_in(values: Mapping[str, str], known: Container[str]) -> int:
    return sum(value in known or value.startswith(_openings()) for value in values.values())


@cache
def _openings() -> tuple[str, ...]:
    """What templates begin with that follow on something: `; did you mean `."""
    return tuple({template[0] for template, _ in _catalogue()[1] if template[0][:1] in _FOLLOWING})


def _splits(rest: list[str], text: str, begin: int) -> Iterator[dict[str, str]]:
    name, literal, *more = rest
    at = text.find(literal, begin) if more else max(begin, len(text) - len(literal))
    while text.startswith(literal, at) and at >= 0:
        for values in _splits(more, text, at + len(literal)) if more else ({},):
            if values.get(name, text[begin:at]) == text[begin:at]:
                yield {name: text[begin:at], **values}
        at = text.find(literal, at + 1) if more and at < len(text) else -1


@cache
def _catalogue() -> tuple[dict[str, str], list[tuple[tuple[str, ...], str]]]:
    """Messages without values, and templates: literal, name, literal and so on, the longest text first."""
    from gettext import GNUTranslations  # noqa: PLC0415 - for a Chinese locale alone

    try:
        with (_LOCALES / "zh_CN/LC_MESSAGES/dify-job.mo").open("rb") as file:
            messages: dict[str, str] = vars(GNUTranslations(file))["_catalog"]  # it lists them nowhere else
    except OSError:  # an upgrade is replacing it
        return {}, []
    del messages[""]  # the catalogue's own head
    plain = {message: told for message, told in messages.items() if not re.search(_PLACEHOLDER, message)}
    split = ((tuple(re.split(_PLACEHOLDER, message)), told) for message, told in messages.items())
    templates = [pair for pair in split if len(pair[0]) > 1]
    templates.sort(key=lambda pair: -sum(map(len, pair[0][::2])))
    return plain, templates
