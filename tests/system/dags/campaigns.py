"""The DAGs that the crash tests kill. Each has a sandbox of its own as its 8x8, with a connection named after it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, BaseHook, get_parsing_context

from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

IS_AIRFLOW_2 = version("apache-airflow").startswith("2.")
HOLDS = Path(os.environ["CRASH_HOLDS"])


def come_to(dag_id: str, moment: str) -> str:
    """Leave word that this process has come to a moment of a DAG's task, and wait there as long as a test wants it."""
    held = HOLDS / f"{dag_id}.{moment}"
    (HOLDS / f"{held.name}.{os.getpid()}").touch()
    while held.exists():
        time.sleep(0.05)
    return ""


class SlowPeople:
    """Ten thousand people, from a source that may be slow to begin and to end."""

    def __init__(self, dag_id: str) -> None:
        self._dag_id = dag_id

    def __iter__(self) -> Iterator[dict[str, Any]]:
        come_to(self._dag_id, "query")
        hook = BaseHook.get_connection("people").get_hook()  # type: ignore[no-untyped-call]  # Airflow's
        for row in hook.get_records(TEN_THOUSAND):
            if row[-1] == 9_000:
                come_to(self._dag_id, "rows")
            yield dict(zip(("destination", "firstName", "order_nr"), row, strict=True))


EVERYBODY = 'SELECT destination, first_name AS "firstName", order_nr FROM people'
TEN_THOUSAND = f"{EVERYBODY} WHERE order_nr <= 10000"
# Long texts, so that ten thousand of them are far more than the buffers of a connection take.
WORDY = TEN_THOUSAND.replace("first_name", "first_name || printf('%.*c', 600, 'x')")


def slow(dag_id: str) -> dict[str, Any]:
    """Return what a campaign has that takes its time before its first batch: its rows are read once more for it."""
    return {"rows": SlowPeople(dag_id), "max_messages": 10_000}


def reconfigured(dag_id: str, before: dict[str, str], after: dict[str, str]) -> dict[str, Any]:
    """Return what a campaign has whose DAG file is changed once a test says so."""
    return {"sql": TEN_THOUSAND, **(after if (HOLDS / f"{dag_id}.is_changed").exists() else before)}


SQL_JOURNAL = {"journal_conn_id": "journal"}
CAMPAIGNS: dict[str, dict[str, Any]] = {
    "state_store": {"sql": EVERYBODY},
    "sql_journal": {
        "sql": EVERYBODY,
        **SQL_JOURNAL,
        "campaign_id": "orders",
        "outcome_table": "outcomes",
        "outcome_conn_id": "outcomes",
    },
    "deferred": {
        "sql": TEN_THOUSAND,
        **SQL_JOURNAL,
        "campaign_id": "patient-orders",
        "outcome_table": "outcomes_after_waits",
        "outcome_conn_id": "outcomes",
        "first_batch_size": 500,  # the others wait for its answer, or for 8x8's logs
        "deferrable": True,
        "reconcile_timeout": timedelta(minutes=5),
        "pool": "of_one",
    },
    "orphaned": {"sql": TEN_THOUSAND, **SQL_JOURNAL, "campaign_id": "first-orders"},
    "faults": {"sql": EVERYBODY},
    "single_batch": {"sql": TEN_THOUSAND, "batch_size": 10_000},
    "cut_body": {"sql": WORDY, "batch_size": 10_000},
    "overtaken": {"sql": WORDY, "batch_size": 10_000},
    "told_to_end": {"sql": TEN_THOUSAND, "batch_size": 5_000, **(SQL_JOURNAL if IS_AIRFLOW_2 else {})},
    "marked_failed": {"sql": TEN_THOUSAND},
    "marked_failed_in_a_long_batch": {"sql": TEN_THOUSAND, "batch_size": 5_000},
    "nothing_sent_yet": slow("nothing_sent_yet"),
    "nothing_sent_yet_with_sql": {**slow("nothing_sent_yet_with_sql"), **SQL_JOURNAL},
    "killed_at_once": {"sql": TEN_THOUSAND},
    "killed_at_once_with_sql": {"sql": TEN_THOUSAND, **SQL_JOURNAL},
    "journal_added": reconfigured("journal_added", {}, SQL_JOURNAL),
    "journal_removed": reconfigured("journal_removed", SQL_JOURNAL, {}),
}
ON_AIRFLOW_2 = {"sql_journal", "deferred", "told_to_end", "nothing_sent_yet_with_sql", "killed_at_once_with_sql"}

# It is rendered once the try has left its mark.
SAID = (
    "{{ come_to(dag.dag_id, 'rendering') }}"
    "{{ var.json.get('settled_batches_of_' ~ dag.dag_id, {}).get(run_id, {}) | tojson }}"
)

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
    if IS_AIRFLOW_2 and name not in ON_AIRFLOW_2:
        continue
    if get_parsing_context().dag_id == name:  # in a process that is to run its task
        come_to(name, "parsing")
    with DAG(
        name,
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        user_defined_macros={"come_to": come_to},
    ):
        EightByEightSurveyBatchOperator(**{**sending(name), "settled_batches": SAID, **arguments})

with DAG("sharded", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
    EightByEightSurveyBatchOperator.partial(
        **sending("sharded"),
        sql=SHARD,
        journal_conn_id="journal",
        campaign_id="sharded-orders",
        outcome_table="outcomes_of_shards",
        outcome_conn_id="outcomes",
    ).expand(parameters=[{"shard": shard} for shard in range(SHARDS)])
