"""Documents in both languages have the same headings, commands, tables and links."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
PAIRS = [("README.md", "README.zh-CN.md"), *((f"docs/{name}", f"docs/zh-CN/{name}") for name in ENGLISH)]


def shape(text: str) -> dict[str, list[object]]:
    """Return the parts of a document that are the same in both languages."""
    blocks = re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return {
        "headings": [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)],
        "blocks": [(kind, re.sub(r'echo ".*?"|# .*', "", code)) for kind, code in blocks],
        "tables": [line.replace(r"\|", "").count("|") for line in prose.splitlines() if line.startswith("|")],
        "code": sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"[ \n]+", " ", prose)))),
    }


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_both_languages_have_the_same_headings_commands_and_tables(english: str, chinese: str) -> None:
    left, right = shape((ROOT / english).read_text()), shape((ROOT / chinese).read_text())
    for part, found in left.items():
        assert found == right[part], part


def test_translation_has_an_english_original() -> None:
    assert sorted(path.name for path in (ROOT / "docs/zh-CN").glob("*.md")) == ENGLISH


def test_readme_is_within_its_length_limit() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", [name for pair in PAIRS for name in pair])
def test_links_lead_to_files(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / name).read_text())
    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/developers.md"])
def test_modules_that_developers_read_about_exist(name: str) -> None:
    named = re.findall(r"`(?:dify_job/)?([a-z_]+/[a-z_/]+\.py)`", (ROOT / name).read_text())
    assert named
    assert [path for path in named if not any((ROOT / at / path).exists() for at in ("", "dify_job"))] == []


def test_documented_values_are_classes_of_their_package() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", (ROOT / "docs/developers.md").read_text(), re.MULTILINE)
    assert rows
    for value, package in rows:
        sources = [*(ROOT / "dify_job" / package).glob("*.py"), *(ROOT / "dify_job").glob(f"{package}.py")]
        found = [path for path in sources if re.search(rf"^class {value}\b", path.read_text(), re.MULTILINE)]
        assert len(found) == 1, value
