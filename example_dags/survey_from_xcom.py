"""
Survey the people whom an upstream task found.

The rows travel through XCom: good for hundreds of people. For more, or where XCom should not hold phone numbers,
let the survey task read the warehouse itself, as ``survey_from_warehouse`` does.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

log = logging.getLogger(__name__)


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={"shop": "Harbour Street"},
    tags=["8x8", "example"],
)
def survey_from_xcom() -> None:
    # Airflow logs what a task returns, and these rows are people: hence the argument.
    @task(show_return_value_in_logs=False)
    def find_visitors() -> list[dict[str, Any]]:
        visitors = [
            {"destination": "+1 202 555 0123", "firstName": "Zoë", "visit_nr": 1001},
            {"destination": "+44 7700 900123", "firstName": "小明", "visit_nr": 1002},
            {"destination": "+33 6 39 98 12 34", "firstName": "Amélie", "visit_nr": 1003},
        ]
        log.info("Found %d visitors", len(visitors))  # a count, never the rows
        return visitors

    send_surveys = EightByEightSurveyBatchOperator(
        task_id="send_surveys",
        survey_id="shop-visit",
        # 8x8's braces, not Jinja's: a column, a template variable, and the link, which tells the form the visit.
        template_body="Hi {{firstName}}, how was your visit to {{shop}}? {{url:visit_nr}}",
        template_variables={"shop": "{{ params.shop }}"},
        rows=find_visitors(),
        # Each run surveys anew. With a journal its tries know of each other on any Airflow, and a deleted run is known.
        journal_conn_id="journal",
    )

    @task
    def summarize(result: dict[str, Any]) -> str:
        summary = f"{result['accepted_count']} of {result['rows_read']} visitors surveyed"
        log.info("%s, in 8x8's batches %s", summary, ", ".join(result["batch_ids"]))
        return summary

    summarize(send_surveys.output)  # type: ignore[arg-type]  # Airflow hands on the result


survey_from_xcom()
