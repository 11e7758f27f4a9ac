import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job.config.model import RetryPolicy
from dify_job.run.engine import retry_pause, seconds_of


@given(
    st.integers(1, 20),
    st.floats(0, 300),
    st.floats(0, 60) | st.none(),
    st.floats(0, 200) | st.none(),
    st.integers(),
    st.booleans(),
)
def test_pauses_follow_the_policy(
    attempts: int, waited: float, last: float | None, retry_after: float | None, seed: int, busy: bool
) -> None:
    policy = RetryPolicy(attempts=5, max_wait=120)
    pauses = [waited] if last is None else [waited, last]
    waited = sum(pauses)
    wait = retry_pause(
        policy,
        attempts=attempts,
        busy=busy,
        bounds=(1.0, 10.0),
        pauses=pauses,
        retry_after=retry_after,
        uniform=random.Random(seed).uniform,
    )
    if (attempts >= 5 and not busy) or waited >= 120:
        assert wait is None or wait == 0 or retry_after is not None
    if wait is not None:
        assert attempts < 5 or busy
        assert waited + wait <= 120 + 1e-9
        assert wait <= 10 or (retry_after is not None and wait >= min(retry_after, 120 - waited) - 1e-9)


@pytest.mark.parametrize(
    ("allowed", "busy", "waits"), [(3, True, True), (3, False, False), (1, True, False), (1, False, False)]
)
def test_busy_server_is_retried_unless_one_attempt_is_allowed(allowed: int, busy: bool, waits: bool) -> None:
    policy = RetryPolicy(attempts=allowed, max_wait=120)
    wait = retry_pause(
        policy,
        attempts=10,
        busy=busy,
        bounds=(1.0, 10.0),
        pauses=[55, 5],
        retry_after=None,
        uniform=random.Random(1).uniform,
    )
    assert (wait is not None) is waits


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 11, 23, 7, 0, 0, tzinfo=UTC)
    assert seconds_of("7", now) == 7
    assert seconds_of("Mon, 23 Nov 2026 07:00:30 GMT", now) == 30
    assert seconds_of("Mon, 23 Nov 2026 07:00:30 -0000", now) == 30
    assert seconds_of("Mon, 23 Nov 2026 06:00:00 GMT", now) == 0
    for odd in ("soon", "²", "-5", "1e5", "Mon, 99 Nov 2026", f"23 Nov {'9' * 30} 07:00:30 GMT"):
        assert seconds_of(odd, now) is None
    assert seconds_of(None, now) is None
