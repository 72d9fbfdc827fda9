"""
Show a person what will go out and what it costs, and send it once they have approved.

The preview's page is what is to be approved, on Airflow's page of required actions. No more than the rows that were
counted is sent, also when the query has more by then; on Reject, or when nobody has answered within a day, nothing is
sent. It needs ``ApprovalOperator``, which Airflow has since 3.1: on an older one this file defines no DAG.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import dag

from airflow_provider_8x8.operators.delivery_report import EightByEightDeliveryReportOperator
from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator
from airflow_provider_8x8.operators.survey_preview import EightByEightSurveyPreviewOperator

# One dict for the preview and the send, so that what is sent is what was shown.
SURVEY: dict[str, Any] = {
    "survey_id": "customers",
    "template_body": "Hi {{firstName}}, how are we doing? {{url}}",
    "sql": 'SELECT phone AS destination, first_name AS "firstName" FROM customers',
    "sql_conn_id": "warehouse",
    "campaign_id": "customers {{ params.campaign }}",
    "journal_conn_id": "journal",
}

if not airflow_version.startswith(("2.", "3.0.")):
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    @dag(
        schedule=None,
        start_date=datetime(2025, 1, 1, tzinfo=UTC),
        catchup=False,
        default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
        params={"campaign": "spring"},
        tags=["8x8", "example"],
    )
    def survey_with_approval() -> None:
        preview_surveys = EightByEightSurveyPreviewOperator(task_id="preview_surveys", **SURVEY)
        preview: Any = preview_surveys.output  # Airflow's type does not say that it has keys

        approve = ApprovalOperator(
            task_id="approve",
            subject="Surveys to the customers: {{ params.campaign }}",
            body=preview["markdown"],
            response_timeout=timedelta(days=1),
            defaults="Reject",  # what no answer means; on Reject, all that comes after is skipped
        )

        send_surveys = EightByEightSurveyBatchOperator(
            task_id="send_surveys",
            max_messages=preview["sendable_count"],
            **SURVEY,
        )

        delivery_report = EightByEightDeliveryReportOperator(
            task_id="delivery_report",
            batch_ids=send_surveys.output,
            timeout=timedelta(hours=2),
        )

        approve >> send_surveys >> delivery_report

    survey_with_approval()
