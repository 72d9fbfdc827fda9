"""
Read the query from a ``.sql`` file, and say to others that the surveys are out.

For queries that have a life of their own, and for DAGs that are chained by assets rather than by the clock: this one
runs when the asset ``orders`` is updated, and updates ``order_surveys`` when people were surveyed. The event's extra
has the counts and the batch ids. A run that an asset triggers has no ``ds``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.providers.common.compat.sdk import Asset, dag

from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

# The day before the run is due: when its data ends, or when the asset was updated.
DUE = "(data_interval_end | default(dag_run.run_after, true)).astimezone(dag.timezone)"
DAY = "{{ macros.ds_add(" + DUE + " | ds, -1) }}"


@dag(
    schedule=[Asset("orders")],
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    template_searchpath=str(Path(__file__).parent / "sql"),
    tags=["8x8", "example"],
)
def survey_from_sql_file() -> None:
    EightByEightSurveyBatchOperator(
        task_id="send_surveys",
        survey_id="order-feedback",
        template_body="Hi {{firstName}}, how was order {{order_nr}}? {{url:order_nr}}",
        sql="orders_of_a_day.sql",
        sql_conn_id="warehouse",
        parameters={"day": DAY},
        campaign_id="order-feedback " + DAY,
        journal_conn_id="journal",
        outlets=[Asset("order_surveys")],
    )


survey_from_sql_file()
