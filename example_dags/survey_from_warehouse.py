"""
Survey everybody who completed an order last month.

The survey task streams the rows from the warehouse to 8x8: they are never all in memory, and never in XCom. All runs of
a month are one campaign, by the journal in the database that the connection ``journal`` leads to; and no run texts
people about a month that has long been over, such as the one that Airflow makes when the DAG is unpaused.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

log = logging.getLogger(__name__)

# When the run is due: a scheduled, a manual or an asset-triggered one, on Airflow 2 and 3.
DUE = "(data_interval_end | default(dag_run.run_after, true)).astimezone(dag.timezone)"
MONTH_END = f"{DUE}.replace(day=1)"
MONTH_START = f"({MONTH_END} - macros.timedelta(days=1)).replace(day=1)"

# A column named like a field of 8x8's message fills that field, any other the placeholder of its name.
# Latest first: of all rows with one number only the first is sent, so a customer is asked once, about the last order.
# Parameters are written as the driver has them: $name for DuckDB, %(name)s for PostgreSQL and Snowflake.
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
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    # Another try of the survey task sends what is missing.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={"within_days": 7},  # who triggers a run for a month that is longer over has to say so
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
        parameters={"month_start": "{{ " + MONTH_START + " | ds }}", "month_end": "{{ " + MONTH_END + " | ds }}"},
        campaign_id="monthly-orders {{ " + MONTH_START + " | ds }}",
        journal_conn_id="journal",
        not_after="{{ " + MONTH_END + " + macros.timedelta(days=params.within_days) }}",
        batch_size=5_000,
    )

    @task
    def summarize(result: dict[str, Any]) -> dict[str, int]:
        log.info("Sent in %d batches, the first is %s", len(result["batch_ids"]), result["batch_id"])
        if result["invalid_count"]:
            log.warning("%d rows to be mended, such as: %s", result["invalid_count"], result["invalid_samples"][0])
        return {
            "surveyed": result["accepted_count"],
            "not_surveyed": result["rows_read"] - result["accepted_count"],
        }

    summarize(send_surveys.output)  # type: ignore[arg-type]  # Airflow hands on the result


survey_from_warehouse()
