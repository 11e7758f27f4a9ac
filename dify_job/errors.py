"""The one family of errors that crosses rooms."""

from .exits import Outcome


class JobError(Exception):
    """Something that ends the command, told so that the reader can act on it.

    message: what happened and why, one sentence without a final full stop.
    hint: the command or the edit that mends it, or None where there is none.
    outcome: the row of the exit table that the command leaves with.
    """

    def __init__(self, outcome: Outcome, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message
        self.hint = hint
