"""Pushes a task's result to XCom, where it is also for a task that fails."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_8x8.api.masking import mask_phone_numbers

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)


def push_result(context: Context, result: Mapping[str, Any]) -> str | None:
    """Push each entry as an XCom of its own; return what kept one from being pushed."""
    for key, value in result.items():
        try:
            context["ti"].xcom_push(key=key, value=value)
        except Exception as error:  # noqa: BLE001  # Airflow's, its API's, or a custom backend's
            if value is None:  # Airflow 3.0 takes none: there is no XCom then, and the return value has the entry
                continue
            problem = f"{key}: {type(error).__name__}: {mask_phone_numbers(str(error))}"
            log.error("XCom took no %s. The result is %s", problem, json.dumps(result))
            return problem  # another call would wait for as long
    return None
