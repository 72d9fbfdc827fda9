"""
Survey, and see what arrived.

Both tasks wait for 8x8's logs without a worker, where a triggerer runs; the first does only if 8x8 has not answered.
The report fails where too few texts arrive, and its result, with counts and cost, is there for the next task all the
same.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_8x8.operators.delivery_report import EightByEightDeliveryReportOperator
from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

log = logging.getLogger(__name__)


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={"campaign": "spring"},
    tags=["8x8", "example"],
)
def survey_delivery() -> None:
    send_surveys = EightByEightSurveyBatchOperator(
        task_id="send_surveys",
        survey_id="customers",
        template_body="Hi {{firstName}}, how are we doing? {{url}}",
        sql='SELECT phone AS destination, first_name AS "firstName" FROM customers',
        sql_conn_id="warehouse",
        campaign_id="customers {{ params.campaign }}",
        journal_conn_id="journal",
        deferrable=True,
    )

    delivery_report = EightByEightDeliveryReportOperator(
        task_id="delivery_report",
        batch_ids=send_surveys.output,  # the whole result, which says how many messages there are
        final_share=0.95,
        timeout=timedelta(hours=2),
        min_delivered=0.5,  # less, and something is wrong with the numbers, or with the sender
        deferrable=True,
    )

    # Also for a report that has failed: its result is there. One that was skipped, since nobody was texted, has none.
    @task(trigger_rule="none_skipped")
    def tell(report: dict[str, Any]) -> str:
        cost = ", ".join(f"{amount} {currency}" for currency, amount in report["cost"].items())
        said = f"{report['delivered_count']} of {report['messages_expected']} texts arrived, for {cost or 'nothing'}"
        log.info("%s; the most frequent errors: %s", said, report["errors"])
        return said

    tell(delivery_report.output)  # type: ignore[arg-type]  # Airflow hands on the result


survey_delivery()
