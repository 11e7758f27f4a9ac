"""What keeps a run of an app from beginning, as far as its server tells without starting one. Pure."""

from ..dify.app_info import AppProbe
from ..exit_codes import Outcome
from ..messages.message import msg
from .outcome import NotSent, RunOutcome, decide

STRANGE = (
    msg("the answer is not Dify's"),
    msg("check base_url: it should be Dify's address, ending in /v1, without a login page before it"),
)


def obstacle(seen: AppProbe) -> RunOutcome | None:
    """What a POST would be refused for, in the words of a run; None where nothing is in its way."""
    if seen.broken is not None:
        return decide(NotSent(seen.broken))
    if seen.refusal is not None and seen.refusal.status >= 500:
        said = f": {seen.refusal.message}" if seen.refusal.message else ""
        return RunOutcome(
            Outcome.UNREACHABLE,
            msg("the server answered HTTP {status}{said}", status=seen.refusal.status, said=said),
            msg("its own log has the cause: docker compose logs api"),
        )
    if seen.refusal is not None:
        return decide(seen.refusal)
    if seen.strange:
        return RunOutcome(Outcome.PROTOCOL, *STRANGE)
    if seen.mode not in (None, "workflow"):
        return RunOutcome(
            Outcome.CONFIG,
            msg(
                "the key belongs to the app {name!r}, which is no workflow but of mode {mode}",
                name=seen.name,
                mode=seen.mode,
            ),
            msg("use the key of a workflow app"),
        )
    return None
