"""
Go on in one way or another, by what became of the rows.

For when somebody is to look into bad data. The counts are the survey task's return value; a task that surveyed nobody
fails by itself, and ``max_rejected`` makes one fail of which 8x8 rejected too much.
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
    params={"campaign": "spring"},
    tags=["8x8", "example"],
)
def survey_and_branch() -> None:
    send_surveys = EightByEightSurveyBatchOperator(
        task_id="send_surveys",
        survey_id="customers",
        template_body="Hi {{firstName}}, how are we doing? {{url}}",
        sql='SELECT phone AS destination, first_name AS "firstName" FROM customers',
        sql_conn_id="warehouse",
        campaign_id="customers {{ params.campaign }}",  # triggered twice for one campaign, it texts nobody twice
        journal_conn_id="journal",
    )

    @task.branch
    def choose(result: dict[str, Any]) -> str:
        unusable = result["invalid_count"] + result["rejected_count"]
        return "ask_for_better_data" if unusable > 0.05 * result["rows_read"] else "be_content"

    @task
    def ask_for_better_data(result: dict[str, Any]) -> None:
        log.warning("Rows that cannot be sent, such as: %s", result["invalid_samples"])  # phone numbers are masked

    @task
    def be_content() -> None:
        log.info("Nearly all rows could be sent")

    result: Any = send_surveys.output
    choose(result) >> [ask_for_better_data(result), be_content()]


survey_and_branch()
