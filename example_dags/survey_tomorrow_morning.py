"""
Ask today's customers tomorrow at 09:00, local time.

For when the rows are there in the evening, and phones are to be left alone until the morning. The time is counted from
when the run is due, so that it is the same in each try; 8x8 keeps the messages until then, for 7 days at most.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import dag

from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

DUE = "(data_interval_end | default(dag_run.run_after, true)).astimezone(dag.timezone)"  # when the run is due


@dag(
    schedule="0 20 * * *",
    start_date=pendulum.datetime(2025, 1, 1, tz="Europe/Paris"),  # 20:00 and 09:00 are those of this time zone
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["8x8", "example"],
)
def survey_tomorrow_morning() -> None:
    EightByEightSurveyBatchOperator(
        task_id="send_surveys",
        survey_id="order-feedback",
        template_body="Good morning {{firstName}}, how was order {{order_nr}}? {{url:order_nr}}",
        sql="""
            SELECT customers.phone AS destination, customers.first_name AS "firstName", orders.order_nr
              FROM orders
              JOIN customers ON customers.customer_id = orders.customer_id
             WHERE CAST(orders.completed_at AS DATE) = CAST($day AS DATE)
        """,
        sql_conn_id="warehouse",
        parameters={"day": "{{ " + DUE + " | ds }}"},
        scheduled="{{ (" + DUE + " + macros.timedelta(days=1)).replace(hour=9, minute=0, second=0, microsecond=0) }}",
        campaign_id="order-feedback {{ " + DUE + " | ds }}",
        journal_conn_id="journal",
    )


survey_tomorrow_morning()
