"""When the same POST may be sent again, and after how long; pure.

Only a refusal that provably started nothing comes here (Next.RETRY): Dify has no idempotency key.
"""

from collections.abc import Callable
from datetime import datetime

from ..config.model import RetryPolicy


def pause(
    policy: RetryPolicy,
    *,
    attempts: int,
    busy: bool,
    pauses: tuple[float, float],
    waited: float,
    last: float | None,
    retry_after: float | None,
    uniform: Callable[[float, float], float],
) -> float | None:
    """Seconds to wait before the next POST, or None to give up.

    attempts: POSTs so far. busy: the server refused the last one because too many runs are under way. That is
    waited out up to max_wait whatever the number of attempts, unless only one is allowed. pauses: the
    shortest and the longest. waited: pauses so far, summed. last: the pause before this one. retry_after:
    what the server asked for; more than is left of max_wait ends the trying. The growth is decorrelated
    jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    if attempts >= policy.attempts and not (busy and policy.attempts > 1):
        return None
    shortest, longest = pauses
    left = policy.max_wait - waited
    wanted = min(longest, uniform(shortest, 3 * (last or shortest)))
    if retry_after is not None:
        return min(max(retry_after, wanted), left) if retry_after <= left else None
    return min(wanted, left) if left > 0 else None


def seconds_of(retry_after: str | None, now: datetime) -> float | None:
    """`Retry-After` in seconds: a number or an HTTP date (RFC 9110, section 10.2.3); None if unreadable."""
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.strip().isdigit():
        return float(retry_after)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - needed after a refusal only

    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
