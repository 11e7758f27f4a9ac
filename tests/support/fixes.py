"""Commands in the suggested fixes of doctor."""


def command_in(fix: str | None) -> str:
    """Return the command that a fix begins with, without the text after "; " or in brackets."""
    assert fix is not None
    return fix.partition("; ")[0].partition(" (")[0]
