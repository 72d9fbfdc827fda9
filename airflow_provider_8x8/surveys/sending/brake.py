"""
The brake: once more has gone wrong than is allowed, no batch is begun any more.

It is asked before each request of a batch, also for a part of one that 8x8 has refused, and looks at counts only. What
8x8 has rejected in earlier tries of the task instance counts, so another try does not begin again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.outcomes.summary import Tally
from airflow_provider_8x8.surveys.sending.stopped import SendingStopped
from airflow_provider_8x8.surveys.settings import TOO_MANY_REJECTED, Settings

log = logging.getLogger(__name__)

ALL_OF_FIRST_REJECTED = "8x8 rejected all {total} messages of the first batch"
_RAISE_LIMIT = "To send what is missing, raise the limit or mend what is invalid, and clear the task"
_ANOTHER_SAMPLE = (
    "To send what is missing, mend it, and clear the task with a larger first_batch_size, which sends another small "
    "batch, or without one"
)
FIRST_UNANSWERED = "8x8 has not answered the first batch: no other one is begun before it has"


class HeldBack(Exception):  # noqa: N818  # no error: it may yet go on, once the first batch is known
    """What became of the first batch is not known, so the others wait."""


@dataclass(slots=True)
class _Answered:
    """How many messages 8x8 has accepted and rejected."""

    accepted: int = 0
    rejected: int = 0

    @property
    def total(self) -> int:
        return self.accepted + self.rejected

    def add(self, entry: Entry) -> None:
        self.accepted += entry.accepted_count
        self.rejected += entry.rejected_count


class Brake:
    """
    Watches for one try how much goes wrong.

    :param ledger: has what earlier tries have sent
    :param settings: how much may go wrong, and how large batches are
    """

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._limits = settings.limits
        self._batch_size = settings.batch_size
        self._first_size = min(settings.first_batch_size or 0, settings.batch_size)
        self._is_first_judged = self._first_size == 0
        self.passed: str | None = None
        """Which limit is passed, so that sending has stopped."""
        self.begin_reading(Tally())

    def begin_reading(self, tally: Tally) -> None:
        """
        Begin anew with the source, not with what 8x8 has answered.

        :param tally: of the new reading
        """
        self._tally = tally
        self._all, self._first = _Answered(), _Answered()
        own = [entry for entry in self._ledger.entries() if self._ledger.is_own(entry) and entry.is_in_effect]
        for entry in sorted(own, key=lambda entry: entry.begun):
            self.note(entry)
        self._first_begun_at: int | None = None
        self.is_holding_back = False

    @property
    def batch_size(self) -> int:
        """How many messages the next batch of the reading may have."""
        is_first = self._first_begun_at is None and not self._is_first_known
        return self._first_size if is_first else self._batch_size

    @property
    def _is_first_known(self) -> bool:
        return self._is_first_judged or self._first.total >= self._first_size

    def note(self, entry: Entry) -> None:
        """Take note of what 8x8 has answered to a batch."""
        if self._first.total < self._first_size:
            self._first.add(entry)
        self._all.add(entry)

    def note_not_begun(self) -> None:
        """Take note that a batch was not begun after all, since others have all of its rows: the next may be first."""
        self._first_begun_at = None

    def judge_first(self) -> None:
        """
        Look at the answer to the first batch, before one that is no part of it is begun.

        :raises SendingStopped: 8x8 has rejected too many of it
        :raises HeldBack: 8x8 has answered nothing of it
        """
        if self._is_first_judged:
            return
        if not self._is_first_known:
            if self._first_begun_at is None and not self._has_open_batches():
                self._first_begun_at = self._first.total
                return
            if self._first_begun_at in (None, self._first.total):
                self.is_holding_back = True
                raise HeldBack
        self._is_first_judged = True
        limit, first = self._limits.max_rejected, self._first
        to_go_on = _RAISE_LIMIT if first.accepted else _ANOTHER_SAMPLE  # no limit allows all of them
        if isinstance(limit, float):
            if first.rejected / first.total > limit:
                passed = TOO_MANY_REJECTED.format(limit=limit, count=first.rejected, total=first.total)
                raise self._stop(passed, to_go_on)
        elif not first.accepted:  # a number may be larger than the first batch is
            raise self._stop(ALL_OF_FIRST_REJECTED.format(total=first.total), to_go_on)

    def _has_open_batches(self) -> bool:
        """Tell whether it is not known what became of a batch of this task instance, which was a first one."""
        return any(entry.is_open and self._ledger.is_own(entry) for entry in self._ledger.entries())

    def check(self) -> None:
        """
        Look whether a batch, or a part of one, may be begun.

        :raises SendingStopped: too much has gone wrong
        """
        passed = self._limits.passed(
            accepted=self._all.accepted,
            rejected=self._all.rejected,
            invalid=self._tally.invalid,
            sendable=self._tally.sendable,
            sample=self._limits.brake_after,
        )
        if passed is not None:
            raise self._stop(passed)

    def reason_to_end(self) -> SendingStopped:
        """Return why the rest waits, where it is still not known what became of the first batch."""
        return SendingStopped(
            with_advice(
                FIRST_UNANSWERED,
                "Another try looks again what became of it, and then sends the rest",
            ),
            cause=Cause.UNKNOWN_OUTCOME,
        )

    def _stop(self, passed: str, to_go_on: str = _RAISE_LIMIT) -> SendingStopped:
        self.passed = passed
        stopped = SendingStopped(
            with_advice(
                f"{passed}: no other batch is begun",
                f"The log and the report say why. {to_go_on}",
                "What 8x8 has rejected stays so, and counts in every try of this task",
            ),
            is_final_once_settled=True,
            cause=Cause.LIMIT,
        )
        log.warning("%s", stopped)
        return stopped
