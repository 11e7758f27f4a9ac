"""A remedy of doctor as a person pastes it: the command that its line begins with."""


def command_in(mend: str | None) -> str:
    """The command in a line, without the words about it: those after "; " and those in brackets."""
    assert mend is not None
    return mend.partition("; ")[0].partition(" (")[0]
