"""Quoting of arguments in unit files."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dify_job.messages.errors import JobError
from dify_job.schedulers import units
from tests.support.systemd_analyze import needs_systemd_analyze


def unquoted(line: str) -> list[str]:
    """Parse ExecStart= by systemd.service(5): quotes, C escapes, then specifiers, then $ in arguments."""
    words: list[str] = []
    word, quote, at = None, "", 0
    escapes = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
    while at < len(line):
        char = line[at]
        if char == "\\":
            following = line[at + 1]
            if following == "x":
                word = (word or "") + chr(int(line[at + 2 : at + 4], 16))
                at += 4
                continue
            word = (word or "") + escapes[following]
            at += 2
            continue
        if quote:
            quote, word = ("", word) if char == quote else (quote, (word or "") + char)
        elif char in "\"'":
            quote, word = char, word or ""
        elif char == " ":
            words, word = ([*words, word] if word is not None else words), None
        else:
            word = (word or "") + char
        at += 1
    assert not quote
    words = [*words, word] if word is not None else words
    assert ";" not in words or '";"' in line
    specified = [re.sub("%(.)", lambda found: found[1] if found[1] == "%" else "?", each) for each in words]
    return [
        specified[0],
        *(
            re.sub(r"\$(.)", lambda found: found[1] if found[1] == "$" else "?", each)
            for each in specified[1:]
        ),
    ]


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(st.lists(WORDS, max_size=5))
@example(['100% $HOME "x"', "a\\", ";", "", "${A}", "%h", "'", "\x7f", "\n\t"])
def test_any_argument_survives_quoting(words: list[str]) -> None:
    line = units._command(["/bin/x", *words])
    assert "\n" not in line
    assert unquoted(line) == ["/bin/x", *words]


@pytest.mark.parametrize("word", ["\0", "\udcff"])
def test_argument_that_a_unit_cannot_contain_is_rejected(word: str) -> None:
    with pytest.raises(JobError, match="cannot be used in a unit"):
        units.quoted(word)


@needs_systemd_analyze
@pytest.mark.parametrize("name", ["a b", "a$b", "a${HOME}", "100%", "a;b", "é", "@x", "-x", "$$", "a%h"])
def test_systemd_finds_a_program_with_any_name(name: str, tmp_path: Path) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "dify-job-x.service"
    unit.write_text(f"[Service]\nType=oneshot\nExecStart={units._command([str(program), '%h', '$A', ';'])}\n")
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["a\\b", 'a"b', "a'b", "a\tb", "a\nb"])
def test_program_name_that_systemd_rejects_is_rejected(name: str) -> None:
    with pytest.raises(JobError, match="systemd cannot start a program whose path has a quote"):
        units._command([f"/opt/{name}/python"])
