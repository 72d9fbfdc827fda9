"""
See what will go out and what it costs, then send it.

The preview and the send are given the same arguments. The preview reads the rows as the send will, and POSTs nothing;
its ``markdown`` is a page for a chat message or for an approval. A campaign that is larger than meant ends there.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, dag, task

from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator
from airflow_provider_8x8.operators.survey_preview import EightByEightSurveyPreviewOperator

log = logging.getLogger(__name__)

# Latest first: a customer is asked once, about the last order.
SURVEY: dict[str, Any] = {
    "survey_id": "order-feedback",
    "template_body": "Hi {{firstName}}, how was order {{order_nr}}? {{url:order_nr}}",
    "sql": """
        SELECT customers.phone AS destination,
               customers.first_name AS "firstName",
               orders.order_nr
          FROM orders
          JOIN customers ON customers.customer_id = orders.customer_id
         WHERE orders.status = 'completed'
         ORDER BY orders.completed_at DESC
    """,
    "sql_conn_id": "warehouse",
    "campaign_id": "all-orders {{ run_id }}",
    "journal_conn_id": "journal",
}


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={"most_parts": 100_000},
    tags=["8x8", "example"],
)
def survey_preview() -> None:
    preview_surveys = EightByEightSurveyPreviewOperator(task_id="preview_surveys", **SURVEY)

    @task
    def look_at(preview: dict[str, Any], most_parts: str) -> None:
        log.info("The preview:\n%s", preview["markdown"])
        if preview["parts"]["total"] > int(most_parts):
            raise AirflowFailException(f"{preview['parts']['total']} SMS parts are more than {most_parts}")

    looked_at = look_at(preview_surveys.output, "{{ params.most_parts }}")  # type: ignore[arg-type]  # Airflow hands on the result
    send_surveys = EightByEightSurveyBatchOperator(task_id="send_surveys", **SURVEY)
    looked_at >> send_surveys


survey_preview()
