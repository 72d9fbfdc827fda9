"""How what has failed is tried again, everywhere: waits that double, and the last failure raised as it came."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import tenacity


def random_seconds(most: float) -> float:
    """Return 0 to so many seconds: added to a wait, they keep callers from coming all at the same moment."""
    return random.uniform(0.0, most)  # noqa: S311  # spreads callers, keeps no secret


def retrying(
    is_worth_it: Callable[[BaseException], bool],
    *,
    max_tries: int,
    first_wait: float,
    longest_wait: float,
    spread: float = 0.0,
    asked: Callable[[BaseException], float | None] = lambda error: None,
    also_stop: tenacity.stop.stop_base = tenacity.stop_never,
    before_sleep: Callable[[tenacity.RetryCallState], Any] | None = None,
    sleep: Callable[[float], Any] = time.sleep,
    jitter: Callable[[float], float] = random_seconds,
) -> tenacity.Retrying:
    """
    Return what calls a function until it returns, or there is no point in calling it again.

    :param is_worth_it: whether another call may go better after this failure
    :param max_tries: how often it is called at most
    :param first_wait: seconds after the first failure; each wait is twice the one before
    :param longest_wait: seconds that such a wait has at most
    :param spread: up to so many seconds are added to each wait
    :param asked: the seconds that a failure asks to wait instead, if it does
    :param also_stop: another reason to make no further call
    :param before_sleep: called before each wait
    :param sleep: waits the seconds it is given
    :param jitter: returns 0 to so many seconds, at random
    """
    doubling = tenacity.wait_exponential(multiplier=first_wait, max=longest_wait)

    def seconds_to_wait(state: tenacity.RetryCallState) -> float:
        error = failure_of(state)
        seconds = None if error is None else asked(error)
        return (doubling(state) if seconds is None else seconds) + (jitter(spread) if spread else 0.0)

    return tenacity.Retrying(
        sleep=sleep,
        retry=tenacity.retry_if_exception(is_worth_it),
        wait=seconds_to_wait,
        stop=tenacity.stop_any(tenacity.stop_after_attempt(max_tries), also_stop),
        before_sleep=before_sleep,
        reraise=True,
    )


def failure_of(state: tenacity.RetryCallState) -> BaseException | None:
    """Return what the last call has raised."""
    return state.outcome.exception() if state.outcome else None
