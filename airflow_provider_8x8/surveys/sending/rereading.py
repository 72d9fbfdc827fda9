"""
Whether the source may be read again, and when, where the readings before have brought nothing.

Tries of one campaign that hold the same rows in turns may each find rows set free whenever they have read the source,
and get nowhere as long as they stay in step: where 8x8 refuses all of the rows, they would go on for ever. So a try
waits longer each time, by its own dice, and ends after some such readings.
"""

from __future__ import annotations

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.api.errors import RefusedError
from airflow_provider_8x8.surveys.chance import Chance
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.sending.stopped import SendingStopped

MAX_IN_VAIN = 8
"""
Readings that a try makes one after the other, with none of its rows accepted or rejected in between.

The waits before them come to two to four minutes: that is longer than another run waits and tries again where 8x8 asks
to come later, or cannot be reached, and so sets rows free and takes them up again.
"""

READ_IN_VAIN = "the source was read {count} times in a row with nothing accepted or rejected"


class Rereading:
    """
    Counts for one try how often it has read its source in vain.

    :param ledger: has what 8x8 has accepted and rejected
    :param clock: waits
    :param chance: spreads waits
    :ivar in_vain: how many of the last readings have brought nothing
    """

    def __init__(self, ledger: Ledger, *, clock: Clock, chance: Chance) -> None:
        self._ledger = ledger
        self._clock = clock
        self._chance = chance
        self._most_answered = 0
        self.in_vain = 0

    def begin(self, in_vain: int = 0) -> None:
        """
        Begin with what the journal has, once it is open.

        :param in_vain: so many readings of the same try were in vain before it went on in this process
        """
        self._most_answered = self._answered()
        self.in_vain = in_vain

    def note(self) -> None:
        """Take note of a reading, with all that was found out before it or in it."""
        answered = self._answered()
        self.in_vain = 0 if answered > self._most_answered else self.in_vain + 1
        self._most_answered = max(answered, self._most_answered)  # what is cancelled was answered before

    def reason_to_end(self, refused: RefusedError | None) -> SendingStopped | None:
        """
        Return why the source is not read again, if it was read in vain too often.

        :param refused: what 8x8 has refused last, if anything
        """
        if self.in_vain < MAX_IN_VAIN:
            return None
        return SendingStopped(
            with_advice(
                READ_IN_VAIN.format(count=self.in_vain),
                "Each time rows were set free again, mostly by others of the campaign; another try goes on with these",
                None if refused is None else str(refused),
            ),
            cause=Cause.OTHER if refused is None else Cause.REFUSED,
        )

    def wait(self) -> None:
        """Wait before the source is read again, longer each time: the first time not at all."""
        if self.in_vain < 2:
            return
        seconds = 2.0 ** (self.in_vain - 1)
        self._clock.sleep(seconds + self._chance.jitter(seconds))
        self._ledger.refresh()

    def _answered(self) -> int:
        own = [entry for entry in self._ledger.entries() if self._ledger.is_own(entry)]
        return sum(entry.accepted_count + entry.rejected_count for entry in own)
