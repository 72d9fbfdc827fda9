"""What one writes without a provider: a query, a loop, requests, and retries for when something fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import requests
from airflow.providers.common.compat.sdk import BaseHook, dag, task

ORDERS = """
    SELECT max(destination) AS destination, max(first_name) AS first_name, order_nr FROM people
    WHERE destination LIKE '+%' GROUP BY order_nr ORDER BY order_nr
"""
BATCH_SIZE = 1_000


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)
def by_hand() -> None:
    @task(retries=3, retry_delay=timedelta(seconds=1))
    def send_surveys() -> None:
        eight_by_eight = BaseHook.get_connection("by_hand")
        path = f"/api/v1/subaccounts/{eight_by_eight.login}/surveys/order-feedback/messages/batch"
        orders = BaseHook.get_connection("people").get_hook().get_records(ORDERS)  # type: ignore[no-untyped-call]  # Airflow's
        for start in range(0, len(orders), BATCH_SIZE):
            response = requests.post(
                f"{eight_by_eight.host}{path}",
                headers={"Authorization": f"Bearer {eight_by_eight.password}"},
                json={
                    "messages": [
                        {
                            "destination": destination,
                            "clientMessageId": f"order-{order_nr}",
                            "templateVariables": {"firstName": first_name, "order_nr": str(order_nr)},
                        }
                        for destination, first_name, order_nr in orders[start : start + BATCH_SIZE]
                    ],
                    "template": {"templateBody": "Hi {{firstName}}, how was order {{order_nr}}? {{url:order_nr}}"},
                },
                timeout=60,
            )
            response.raise_for_status()

    send_surveys()


by_hand()
