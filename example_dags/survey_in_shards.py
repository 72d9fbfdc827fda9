"""
Survey all customers once a year, in parallel shards of one campaign.

Each shard is a mapped task with a part of the rows, on any worker. What makes them one campaign is the journal: whoever
is in two shards, or was surveyed before a shard was cleared, is not texted again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

log = logging.getLogger(__name__)

# A campaign can be cleared with another number of shards: who has been surveyed is in the journal, not in the shard.
SHARDS = 8

# MOD splits evenly and in any database. Two customers with one number may be in two shards: the first to send has it.
# Parameters are written as the driver has them: %(name)s for PostgreSQL, MySQL and Snowflake, $name for DuckDB.
CUSTOMERS = """
    SELECT phone AS destination, first_name AS "firstName"
      FROM customers
     WHERE MOD(customer_id, %(shards)s) = %(shard)s
"""


@dag(
    schedule="@yearly",
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["8x8", "example"],
)
def survey_in_shards() -> None:
    send_surveys = EightByEightSurveyBatchOperator.partial(
        task_id="send_surveys",
        survey_id="yearly-customers",
        template_body="Hi {{firstName}}, how was your year with us? {{url}}",
        sql=CUSTOMERS,
        sql_conn_id="warehouse",
        campaign_id="yearly-customers-{{ data_interval_end.year }}",
        journal_conn_id="journal",
        on_empty="succeed",  # a shard without rows is no reason to skip what comes after all of them
        # As many batches at a time as 8x8 has agreed to take from the account.
        max_active_tis_per_dagrun=4,
    ).expand(parameters=[{"shards": SHARDS, "shard": shard} for shard in range(SHARDS)])

    @task
    def summarize(results: Iterable[Mapping[str, Any]]) -> dict[str, int]:
        shards = list(results)
        surveyed = sum(result["accepted_count"] for result in shards)
        elsewhere = sum(result["already_sent_count"] for result in shards)
        log.info(
            "%d surveyed by %d shards, %d rows were in another shard or run, too", surveyed, len(shards), elsewhere
        )
        return {"surveyed": surveyed, "already_sent": elsewhere}

    summarize(send_surveys.output)  # type: ignore[arg-type]  # Airflow hands on the results


survey_in_shards()
