"""A babel extraction method for command modules: messages, and docstrings of commands (help pages)."""

import ast
from collections.abc import Collection, Iterator, Mapping
from typing import Any, BinaryIO

from babel.messages.extract import extract_python


def extract(
    file: BinaryIO, keywords: Mapping[str, Any], comment_tags: Collection[str], options: Mapping[str, Any]
) -> Iterator[tuple[int, str | None, Any, list[str]]]:
    """Yield the messages of a module of `cli`, and each paragraph of the docstring of a command.

    Args:
        file: The module.
        keywords: Functions that mark a message, as babel gives them.
        comment_tags: Tags of comments for translators.
        options: Options of babel.cfg.
    """
    yield from extract_python(file, keywords, comment_tags, options)
    file.seek(0)
    for node in ast.walk(ast.parse(file.read())):
        if isinstance(node, ast.FunctionDef) and any(map(_is_command, node.decorator_list)):
            for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
                yield node.lineno, None, " ".join(paragraph.split()), []


def _is_command(decorator: ast.expr) -> bool:
    match decorator:
        case ast.Call(func=ast.Attribute(attr="command" | "group")):
            return True
    return False
