"""Why no batch is begun any more."""

from __future__ import annotations

import logging

from airflow_provider_8x8.api.masking import mask_phone_numbers, where_raised
from airflow_provider_8x8.surveys.outcomes.cause import Cause

log = logging.getLogger(__name__)

UNEXPECTED = "an unexpected error:"
"""How the reason begins where something has failed that nothing here knows."""


class SendingStopped(Exception):  # noqa: N818  # not an error in itself: the reason to end the loop from wherever it is
    """
    Sending must not go on.

    :param reason: phone numbers masked
    :param is_final: another try could not mend it
    :param is_final_once_settled: nor could it, once it is known of all rows whether 8x8 has accepted them
    :param cause: by what the task's failure is told from others
    """

    def __init__(
        self,
        reason: str,
        *,
        is_final: bool = False,
        is_final_once_settled: bool = False,
        cause: Cause = Cause.OTHER,
    ) -> None:
        super().__init__(reason)
        self.is_final = is_final
        self.is_final_once_settled = is_final_once_settled
        self.cause = cause


def note_unexpected(error: Exception) -> str:
    """Log where an error was raised that nothing here knows; return it as a reason, phone numbers masked."""
    log.error("%s at:\n%s", type(error).__name__, where_raised(error))
    return f"{UNEXPECTED} {type(error).__name__}: {mask_phone_numbers(str(error))}"
