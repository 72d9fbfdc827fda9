"""How a task that has waited without a worker learns that its trigger has failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TRIGGER_HAS_FAILED = "__fail__"
"""In place of the method to go on with, as Airflow 2 and 3 have it."""


def why_trigger_has_failed(log: Any, next_method: str, next_kwargs: Mapping[str, Any] | None) -> str | None:
    """
    Return why a trigger has failed, None if it has not.

    :param log: gets the trigger's traceback, where Airflow hands it on
    :param next_method: as Airflow gives it to ``resume_execution``; likewise ``next_kwargs``
    """
    if next_method != _TRIGGER_HAS_FAILED:
        return None
    failure = next_kwargs or {}
    if traceback := failure.get("traceback"):
        log.error("The trigger has failed:\n%s", "".join(traceback))
    return str(getattr(error := failure.get("error", "unknown"), "value", error))
