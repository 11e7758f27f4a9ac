"""Programs in the texts of tests set only attributes that exist: a renamed limit would change nothing."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]


def texts_of(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module; an f-string with 0 for each of its values."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else 0 for part in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def programs() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(TESTS.rglob("*.py")):
        for text in texts_of(ast.parse(path.read_text())):
            if "import" in text and "dify_job" in text:
                try:
                    program = ast.parse(text)
                except SyntaxError:
                    continue
                if any(isinstance(node, ast.Assign) for node in ast.walk(program)):
                    yield f"{path.relative_to(TESTS)}: {text[:60]!r}", program


def imported(program: ast.Module) -> dict[str, Any]:
    """Return what a program imports of dify_job, by name in the program."""
    names: dict[str, Any] = {}
    for node in ast.walk(program):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("dify_job") and alias.asname:
                    names[alias.asname] = importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dify_job"):
            for alias in node.names:
                names[alias.asname or alias.name] = pkgutil.resolve_name(f"{node.module}.{alias.name}")
    return names


@pytest.mark.parametrize(("program"), [pytest.param(tree, id=where) for where, tree in programs()])
def test_program_sets_only_existing_attributes(program: ast.Module) -> None:
    names = imported(program)
    targets = [
        target for node in ast.walk(program) if isinstance(node, ast.Assign) for target in node.targets
    ]
    unknown = [
        ast.unparse(target)
        for target in targets
        if isinstance(target, ast.Attribute)
        and isinstance(target.value, ast.Name)
        and target.value.id in names
        and not hasattr(names[target.value.id], target.attr)
    ]
    assert unknown == []
