"""
When Airflow is to try again what has failed with 8x8. For Airflow 3.3 and later, which asks a task's ``retry_policy``.

Below it, give the task a ``retry_delay`` of ``log_settle_time`` or more: the log says how much more is of use.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

from airflow_provider_8x8.api.errors import EightByEightError, NeverSentError, RateLimitedError, UnknownOutcomeError
from airflow_provider_8x8.exceptions import EightByEightUnknownOutcomeError
from airflow_provider_8x8.surveys.settings import DEFAULT_LOG_SETTLE_TIME, LONGEST_DURATION

try:
    from airflow.sdk import RetryDecision, RetryPolicy
except ImportError:
    raise AirflowOptionalProviderFeatureException(
        "EightByEightRetryPolicy needs Airflow 3.3 or later, which asks retry policies; below it, give the task a "
        "retry_delay of its log_settle_time or more"
    ) from None

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class EightByEightRetryPolicy(RetryPolicy):
    """
    Waits for 8x8's logs before another try looks into them, and lets no task repeat a send of unknown outcome.

    .. code-block:: python

        EightByEightSurveyBatchOperator(..., retries=5, retry_policy=EightByEightRetryPolicy())

    * The batch operator's :class:`~airflow_provider_8x8.exceptions.EightByEightUnknownOutcomeError`: the next try comes
      after ``log_settle_time``. Before that the logs can rarely tell more.
    * :class:`~airflow_provider_8x8.api.errors.UnknownOutcomeError` of the hook's single calls: no retry, since nothing
      remembers what was sent.
    * What 8x8 refuses for good: no retry. What it has refused for a while: after the time that it asks for.
    * All else: as the task's ``retry_delay`` has it.

    It makes no more tries than ``retries`` allows. What the operator calls final is never retried, with or without it.

    :param log_settle_time: how long to wait, by default the task's own ``log_settle_time``, and 10 minutes for a task
        that has none; 0 to 30 days
    :raises ValueError: it is something else
    """

    def __init__(self, *, log_settle_time: timedelta | None = None) -> None:
        if log_settle_time is not None and (
            not isinstance(log_settle_time, timedelta) or not timedelta() <= log_settle_time <= LONGEST_DURATION
        ):
            raise ValueError(
                f"log_settle_time is {log_settle_time!r}; expected a timedelta from 0 to {LONGEST_DURATION.days} days"
            )
        self.log_settle_time = log_settle_time

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """See :class:`~airflow.sdk.RetryPolicy`."""
        if isinstance(exception, EightByEightUnknownOutcomeError):
            return RetryDecision.retry(self._settle_time(context), "8x8's logs may tell more once they have settled")
        if isinstance(exception, UnknownOutcomeError):
            return RetryDecision.fail("8x8 may have done what was asked: to ask again could text somebody twice")
        if isinstance(exception, RateLimitedError) and exception.retry_after is not None:
            return RetryDecision.retry(timedelta(seconds=exception.retry_after), "8x8 asks to wait for so long")
        if isinstance(exception, EightByEightError) and not exception.may_go_better:
            return RetryDecision.fail("8x8 has refused it for good")
        if isinstance(exception, NeverSentError):
            return RetryDecision.retry(reason="8x8 has nothing of it")
        return RetryDecision.default()

    def _settle_time(self, context: Context | None) -> timedelta:
        if self.log_settle_time is not None:
            return self.log_settle_time
        task = None if context is None else context.get("task")
        of_task: timedelta = getattr(task, "log_settle_time", DEFAULT_LOG_SETTLE_TIME)
        return of_task
