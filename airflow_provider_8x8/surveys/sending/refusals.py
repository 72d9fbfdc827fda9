"""
8x8 refuses a batch: its bad rows are found by halving, unless it is what all rows have in common that is refused.

One bad row may refuse all that is sent with it, by a code that can also be the fault of the whole. Once 8x8 has taken
anything of the campaign, only rows can be at fault: a batch is then halved until they are alone. Before that some rows
from different places of the batch are sent alone. If 8x8 takes none of them, and mostly for one reason, the batch is
left and no row of it is rejected; should 8x8 take another batch after all, the source is read again.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.api.errors import RefusedError
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.sending.stopped import SendingStopped

MORE_REQUESTS = 2_000
"""
Requests for parts of batches that a try may make beyond one for each row.

To halve ``n`` rows with ``k`` bad ones among them takes about ``2 * k * (1 + log2(n / k))`` requests, and never more
than ``2 * n``. So a source of up to a thousand rows is always seen through; of a large one it is if less than a tenth
of its rows are bad. A worse one is better mended than sent row by row: the try ends, and another goes on.
"""

ALIKE = 3
"""Rows that must have been refused alone to speak against the whole: fewer are taken to be bad themselves."""

# Refusals that one bad row can cause (8x8's page "API error codes").
_HTTP_STATUSES = frozenset({400, 422})
_ROW_LEVEL_CODES = frozenset({1000, 1002, 1004, 1009, 3009, 3018})
_ROW_LEVEL_IF_OWN = {
    1003: "encoding",
    1005: "source",
    1006: "expiry",
    1007: "template_body",
    1008: "client_message_id",
    1011: "scheduled",
    3011: "source",
    3020: "dlr_callback_url",
}

_AT_LEAST_ALONE = 10
_GOLDEN_RATIO = 0.618033988749895

Row = TypeVar("Row")


class Refusals:
    """
    What a try knows of 8x8's refusals.

    :param own_fields: the message fields that rows fill themselves; it may grow
    """

    def __init__(self, own_fields: Collection[str]) -> None:
        self._own_fields = own_fields
        self._is_sure_of_the_whole = False
        self.last: RefusedError | None = None
        """What 8x8 has refused last."""
        self._requests = 0
        self._requests_left = MORE_REQUESTS
        self.begin_reading()

    def begin_reading(self) -> None:
        """The source is read, or read again: what was left comes up once more."""
        self._left_as_a_whole = self._left_for_another_try = 0
        self._codes_alone: Counter[int | None] = Counter()
        self._may_go_better = False
        self._has_unsent_rows = False

    def learn(self, entries: Iterable[Entry]) -> None:
        """Look whether 8x8 has ever taken a batch of the campaign."""
        if any(entry.batch_id is not None for entry in entries):
            self.note_taken()

    def note_taken(self) -> None:
        """8x8 has taken something, so nothing is wrong with what all rows have in common."""
        self._is_sure_of_the_whole = True

    def note(self, refused: RefusedError, size: int) -> None:
        """Take note of a refusal of so many rows."""
        self.last = refused
        if size == 1:
            self._codes_alone[refused.code] += 1

    def can_be_a_rows(self, refused: RefusedError) -> bool:
        """Tell whether one bad row can be the cause of a refusal."""
        if refused.http_status not in _HTTP_STATUSES or refused.code is None:
            return False
        return refused.code in _ROW_LEVEL_CODES or _ROW_LEVEL_IF_OWN.get(refused.code) in self._own_fields

    @property
    def is_in_doubt(self) -> bool:
        """Whether the whole may be at fault: 8x8 has taken nothing yet."""
        return not self._is_sure_of_the_whole

    @property
    def is_for_one_reason(self) -> bool:
        """Whether most of the rows that were refused alone were so by the same code."""
        return 2 * max(self._codes_alone.values(), default=0) > self._codes_alone.total()

    def allow(self, rows: int) -> None:
        """So many rows go out in a batch: so many more requests may be made for its parts."""
        self._requests_left += rows

    def spend(self) -> bool:
        """Count a request for a part of a batch; False if there may be no more of them."""
        if self._requests_left <= 0:
            return False
        self._requests_left -= 1
        self._requests += 1
        return True

    def leave_as_a_whole(self, rows: int) -> None:
        """So many rows are left since none of them can be blamed."""
        self._left_as_a_whole += rows

    def leave_for_another_try(self, rows: int) -> None:
        """So many rows are left since there may be no more requests."""
        self._left_for_another_try += rows

    def leave_unsent(self) -> None:
        """The source has more rows than were sent: what they have in common may still be at fault."""
        self._has_unsent_rows = True

    def conclude(self, entries: Collection[Entry], *, has_open_rows: bool) -> bool:
        """
        Judge what a reading has left as a whole; tell whether to read the source again, since rows can be blamed now.

        :param entries: all of the campaign
        :param has_open_rows: of some rows of this task instance it is still open whether 8x8 has taken them
        """
        self.learn(entries)
        has_more_to_try = self._left_for_another_try > 0 or has_open_rows
        # What another run has open may turn out to be taken; but nobody may ever look whether it was.
        self._may_go_better = has_more_to_try or any(entry.is_open for entry in entries)
        if not self._left_as_a_whole:
            return False
        is_all = not (has_more_to_try or self._has_unsent_rows)
        if not self.is_for_one_reason or (self._codes_alone.total() < ALIKE and is_all):
            self._is_sure_of_the_whole = True
        return not self.is_in_doubt

    def reason_to_end(self) -> SendingStopped | None:
        """Return why rows are left, if any are."""
        if self._left_for_another_try:
            return SendingStopped(
                with_advice(
                    f"8x8 refuses so many rows that {self._left_for_another_try} are left after {self._requests} "
                    "requests to find the bad ones; another try goes on with these",
                    str(self.last),
                ),
                cause=Cause.REFUSED,
            )
        if self._left_as_a_whole:
            return SendingStopped(
                with_advice(
                    str(self.last),
                    f"8x8 has taken no batch, and none of {self._codes_alone.total()} rows from different places that "
                    "were sent alone",
                    "Mend what they have in common, then clear the task",
                ),
                is_final=not self._may_go_better,
                cause=Cause.REFUSED,
            )
        return None


class Halving(Generic[Row]):
    """
    One batch that is on the wire, and its parts until each of its rows has its end.

    :param refusals: those of the try
    :param size: how many rows the batch has
    """

    def __init__(self, refusals: Refusals, size: int) -> None:
        refusals.allow(size)
        self._refusals = refusals
        self.is_refused = False
        """Whether 8x8 has refused any of it so far."""
        self._is_probing = False
        self._waiting: deque[list[Row]] = deque()
        self._behind_probes: list[Row] = []
        self._refused_alone: list[Row] = []

    def is_to_reject(self, refused: RefusedError, size: int) -> bool:
        """Take note of a refusal of so many rows; tell whether it is one alone, and to blame."""
        if not self.is_refused:
            self.is_refused = True
            self._is_probing = self._refusals.is_in_doubt
        self._refusals.note(refused, size)
        return size == 1 and not (self._is_probing and self._refusals.is_in_doubt)

    def put_back(self, rows: list[Row]) -> None:
        """Have rows back of which 8x8 has nothing."""
        if len(rows) == 1:
            self._refused_alone += rows
        elif self._is_probing:
            places = _places(len(rows))
            self._waiting.extend([rows[place]] for place in places)
            probed = frozenset(places)
            self._behind_probes = [row for place, row in enumerate(rows) if place not in probed]
        else:
            self._waiting.extendleft(reversed(_halves(rows)))

    def next_part(self) -> list[Row] | None:
        """Return the rows that are to be sent together next; None if there are none, or the rest is left."""
        if self._is_probing and not (self._waiting and self._refusals.is_in_doubt):
            if self._refusals.is_in_doubt and self._refusals.is_for_one_reason:
                self._refusals.leave_as_a_whole(sum(map(len, self.left())))
                return None
            self._end_probing()
        if not self._waiting:
            return None
        if not self._refusals.spend():
            self._refusals.leave_for_another_try(sum(map(len, self.left())))
            return None
        return self._waiting.popleft()

    def left(self) -> list[list[Row]]:
        """Return all rows that have no end yet, but for those of the part on the wire."""
        return [*self._waiting, self._behind_probes, self._refused_alone]

    def _end_probing(self) -> None:
        """Go on by halves: rows can be blamed now, first of all those that were refused alone."""
        alone, rest = self._refused_alone, [row for part in self._waiting for row in part] + self._behind_probes
        self._is_probing, self._refused_alone, self._behind_probes = False, [], []
        # Where a bad row was among the probes, there may be no other.
        self._waiting = deque([[row] for row in alone] + ([rest] if alone and rest else _halves(rest)))


def _halves(rows: list[Row]) -> list[list[Row]]:
    middle = len(rows) // 2
    return [half for half in (rows[:middle], rows[middle:]) if half]


def _places(size: int) -> list[int]:
    """
    Return which rows of a refused batch are sent alone: all of a few, of many as many as one bad row costs to find.

    The first, the last, and others by the golden ratio: spread evenly, and in step with no pattern of the source's.
    """
    count = max(_AT_LEAST_ALONE, 2 * size.bit_length())
    if count >= size:
        return list(range(size))
    places = {0: None, size - 1: None}
    for number in itertools.count(1):
        if len(places) == count:
            break
        places[int(size * (number * _GOLDEN_RATIO % 1))] = None
    return list(places)
