"""A paused job under cron: its lines are commented, which lasts across reboots. Pure."""

from ..ownership import Mark, marked

MARK = "#paused# "


def with_pause(text: str, mark: Mark, *, paused: bool, edited: bool) -> str:
    """The text of a file or block, its lines commented or not; one that was edited stays known as that."""
    first, _, body = text.partition("\n")
    lines = [line.removeprefix(MARK) for line in body.split("\n")]
    if paused:
        lines = [line if not line or line.startswith("#") else f"{MARK}{line}" for line in lines]
    body = "\n".join(lines)
    return f"{first}\n{body}" if edited else marked(mark.job, mark.config, mark.source, body)


def is_paused(content: bytes) -> bool:
    """True where its lines are commented."""
    lines = content.splitlines()
    return any(line.startswith(MARK.encode()) for line in lines)
