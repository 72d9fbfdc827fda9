"""
Survey the customers of each shop in its own words: one mapped task for each, with ``expand_kwargs``.

For when the text, the sender or the query differ. All tasks are one campaign, so whoever has bought in two shops is
asked by one of them. For one text and many rows, see ``survey_in_shards``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

DUE = "(data_interval_end | default(dag_run.run_after, true)).astimezone(dag.timezone)"  # when the run is due


@dag(
    schedule="@weekly",
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["8x8", "example"],
)
def survey_per_shop() -> None:
    @task
    def shops() -> list[dict[str, Any]]:
        # Each mapping is the arguments of one task; it may come from a table of shops as well.
        return [
            {"parameters": {"shop": 0}, "template_variables": {"shop": "Harbour Street"}, "source": "HARBOUR"},
            {"parameters": {"shop": 1}, "template_variables": {"shop": "Station Road"}, "source": "STATION"},
        ]

    EightByEightSurveyBatchOperator.partial(
        task_id="send_surveys",
        survey_id="shops",
        template_body="Hi {{firstName}}, how do you like our shop in {{shop}}? {{url}}",
        sql="""
            SELECT phone AS destination, first_name AS "firstName"
              FROM customers
             WHERE MOD(customer_id, 2) = $shop
        """,
        sql_conn_id="warehouse",
        campaign_id="shops {{ " + DUE + " | ds }}",
        journal_conn_id="journal",
        on_empty="succeed",
    ).expand_kwargs(shops())


survey_per_shop()
