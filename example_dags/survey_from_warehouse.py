"""
Survey everybody who completed an order last month.

The survey task streams the rows from the warehouse to 8x8, so that neither memory nor XCom grows with them.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

log = logging.getLogger(__name__)

# A column named like a field of 8x8's message fills that field, any other the placeholder of its name.
# Parameters are written as the driver has them: $name for DuckDB, %(name)s for PostgreSQL or Snowflake.
LAST_MONTHS_ORDERS = """
    SELECT customers.phone AS destination,
           customers.first_name AS "firstName",
           orders.order_nr
      FROM orders
      JOIN customers ON customers.customer_id = orders.customer_id
     WHERE orders.status = 'completed'
       AND orders.completed_at >= CAST($month_start AS DATE)
       AND orders.completed_at < CAST($month_end AS DATE)
     ORDER BY orders.completed_at DESC
"""


@dag(
    schedule="@monthly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["8x8", "example"],
)
def survey_from_warehouse() -> None:
    send_surveys = EightByEightSurveyBatchOperator(
        task_id="send_surveys",
        survey_id="monthly-orders",
        # 8x8's braces, not Jinja's. The names after "url:" are handed to the survey form.
        template_body="Hi {{firstName}}, how was order {{order_nr}}? {{url:order_nr}}",
        sql=LAST_MONTHS_ORDERS,
        sql_conn_id="warehouse",
        # Counted back from the interval's end: its start is a month before on Airflow 2, the same moment on 3.
        parameters={
            "month_start": "{{ data_interval_end.start_of('month').subtract(months=1) | ds }}",
            "month_end": "{{ data_interval_end.start_of('month') | ds }}",
        },
        # A customer with several orders gets one survey, about the latest: the default row key is the number.
        unique_by="destination",
        # If a worker dies while a batch is on its way, it is this many people of whom nobody knows.
        batch_size=5_000,
        # A second try cannot know what the first one sent, so it would refuse to send: a failure is final.
        retries=0,
    )

    @task
    def summarize(result: dict[str, Any]) -> dict[str, int]:
        log.info("Sent in %d batches, the first is %s", len(result["batch_ids"]), result["batch_id"])
        if result["invalid_count"]:
            log.warning("To be mended in the warehouse, for example: %s", result["invalid_samples"])
        return {
            "surveyed": result["accepted_count"],
            "not_surveyed": result["rows_read"] - result["accepted_count"],
        }

    summarize(send_surveys.output)  # type: ignore[arg-type]


survey_from_warehouse()
