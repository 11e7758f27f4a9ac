"""What stands in files: marks, quoting, crontab bytes; each against what a hostile world can put there."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dify_job.messages.errors import JobError
from dify_job.schedulers import cron_pause, crontab, units
from dify_job.system.managed_files import FileState, FileStatus, fingerprint, look, marked, read_mark

JOBS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,47}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)

# Marks


@given(job=JOBS, source=TEXT, body=TEXT)
@example(job="a", source='x" config=0 from="y', body="")
@example(job="a", source="a\\", body="\n")
def test_a_mark_is_read_back_and_a_changed_body_is_seen(job: str, source: str, body: str) -> None:
    content = marked(job, fingerprint("x"), source, body).encode()
    if "\r" in source or len(source.splitlines()) > 1:
        assert content.partition(b"\n")[0].startswith(b"# Managed")
    read = read_mark(content)
    assert read is not None
    mark, unchanged = read
    assert (mark.job, mark.source, mark.config, unchanged) == (job, source, fingerprint("x"), True)
    edited = read_mark(content + b"# mine\n")
    assert edited is not None
    assert not edited[1]


@given(st.binary(max_size=200))
def test_bytes_that_are_not_ours_have_no_mark(content: bytes) -> None:
    assert read_mark(content) is None


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (marked("daily", "0" * 16, "/c", "x\n"), FileState.OURS),
        (marked("daily", "0" * 16, "/c", "x\n") + "y\n", FileState.EDITED),
        (
            marked("other", "0" * 16, "/c", "x\n"),
            FileState.FOREIGN,
        ),  # our first line copied into another file
        ("[Unit]\n" + marked("daily", "0" * 16, "/c", "x\n"), FileState.FOREIGN),  # not the first line
        ("# Managed by dify-job for job daily.\n", FileState.FOREIGN),
        ("[Unit]\n", FileState.FOREIGN),
        ("", FileState.MASKED),
    ],
)
def test_what_stands_at_a_place_is_told_by_its_first_line(
    content: str, found: FileState, tmp_path: Path
) -> None:
    path = tmp_path / "dify-job-daily.service"
    path.write_text(content)
    assert look(path, "daily").found is found


def test_links_directories_and_nothing_are_told_apart(tmp_path: Path) -> None:
    mask, link = tmp_path / "mask.timer", tmp_path / "link.timer"
    mask.symlink_to("/dev/null")
    ours = tmp_path / "real.timer"
    ours.write_text(marked("real", "0" * 16, "/c", "x\n"))
    link.symlink_to(ours)
    (tmp_path / "dir.timer").mkdir()
    assert look(mask).found is FileState.MASKED
    assert look(link).found is FileState.FOREIGN  # even to a file of ours: writing would follow or replace it
    assert look(tmp_path / "dir.timer").found is FileState.FOREIGN
    assert look(tmp_path / "none.timer").found is FileState.ABSENT


# Quoting in units, undone as systemd undoes it


def unquoted(line: str) -> list[str]:
    """Words of ExecStart=, by systemd.service(5): quotes, C escapes, then specifiers, then $ in arguments."""
    words, word, quote, at = [], None, "", 0
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
def test_any_argument_comes_through_a_unit_as_it_was(words: list[str]) -> None:
    line = units._command(["/bin/x", *words])
    assert "\n" not in line
    assert unquoted(line) == ["/bin/x", *words]


@pytest.mark.parametrize("word", ["\0", "\udcff"])
def test_what_no_unit_can_hold_is_refused(word: str) -> None:
    with pytest.raises(JobError, match="cannot stand in a unit"):
        units.quoted(word)


@pytest.mark.parametrize("name", ["a b", "a$b", "a${HOME}", "100%", "a;b", "é", "@x", "-x", "$$", "a%h"])
def test_the_real_systemd_finds_a_program_of_any_name(name: str, tmp_path: Path) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "dify-job-x.service"
    unit.write_text(f"[Service]\nType=oneshot\nExecStart={units._command([str(program), '%h', '$A', ';'])}\n")
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["a\\b", 'a"b', "a'b", "a\tb", "a\nb"])
def test_a_program_that_systemd_refuses_by_its_name_is_refused_before(name: str) -> None:
    with pytest.raises(JobError, match="systemd starts no program with a quote"):
        units._command([f"/opt/{name}/python"])


# A user's crontab

LINES = st.lists(
    st.one_of(
        st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"")),
        st.sampled_from(
            [
                b"*/90 * * * * y", b"0 0 * * * a%b", b"MAILTO=me@example.com", b"# comment", b"@reboot x",
                b"0 7 * * * \xff\xfe\0 x\r", b"PATH=/bin", b"  ", b"CRON_TZ=Asia/Tokyo", b"\r",
                b"SHELL=/usr/bin/fish",
                b"# Managed by somebody else", b"SHELL=/bin/false", b"HOME=/srv",
            ]
        ),
    ),
    max_size=12,
)  # fmt: skip
TABLES = st.builds(
    lambda lines, end: b"\n".join(lines) + end, LINES, st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"])
)


def lines(job: str, body: str = "0 7 * * * x\n") -> bytes:
    return marked(job, "0" * 16, "/c", body).encode()


def block(job: str) -> bytes:
    return lines(job) + f"# End of dify-job job {job}.\n".encode()


@given(TABLES, st.lists(JOBS, min_size=1, max_size=4, unique=True))
def test_every_byte_outside_our_blocks_survives_them(table: bytes, jobs: list[str]) -> None:
    if crontab._FOREIGN_HEADER.search(table):
        return
    end = b"" if not table or table.endswith(b"\n") else b"\n"
    changed = table
    for job in jobs:
        changed = crontab.with_block(changed, job, lines(job))
    assert sorted(found.job for found in crontab.blocks(changed)) == sorted(jobs)
    for job in jobs:  # again, in its place
        assert crontab.with_block(changed, job, lines(job)) == changed
        changed = crontab.with_block(changed, job, lines(job, "1 1 * * * y\n"))
    for job in reversed(jobs):
        changed = crontab.without_block(changed, job)
    assert changed in (table, table + end)


@given(TABLES)
def test_a_table_without_blocks_stays_as_it_is(table: bytes) -> None:
    assert crontab.without_block(table, "daily") == table
    assert crontab.blocks(table) == []


def test_ten_thousand_lines_are_kept() -> None:
    table = b"".join(b"%d 0 * * * x%d\n" % (number % 60, number) for number in range(10_000))
    assert crontab.without_block(crontab.with_block(table, "a", lines("a")), "a") == table


BEGIN, REST = block("daily").split(b"\n", 1)


@pytest.mark.parametrize(
    "damaged",
    [
        BEGIN + b"\n",
        BEGIN + b"\n0 7 * * * x\n",
        b"# End of dify-job job daily.\n",
        REST,
        block("daily") + block("daily"),
        BEGIN + b"\n" + block("daily"),
        BEGIN + b"\n" + block("other") + REST,
        BEGIN + b"\n# End of dify-job job other.\n",
        b"# Managed by dify-job for job daily. half of the line\n0 7 * * * x\n# End of dify-job job daily.\n",
        block("daily") + b"# End of dify-job job daily.\n",
    ],
)
def test_damaged_marks_are_refused_since_what_is_ours_is_unclear(damaged: bytes) -> None:
    for table in (damaged, b"0 0 * * * mine\n" + damaged + b"1 1 * * * mine too"):
        with pytest.raises(JobError, match="damaged"):
            crontab.with_block(table, "daily", lines("daily"))
        with pytest.raises(JobError, match="damaged"):
            crontab.without_block(table, "daily")


def test_a_block_that_an_editor_gave_other_line_ends_is_an_edited_one() -> None:
    table = b"0 0 * * * mine\r\n" + block("daily").replace(b"\n", b"\r\n")
    assert crontab.look(table, "daily").found is FileState.EDITED
    assert crontab.without_block(table, "daily") == b"0 0 * * * mine\r\n"


def test_a_block_with_a_line_changed_is_an_edited_one() -> None:
    assert crontab.look(block("a"), "a").found is FileState.OURS
    assert crontab.look(block("a").replace(b"0 7", b"0 8"), "a").found is FileState.EDITED


@pytest.mark.parametrize(
    ("table", "refused"),
    [
        (b"# DO NOT EDIT - puppet writes this file\n0 0 * * * x\n", True),
        (b"# Puppet\n# This is generated, DO NOT EDIT\n", True),
        (
            b"# DO NOT EDIT THIS FILE - edit the master and reinstall.\n# (/tmp/crontab.x on x)\n",
            False,
        ),
        (b"0 0 * * * x\n# DO NOT EDIT the line above\n", False),
        (b"# do not edit this at night\n", False),
    ],
)
def test_a_table_of_another_program_is_refused_and_crons_own_header_is_not(
    table: bytes, refused: bool
) -> None:
    if refused:
        with pytest.raises(JobError, match="another program manages it"):
            crontab.with_block(table, "a", lines("a"))
    else:
        assert crontab.with_block(table, "a", lines("a")) == table + block("a")


@pytest.mark.parametrize(
    ("setting", "moved"),
    [
        (b"CRON_TZ=Asia/Tokyo\n", True),
        (b"  CRON_TZ = Asia/Tokyo\n", True),
        (b"SHELL=/bin/false\n", True),
        (b"SHELL=/usr/bin/python3\n", True),
        (b"HOME=/srv\n", True),
        (b"SHELL=/usr/bin/fish\n", False),  # our line is plain words, which it reads alike
        (b'SHELL="/bin/bash"\n', False),
        (b"MAILTO=me\nPATH=/bin\n", False),
        (b"# CRON_TZ=Asia/Tokyo\n", False),
    ],
)
def test_a_block_stands_above_a_setting_that_would_change_what_it_means(setting: bytes, moved: bool) -> None:
    table = b"0 0 * * * a\n" + setting + b"1 1 * * * b\n"
    with_it = crontab.with_block(table, "daily", lines("daily"))
    place = with_it.index(b"# Managed")
    assert (place < with_it.index(setting)) is moved
    assert crontab.without_block(with_it, "daily") == table
    (ours,) = crontab.blocks(with_it)
    assert crontab.hostile_above(with_it, ours) is None
    later = setting + with_it
    (ours,) = crontab.blocks(later)
    assert (crontab.hostile_above(later, ours) is not None) is moved
    again = crontab.with_block(later, "daily", lines("daily"))
    assert crontab.hostile_above(again, crontab.blocks(again)[0]) is None
    assert crontab.without_block(again, "daily") == setting + table


def test_an_empty_mailto_above_the_block_is_seen() -> None:
    def mailed(table: bytes) -> bool:
        return crontab.is_mailed(table, crontab.blocks(table)[0])

    assert mailed(block("a"))
    assert mailed(b"MAILTO=me\n" + block("a"))
    assert not mailed(b'MAILTO=me\nMAILTO=""\n' + block("a"))
    assert mailed(b'MAILTO=""\nMAILTO=me\n' + block("a"))
    assert mailed(block("a") + b"MAILTO=\n")


# Pausing


def seen_of(text: str | bytes, *, edited: bool = False) -> FileStatus:
    content = text.encode() if isinstance(text, str) else text
    mark, as_written = read_mark(content) or pytest.fail("no mark")
    assert as_written is not edited
    return FileStatus(FileState.EDITED if edited else FileState.OURS, mark, content)


@given(body=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")), max_size=5))
def test_a_pause_comments_each_line_and_a_resume_gives_the_same_bytes_back(body: list[str]) -> None:
    text = marked("daily", "0" * 16, "/c", "".join(f"0 7 * * * {line}\n" for line in body))
    paused = cron_pause.with_pause(seen_of(text), "daily", paused=True)
    assert all(line.startswith("#") for line in paused.decode().split("\n") if line)
    assert cron_pause.is_paused(paused) is bool(body)
    assert cron_pause.with_pause(seen_of(paused), "daily", paused=False) == text.encode()


def test_a_pause_does_not_make_a_hand_edit_ours() -> None:
    text = marked("daily", "0" * 16, "/c", "0 7 * * * x\n").encode() + b"0 8 * * * mine \xff\n"
    paused = cron_pause.with_pause(seen_of(text, edited=True), "daily", paused=True)
    assert b"#paused# 0 8 * * * mine \xff\n" in paused
    assert cron_pause.with_pause(seen_of(paused, edited=True), "daily", paused=False) == text
