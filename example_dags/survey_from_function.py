"""
Survey whom a function gives, here the lines of a file, and keep what became of each in a table of the warehouse.

The function is called once for each pass over the rows, so it has to give the same ones each time: the file is that of
a day that is over. The delivery report adds to the table which texts have arrived, and what they cost.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_8x8.operators.delivery_report import EightByEightDeliveryReportOperator

TABLE = "survey_outcomes"


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={"folder": "/data/visits", "day": "2026-01-31"},
    tags=["8x8", "example"],
)
def survey_from_function() -> None:
    @task.survey_batch(  # type: ignore[attr-defined, untyped-decorator, unused-ignore]  # this provider's
        survey_id="visits",
        template_body="Hi {{name}}, how was your visit? {{url}}",
        unique_by="visit",
        campaign_id="visits of {{ params.day }}",
        journal_conn_id="journal",
        outcome_table=TABLE,
        outcome_conn_id="warehouse",
    )
    def send_surveys(folder: str, day: str) -> Iterator[dict[str, str]]:
        with (Path(folder) / f"{day}.csv").open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                yield {**line, "destination": line["phone"]}

    EightByEightDeliveryReportOperator(
        task_id="delivery_report",
        batch_ids=send_surveys("{{ params.folder }}", "{{ params.day }}"),
        timeout=timedelta(hours=2),
        outcome_table=TABLE,
        outcome_conn_id="warehouse",
    )


survey_from_function()
