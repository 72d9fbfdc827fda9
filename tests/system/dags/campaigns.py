"""The DAGs that the crash tests kill. Each has a sandbox of its own as its 8x8, with a connection named after it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

EVERYBODY = 'SELECT destination, first_name AS "firstName", order_nr FROM people'
TEN_THOUSAND = f"{EVERYBODY} WHERE order_nr <= 10000"
# Long texts, so that ten thousand of them are far more than the buffers of a connection take.
WORDY = TEN_THOUSAND.replace("first_name", "first_name || printf('%.*c', 600, 'x')")

CAMPAIGNS = {
    "state_store": {"sql": EVERYBODY},
    "sql_journal": {"sql": EVERYBODY, "journal_conn_id": "journal", "campaign_id": "orders"},
    "orphaned": {"sql": TEN_THOUSAND, "journal_conn_id": "journal", "campaign_id": "first-orders"},
    "faults": {"sql": EVERYBODY},
    "single_batch": {"sql": TEN_THOUSAND, "batch_size": 10_000},
    "cut_body": {"sql": WORDY, "batch_size": 10_000},
    "overtaken": {"sql": WORDY, "batch_size": 10_000},
    "told_to_end": {"sql": TEN_THOUSAND},
    "marked_failed": {"sql": TEN_THOUSAND},
}

# Each shard reads its own eighth of the people, and the next one's.
SHARDS = 8
SHARD = f"{EVERYBODY} WHERE order_nr % {SHARDS} IN (:shard, (:shard + 1) % {SHARDS})"


def sending(name: str) -> dict[str, object]:
    """Return what all campaigns have in common."""
    return {
        "task_id": "send_surveys",
        "survey_id": "order-feedback",
        "template_body": "Hi {{firstName}}, how was order {{order_nr}}? {{url:order_nr}}",
        "sql_conn_id": "people",
        "unique_by": "order_nr",
        "batch_size": 1_000,
        "log_settle_time": timedelta(seconds=1),
        "reconcile_timeout": timedelta(seconds=100),
        "canary_destination": "+6598765432",
        "report_path": os.environ["CRASH_REPORTS"],
        "eight_by_eight_conn_id": name,
        "retries": 99,
        "retry_delay": timedelta(seconds=1),
    }


for name, arguments in CAMPAIGNS.items():
    if version("apache-airflow").startswith("2.") and "journal_conn_id" not in arguments:
        continue
    with DAG(name, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
        EightByEightSurveyBatchOperator(**{**sending(name), **arguments})

with DAG("sharded", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
    EightByEightSurveyBatchOperator.partial(
        **sending("sharded"), sql=SHARD, journal_conn_id="journal", campaign_id="sharded-orders"
    ).expand(parameters=[{"shard": shard} for shard in range(SHARDS)])
