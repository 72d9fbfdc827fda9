"""
Survey with a way back: the texts go out a quarter of an hour later, and can be cancelled until then.

Two DAGs. The first one sends, and logs what the second one is to be triggered with. Trigger that, ``undo_survey``, by
hand and with this configuration, when something is wrong. 8x8's portal cancels until 3 minutes before the time; nobody
says how long its API does, or whether it cancels surveys at all, so try it once before you rely on it.

Whoever was cancelled is free to be sent again: by the next run, or when ``send_surveys`` is cleared. If it is still at
work, or is to be tried again, mark it as failed first.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_8x8.operators.cancel_batch import EightByEightCancelBatchOperator
from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

log = logging.getLogger(__name__)

START = datetime(2025, 1, 1, tzinfo=UTC)
RETRIES = {"retries": 2, "retry_delay": timedelta(minutes=1)}  # all within the quarter of an hour


@dag(
    schedule=None,
    start_date=START,
    catchup=False,
    default_args=RETRIES,
    params={"campaign": "spring"},
    tags=["8x8", "example"],
)
def survey_with_undo() -> None:
    send_surveys = EightByEightSurveyBatchOperator(
        task_id="send_surveys",
        survey_id="customers",
        template_body="Hi {{firstName}}, how are we doing? {{url}}",
        sql='SELECT phone AS destination, first_name AS "firstName" FROM customers',
        sql_conn_id="warehouse",
        # From when each try begins: what a try sends late has its whole quarter of an hour, too.
        scheduled="{{ macros.datetime.now().astimezone() + macros.timedelta(minutes=15) }}",
        campaign_id="customers {{ params.campaign }}",
        journal_conn_id="journal",
    )

    # Also after a send that has failed in its middle: what it has sent is to be cancelled then.
    @task(trigger_rule="all_done")
    def say_how_to_undo(sent: dict[str, Any]) -> dict[str, Any]:
        conf = {"batch_ids": sent["batch_ids"], "campaign_id": sent["campaign_id"]}
        log.info("To cancel these %s texts, trigger undo_survey with %s", sent["accepted_count"], json.dumps(conf))
        return conf

    say_how_to_undo(send_surveys.output)  # type: ignore[arg-type]  # Airflow hands on the result


@dag(
    schedule=None,
    start_date=START,
    catchup=False,
    default_args=RETRIES,
    params={"batch_ids": [], "campaign_id": "customers spring"},
    tags=["8x8", "example"],
)
def undo_survey() -> None:
    EightByEightCancelBatchOperator(
        task_id="cancel_surveys",
        batch_ids="{{ params.batch_ids }}",
        campaign_id="{{ params.campaign_id }}",
        journal_conn_id="journal",
        on_empty="fail",  # somebody wanted to cancel something
    )


survey_with_undo()
undo_survey()
