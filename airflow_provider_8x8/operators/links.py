"""The button on a task instance's page that leads to where its messages are seen."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.regions import page_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

_XCOM_KEY = "_link_EightByEightConnectLink"


class EightByEightConnectLink(BaseOperatorLink):
    """
    Leads to 8x8 Connect, or to the sandbox's page where the connection has an address that is not 8x8's own.

    8x8 documents no address of a batch in its portal: look there for the client batch ids that the task's log and
    result have. Where the link leads is what the task has left by :func:`show_link`. Airflow 2 asks for it in the
    webserver, which needs no connection for that; Airflow 3 when the task has ended, and its pages read the same XCom.
    """

    name = "8x8 Connect"
    xcom_key = _XCOM_KEY

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return where it leads to; nothing if the task instance has left no link."""
        from airflow.providers.common.compat.sdk import XCom

        return XCom.get_value(key=_XCOM_KEY, ti_key=ti_key) or ""


def show_link(context: Context, eight_by_eight_conn_id: str, subaccount_id: str | None) -> None:
    """
    Leave where the task instance's link leads to, so that it is there while the task runs, and however it ends.

    It is not asked whether anybody answers there, and nothing fails for its sake.

    :param eight_by_eight_conn_id: the task's connection to 8x8
    :param subaccount_id: the task's, if it is another than the connection's
    """
    from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook

    try:
        page = page_of(EightByEightHook(eight_by_eight_conn_id, subaccount_id=subaccount_id).client.base_url)
        context["ti"].xcom_push(key=_XCOM_KEY, value=page)
    except Exception as error:  # noqa: BLE001  # no such connection, or XCom's; the task finds that out by itself
        log.debug("There is no link: %s: %s", type(error).__name__, mask_phone_numbers(str(error)))
