"""What a task's outlets learn of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset, BaseOperator

from airflow_provider_8x8.api.masking import mask_phone_numbers

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)


def tell_outlets(task: BaseOperator, context: Context, result: Mapping[str, Any]) -> None:
    """
    Put a task's result into the extra of the event of each asset (on Airflow 2 dataset) that it updates.

    Airflow makes the events when the task has succeeded. What somebody else has put into the extra stays. An alias
    stands for assets that only its user knows, so it gets nothing.

    :param result: of JSON's types, without phone numbers
    """
    kinds = (Asset, *_references())
    for outlet in task.outlets:
        if not isinstance(outlet, kinds):
            continue
        try:
            events: Any = context["outlet_events"]  # whose type is another on each Airflow
            events[outlet].extra.update(result)
        except Exception as error:  # noqa: BLE001  # who is referred to may not exist; the surveys are out all the same
            said = mask_phone_numbers(str(error))
            log.warning("The outlet %r does not learn of the result: %s: %s", outlet, type(error).__name__, said)


def _references() -> tuple[type, ...]:
    """Return what names an asset that is defined elsewhere, on Airflow 3."""
    try:
        from airflow.sdk.definitions.asset import AssetRef
    except ImportError:
        return ()
    return (AssetRef,)
