"""The catalogue of messages: taken from the code, merged with the translations that are there, compiled.

A message is a string or f-string of running text that can reach a reader: in an error, a verdict, a check,
or what a command prints. Placeholders are named after their expressions: {error.strerror} is {strerror}.
"""

import ast
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

_PACKAGE = Path(__file__).parents[1] / "dify_job"
PO = _PACKAGE / "messages/locale/zh_CN/LC_MESSAGES/dify-job.po"
MO = PO.with_suffix(".mo")
_PROSE = re.compile(r"[a-z]{2,}[,:;]?(?: =)? [a-zA-Z{]")
_JOB = re.compile(r"\bJOB\b")  # in a hint it stands for the job's name
_LEAD = re.compile(r"^\s*(?:(?:dify-job|warning|error): )*")
# What no reader of messages sees: patterns, log keys, protocol texts.
_SILENT_CALLS = {
    "version_option",
    "compile",
    "debug",
    "TypeVar",
    "AttributeError",
    "TypeError",
    "startswith",
    "endswith",
    "Struct",
    "filterwarnings",
}
_SILENT_ROOMS = {"demo", "deploy"}
_HELPED_CALLS = {"option", "_option", "command", "group", "argument"}  # of which `help` alone is running text
# Words that are no running text, and click's own.
_WORDS = (
    "Usage: ",
    "Options",
    "Commands",
    "a retry is ",
    "when",
    "As JSON.",
    "usage: {path} --help",
    "Show this message and exit.",
    "Show the version and exit.",
    "No such option {name}.",
    "No such option {name}. {possibilities}",
    "Did you mean {possibility}?",
    "(Did you mean one of: {possibilities}?)",
    "Invalid value for {param_hint}: {message}",
    "Missing argument {param_hint}.",
    "Missing option {param_hint}.",
    "Missing command.",
    "Option {name} does not take a value.",
    "Option {name} requires an argument.",
    "Got unexpected extra argument ({args})",
    "Got unexpected extra arguments ({args})",
    "{value} is not one of {choices}.",
    "{value} is not a valid integer.",
    "{value} is not a valid integer range.",
    "{value} is not in the range {range}.",
)


def messages() -> list[str]:
    """All messages of the code, in its order, line by line."""
    found = dict.fromkeys(_WORDS)
    for path in sorted(_PACKAGE.rglob("*.py")):
        if not _SILENT_ROOMS & set(path.relative_to(_PACKAGE).parts):
            for text in _texts(ast.parse(path.read_text(encoding="utf-8"))):
                lines = (_LEAD.sub("", line).strip() for line in _JOB.sub("{JOB}", text).split("\n"))
                found |= {line: None for line in lines if _PROSE.search(line)}
    return list(found)


def _texts(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Compare():
            return  # a docstring, or text that is looked for
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _SILENT_CALLS:
            return
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _HELPED_CALLS:
            yield from (text for told in node.keywords if told.arg == "help" for text in _texts(told))
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield _template(parts)
            for part in parts:
                if isinstance(part, ast.FormattedValue):
                    yield from _texts(part.value)
        case _:
            yield from _help_page(node)
            for child in ast.iter_child_nodes(node):
                yield from _texts(child)


def _help_page(node: ast.AST) -> Iterator[str]:
    """The paragraphs of a command's docstring."""
    if isinstance(node, ast.FunctionDef) and any(map(_is_command, node.decorator_list)):
        for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
            yield " ".join(paragraph.split())


def _is_command(decorator: ast.expr) -> bool:
    match decorator:
        case ast.Call(func=ast.Attribute(attr="command" | "group")):
            return True
    return False


def _template(parts: list[ast.expr]) -> str:
    names: dict[str, str] = {}
    text = ""
    for part in parts:
        if isinstance(part, ast.FormattedValue):
            expression = ast.unparse(part.value)
            if expression not in names:
                name = _name(part.value)
                taken = [used for used in names.values() if used.rstrip("0123456789") == name]
                names[expression] = f"{name}{len(taken) + 1}" if taken else name
            text += f"{{{names[expression]}}}"
        elif isinstance(part, ast.Constant):
            text += part.value
    return text


def _name(expression: ast.expr) -> str:
    match expression:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_")
        case ast.Call(func=ast.Attribute(attr="join"), args=[of]):
            return _name(of)
        case ast.Call(func=function):
            return _name(function)
        case ast.Subscript(value=of):
            return _name(of)
        case _:
            return "value"


def renew() -> None:
    """Take what is new in the code into the .po, drop what is gone, and compile it."""
    old = read() if PO.exists() else Catalog()
    begin = datetime(2026, 1, 1, tzinfo=UTC)  # the same bytes on each day
    new = Catalog(locale="zh_CN", project="dify-job", creation_date=begin, revision_date=begin, fuzzy=False)
    for message in messages():
        there = old.get(message)
        new.add(message, there.string if there else "")
    PO.parent.mkdir(parents=True, exist_ok=True)
    with PO.open("wb") as file:
        write_po(file, new, width=0, omit_header=False, sort_output=False)
    MO.write_bytes(compiled(new))


def read() -> Catalog:
    """The catalogue as it is kept."""
    with PO.open("rb") as file:
        return read_po(file, locale="zh_CN")


def compiled(catalogue: Catalog) -> bytes:
    """The catalogue as gettext reads it."""
    packed = io.BytesIO()
    write_mo(packed, catalogue)
    return packed.getvalue()


if __name__ == "__main__":
    renew()
    missing = [message.id for message in read() if message.id and not message.string]
    print(f"{len(missing)} messages without a translation in {PO}")
