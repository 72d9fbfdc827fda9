"""Which calls to 8x8 are made again, how often, and after how long."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import tenacity

from airflow_provider_8x8.api.errors import EightByEightError, NeverSentError, RateLimitedError, RefusedError
from airflow_provider_8x8.retrying import failure_of, random_seconds, retrying

log = logging.getLogger(__name__)

MAX_TRIES = 5
"""How often a call is made before its failure counts, where making it again is safe."""

LONGEST_WAIT = 120.0
"""Seconds that a call of the client's waits between its tries, all waits together."""


def retrying_until_sent(
    sleep: Callable[[float], None], longest_wait: float, jitter: Callable[[float], float] = random_seconds
) -> tenacity.Retrying:
    """
    Return what makes a call again that certainly did nothing (never sent, or 429), five times in all.

    It waits exactly as long as 8x8 asks, else 1 s, 2 s, 4 s and 8 s; up to a second more each time, so that not all
    callers come at the same moment. If 8x8 asks for more than is left of ``longest_wait``, the
    :class:`RateLimitedError` is raised at once; its text says until when 8x8 asks to wait. Otherwise the last failure
    is raised as it came.

    :param sleep: waits the seconds it is given
    :param longest_wait: seconds, for all waits of one call together
    :param jitter: returns 0 to so many seconds, at random
    """
    return _retrying(_did_nothing, sleep, longest_wait, jitter)


def retrying_until_answered(
    sleep: Callable[[float], None], jitter: Callable[[float], float] = random_seconds
) -> tenacity.Retrying:
    """
    Return what makes a call again that may be made twice, five times in all, after any failure but a refusal.

    It waits as :func:`retrying_until_sent` does, for :data:`LONGEST_WAIT` together.

    :param sleep: waits the seconds it is given
    :param jitter: returns 0 to so many seconds, at random
    """
    return _retrying(_may_go_better, sleep, LONGEST_WAIT, jitter)


def at_most(max_tries: int, policy: tenacity.Retrying) -> tenacity.Retrying:
    """
    Return the same with fewer tries.

    :raises ValueError: that is not 1 to :data:`MAX_TRIES`
    """
    if not 1 <= max_tries <= MAX_TRIES:
        raise ValueError(f"max_tries is {max_tries}; expected 1 to {MAX_TRIES}")
    return policy.copy(stop=tenacity.stop_any(tenacity.stop_after_attempt(max_tries), policy.stop))  # type: ignore[arg-type]  # ours is a stop_base


def _retrying(
    is_worth_it: Callable[[BaseException], bool],
    sleep: Callable[[float], None],
    longest_wait: float,
    jitter: Callable[[float], float],
) -> tenacity.Retrying:
    return retrying(
        is_worth_it,
        max_tries=MAX_TRIES,
        first_wait=1.0,
        longest_wait=30.0,
        spread=1.0,
        asked=_asked_seconds,
        also_stop=_StopIfAskedForMore(longest_wait),
        before_sleep=_say_that_it_waits,
        sleep=sleep,
        jitter=jitter,
    )


class _StopIfAskedForMore(tenacity.stop.stop_base):
    """Stops when 8x8 asks for more than is left of the longest wait."""

    def __init__(self, longest_wait: float) -> None:
        self._longest_wait = longest_wait

    def __call__(self, state: tenacity.RetryCallState) -> bool:
        return (_asked_seconds(failure_of(state)) or 0.0) > self._longest_wait - state.idle_for


def _asked_seconds(error: BaseException | None) -> float | None:
    return error.retry_after if isinstance(error, RateLimitedError) else None


def _say_that_it_waits(state: tenacity.RetryCallState) -> None:
    error = failure_of(state)
    seconds = state.next_action.sleep if state.next_action else 0.0
    reason = error.reason if isinstance(error, EightByEightError) else error
    log.warning("%s; trying again in %.1f s (try %d failed)", reason, seconds, state.attempt_number)


def _did_nothing(error: BaseException) -> bool:
    return isinstance(error, NeverSentError | RateLimitedError)


def _may_go_better(error: BaseException) -> bool:
    return isinstance(error, EightByEightError) and (
        not isinstance(error, RefusedError) or isinstance(error, RateLimitedError)
    )


until_sent = retrying_until_sent(time.sleep, LONGEST_WAIT)
"""For a call that must not be made twice."""

until_answered = retrying_until_answered(time.sleep)
"""For a call that may be made twice."""
