"""Commands in the suggested fixes of doctor."""


def command_in(fix: str | None) -> str:
    """Return the command that a fix ends with, without the words before the last ": "."""
    assert fix is not None
    return fix.rpartition(": ")[2]
