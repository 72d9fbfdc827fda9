"""What a task fails with, and when Airflow tries again."""

from __future__ import annotations

import importlib
import pickle
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowOptionalProviderFeatureException

from airflow_provider_8x8 import exceptions
from airflow_provider_8x8.api.errors import (
    EightByEightError,
    NeverSentError,
    RateLimitedError,
    RefusedError,
    UnknownOutcomeError,
)
from airflow_provider_8x8.exceptions import EightByEightSurveyError, EightByEightUnknownOutcomeError
from tests.operators.test_survey_batch import with_state_store, without_state_store

FAILURES = [
    each for each in vars(exceptions).values() if isinstance(each, type) and issubclass(each, EightByEightSurveyError)
]


@pytest.mark.parametrize("kind", FAILURES, ids=lambda kind: kind.__name__)
def test_a_failure_is_written_down_and_read_again_as_it_was(kind: type[EightByEightSurveyError]) -> None:
    failure = kind("why\nwhat to do")
    again = pickle.loads(pickle.dumps(failure))  # noqa: S301  # our own
    assert (type(again), str(again)) == (kind, "why\nwhat to do")
    serialize: Any = failure.serialize
    path, arguments, named = serialize()
    module, _, name = path.rpartition(".")
    made = getattr(importlib.import_module(module), name)(*arguments, **named)
    assert (type(made), str(made)) == (kind, str(failure))
    assert isinstance(failure, AirflowFailException) == ("Final" in kind.__name__)


def rate_limited() -> RateLimitedError:
    error = RateLimitedError(429)
    error.retry_after = 90.0
    return error


@with_state_store
@pytest.mark.parametrize(
    ("failure", "action", "seconds"),
    [
        (EightByEightUnknownOutcomeError("?"), "retry", 1200),
        (EightByEightSurveyError("?"), "default", None),
        (UnknownOutcomeError("?"), "fail", None),
        (RefusedError(401, 1001), "fail", None),
        (RefusedError(400, 1400), "default", None),
        (rate_limited(), "retry", 90),
        (RateLimitedError(429), "default", None),
        (NeverSentError("?"), "retry", None),
        (ValueError("?"), "default", None),
    ],
)
def test_when_airflow_tries_again(failure: Exception, action: str, seconds: float | None) -> None:
    from airflow_provider_8x8.retry_policy import EightByEightRetryPolicy

    context: Any = {"task": SimpleNamespace(log_settle_time=timedelta(minutes=20))}
    decision = EightByEightRetryPolicy().evaluate(failure, 1, 3, context)
    assert decision.action.value == action
    assert decision.retry_delay == (None if seconds is None else timedelta(seconds=seconds))


@with_state_store
def test_how_long_it_waits_can_be_said() -> None:
    from airflow_provider_8x8.retry_policy import EightByEightRetryPolicy

    failure = EightByEightUnknownOutcomeError("?")
    assert EightByEightRetryPolicy().evaluate(failure, 1, 3).retry_delay == timedelta(minutes=10)
    hour = timedelta(hours=1)
    assert EightByEightRetryPolicy(log_settle_time=hour).evaluate(failure, 1, 3).retry_delay == hour


@with_state_store
@pytest.mark.parametrize("wrong", [timedelta(seconds=-1), timedelta(days=31), 600, "10", True])
def test_how_long_it_waits_is_a_duration(wrong: Any) -> None:
    from airflow_provider_8x8.retry_policy import EightByEightRetryPolicy

    with pytest.raises(ValueError, match=r"^log_settle_time is .*; expected a timedelta from 0 to 30 days"):
        EightByEightRetryPolicy(log_settle_time=wrong)


@without_state_store
def test_an_older_airflow_is_told_that_it_has_no_retry_policies() -> None:
    with pytest.raises(AirflowOptionalProviderFeatureException, match=r"needs Airflow 3\.3 or later.*retry_delay"):
        importlib.import_module("airflow_provider_8x8.retry_policy")


def test_the_hooks_errors_are_not_the_tasks() -> None:
    assert not any(issubclass(kind, EightByEightError) for kind in FAILURES)
