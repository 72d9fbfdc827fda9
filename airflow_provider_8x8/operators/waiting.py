"""Waiting for 8x8's logs without a worker: how a task gives its worker back, and how it knows that it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_8x8.operators.delivery_report import EightByEightDeliveryReportOperator
    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator
    from airflow_provider_8x8.surveys.sending.log_exports import Wait

_TRIGGER_HAS_FAILED = "__fail__"
"""In place of the method to go on with, as Airflow 2 and 3 have it."""


def wait_without_worker(
    task: EightByEightSurveyBatchOperator | EightByEightDeliveryReportOperator,
    wait: Wait,
    progress: dict[str, Any],
    method_name: str,
) -> NoReturn:
    """
    Give the worker back.

    :param wait: what for, and until when
    :param progress: what the task is to know when it goes on
    :param method_name: what it goes on with
    :raises TaskDeferred: always, which is how Airflow is told
    """
    from airflow_provider_8x8.triggers.log_export import EightByEightLogExportTrigger

    trigger = EightByEightLogExportTrigger(
        until=wait.until,
        job_id=wait.job_id,
        progress=progress,
        eight_by_eight_conn_id=task.eight_by_eight_conn_id,
        subaccount_id=task.subaccount_id,
    )
    task.defer(trigger=trigger, method_name=method_name)
    raise RuntimeError("Airflow goes on though the task is deferred")


def is_resumed(context: Context) -> bool:
    """Tell whether the try goes on after a wait without a worker, also while its fields are still being rendered."""
    ti = context["ti"]
    told = getattr(ti, "_ti_context_from_server", ti)  # where Airflow 3 has what Airflow 2's own object has
    return getattr(told, "next_method", None) is not None


def why_trigger_has_failed(log: Any, next_method: str, next_kwargs: Mapping[str, Any] | None) -> str | None:
    """
    Return why a trigger has failed, None if it has not.

    :param log: gets the trigger's traceback, where Airflow hands it on
    :param next_method: as Airflow gives it to ``resume_execution``; likewise ``next_kwargs``
    """
    if next_method != _TRIGGER_HAS_FAILED:
        return None
    failure = next_kwargs or {}
    if traceback := failure.get("traceback"):
        log.error("The trigger has failed:\n%s", "".join(traceback))
    return str(getattr(error := failure.get("error", "unknown"), "value", error))
