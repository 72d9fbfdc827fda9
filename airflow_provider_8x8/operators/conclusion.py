"""What a try's result means to Airflow: what is pushed, and how the task ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException

from airflow_provider_8x8.exceptions import (
    EightByEightJournalError,
    EightByEightJournalFinalError,
    EightByEightLimitError,
    EightByEightLimitFinalError,
    EightByEightRefusedError,
    EightByEightRefusedFinalError,
    EightByEightSurveyError,
    EightByEightSurveyFinalError,
    EightByEightUnavailableError,
    EightByEightUnavailableFinalError,
    EightByEightUnknownOutcomeError,
    EightByEightUnknownOutcomeFinalError,
)
from airflow_provider_8x8.operators.metrics import Metrics, count_what_is_left
from airflow_provider_8x8.operators.outlets import tell_outlets
from airflow_provider_8x8.operators.results import push_result
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.outcomes.summary import Summary
from airflow_provider_8x8.surveys.outcomes.verdict import Ending, OnEmpty, Verdict, judge
from airflow_provider_8x8.surveys.sending.unanswered import is_not_known
from airflow_provider_8x8.surveys.settings import Limits, OnUnknown

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

_FAILURES: dict[Cause, tuple[type[EightByEightSurveyError], type[EightByEightSurveyError]]] = {
    Cause.UNKNOWN_OUTCOME: (EightByEightUnknownOutcomeError, EightByEightUnknownOutcomeFinalError),
    Cause.REFUSED: (EightByEightRefusedError, EightByEightRefusedFinalError),
    Cause.UNAVAILABLE: (EightByEightUnavailableError, EightByEightUnavailableFinalError),
    Cause.LIMIT: (EightByEightLimitError, EightByEightLimitFinalError),
    Cause.JOURNAL: (EightByEightJournalError, EightByEightJournalFinalError),
    Cause.OTHER: (EightByEightSurveyError, EightByEightSurveyFinalError),
}
"""What a task fails with that another try can mend, and with what one that none can."""


def limits_of(task: EightByEightSurveyBatchOperator) -> Limits:
    """Return how much may go wrong in a task."""
    return Limits(max_rejected=task.max_rejected, max_invalid=task.max_invalid, brake_after=task.brake_after)


def conclude(
    task: EightByEightSurveyBatchOperator, context: Context, summary: Summary, metrics: Metrics, *, may_try_again: bool
) -> dict[str, Any]:
    """
    Push what became of the rows, then return it if that is a success, else raise.

    :param summary: any, also one that has only a ``stop``
    :param metrics: of the try
    :param may_try_again: whether another try would know what was sent
    :raises EightByEightSurveyError: it is none; its kind says why, and whether Airflow may try again
    :raises AirflowSkipException: there was nothing to do
    """
    task.result = result = summary.as_result()
    for reasons in summary.reasons_in_words:
        task.log.warning("%s", reasons)
    task.log.info("%s", summary.in_words)
    problem = push_result(context, result) if task.do_xcom_push else None
    verdict = judge(
        summary,
        on_empty=OnEmpty(task.on_empty),
        on_unknown=OnUnknown(task.on_unknown),
        limits=limits_of(task),
        may_try_again=may_try_again,
        what_is_unknown=_what_is_unknown(summary, may_try_again=may_try_again),
        problem=None if problem is None else f"The result could not be pushed: {problem}",
    )
    count_what_is_left(metrics, context["ti"], summary, may_be_tried_again=verdict.ending is Ending.FAIL)
    if verdict.ending is not Ending.SUCCESS:
        if task.do_xcom_push:
            push_result(context, {"return_value": result})  # which Airflow does for a success only
        raise _exception_of(verdict)
    tell_outlets(task, context, result)
    return result


def _exception_of(verdict: Verdict) -> AirflowException:
    if verdict.ending is Ending.SKIP:
        return AirflowSkipException(verdict.reason)
    mendable, final = _FAILURES[verdict.cause]
    return (final if verdict.ending is Ending.FAIL_FOR_GOOD else mendable)(verdict.reason)


def _what_is_unknown(summary: Summary, *, may_try_again: bool) -> str:
    if not summary.outcomes["unknown"]:
        return ""
    return is_not_known(
        summary.outcomes["unknown"],
        summary.unknown_client_batch_ids,
        summary.outlook,
        problem=summary.logs_problem,
        is_remembered=may_try_again,
    )
