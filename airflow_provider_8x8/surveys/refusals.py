"""When 8x8 refuses a batch: for one bad row's sake, or because the batch as a whole is wrong."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from airflow_provider_8x8.api.errors import RefusedError

MAX_REFUSALS = 200
"""Refusals of one batch's halves, after which the batch as a whole must be wrong."""

# Refusals that one bad row can cause (8x8's page "API error codes").
_ROW_LEVEL_CODES = frozenset({1000, 1002, 1004, 1009, 3009, 3011, 3018})
_ROW_LEVEL_IF_OWN = {
    1003: "encoding",
    1005: "source",
    1006: "expiry",
    1007: "template_body",
    1011: "scheduled",
    3020: "dlr_callback_url",
}


@dataclass(slots=True)
class Refusals:
    """
    The refusals of one batch, which is halved until its bad rows are alone.

    :ivar own_fields: the message fields that rows fill themselves
    :ivar anything_accepted: whether 8x8 has accepted any part of the batch
    """

    own_fields: Collection[str]
    anything_accepted: bool = False
    _count: int = 0
    _code_of_first_single: int | None = None

    def blame_the_whole(self, refused: RefusedError, size: int) -> bool:
        """
        Take note of a refusal, and tell whether it is not for one bad row's sake.

        Two single rows that fail alike speak against the whole only while 8x8 has accepted nothing of it: bad rows
        are often neighbours.

        :param size: how many rows were refused together
        """
        self._count += 1
        if not self._may_be_a_row(refused) or self._count >= MAX_REFUSALS:
            return True
        if size > 1:
            return False
        alike = self._code_of_first_single == refused.code
        self._code_of_first_single = self._code_of_first_single or refused.code
        return alike and not self.anything_accepted

    def _may_be_a_row(self, refused: RefusedError) -> bool:
        if refused.http_status != 400 or refused.code is None:
            return False
        return refused.code in _ROW_LEVEL_CODES or _ROW_LEVEL_IF_OWN.get(refused.code) in self.own_fields
