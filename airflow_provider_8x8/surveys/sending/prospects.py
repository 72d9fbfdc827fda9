"""What 8x8's logs can still tell of batches in a try's time, and when: so long is waited, and no longer."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_BYTES
from airflow_provider_8x8.surveys.sending.canary import Canary
from airflow_provider_8x8.surveys.sending.reconcile import Reconciler
from airflow_provider_8x8.surveys.sending.unanswered import Outlook, Tries, Unanswered, Watermark, is_looked_for
from airflow_provider_8x8.surveys.settings import OnUnknown, Settings

LOOK_AROUND = 60.0
"""
Seconds for which a try looks for batches that 8x8 may have accepted even though it cannot prove in its own time that
it has not: most logs lag by less.
"""


class Prospects:
    """
    Tells when to look into the logs, for one try.

    :param logs: what was seen of them
    :param ledger: what the journal says
    :param canary: may be sent yet, or not
    :param settings: how long to wait, and what to do then
    """

    def __init__(self, logs: Reconciler, ledger: Ledger, canary: Canary, settings: Settings) -> None:
        self._logs = logs
        self._ledger = ledger
        self._canary = canary
        self._settings = settings

    def unanswered(self, wanted: Sequence[Entry], now: float, *, has_canary: bool = True) -> Unanswered:
        """Return what is to be told of some batches."""
        return Unanswered(
            client_batch_ids=[entry.client_batch_id for entry in wanted],
            messages=sum(map(messages_of, wanted)),
            outlooks=[self._outlook_of(entry, now, has_canary=has_canary) for entry in wanted],
        )

    def in_words(self, is_open: Sequence[Entry], tries: Tries, now: float, ends_at: float) -> str:
        """Say what is looked for, and what can tell of it when."""
        until = min(ends_at, now + LOOK_AROUND) if self.is_in_vain(is_open, now, ends_at) else ends_at
        return is_looked_for(
            self.unanswered(is_open, now, has_canary=self._canary.can_be_sent),
            tries,
            now=now,
            until=until,
            log_settle_time=self._settings.log_settle_time,
            on_unknown=self._settings.on_unknown,
        )

    def _outlook_of(self, entry: Entry, now: float, *, has_canary: bool) -> Outlook:
        counts_from = self._logs.counts_from(entry)
        tells_from = self._tells_at(entry, now, has_canary=has_canary)
        worth_until = self._logs.worth_waiting_for_until(entry)
        if tells_from is None:
            watermark, serves_from = Watermark.NONE, counts_from
            tells_from = max(now, counts_from) + self._settings.log_settle_time.total_seconds()
        elif self._logs.proven_from(entry) is not None:
            watermark, serves_from = Watermark.SEEN, tells_from
        elif self._logs.watermarks(entry, self._ledger.entries(), now):
            watermark, serves_from = Watermark.BEGUN, now
        else:
            watermark, serves_from = Watermark.CANARY, counts_from
        if watermark is not Watermark.NONE:
            worth_until = max(worth_until, tells_from)
        return Outlook(
            watermark=watermark,
            counts_from=counts_from,
            tells_from=tells_from,
            serves_from=serves_from,
            worth_until=worth_until,
        )

    def is_in_vain(self, wanted: Sequence[Entry], now: float, ends_at: float) -> bool:
        """Tell whether nothing can be proven in this try's time, and a later try can go on with the looking."""
        return self._settings.on_unknown is OnUnknown.FAIL and not self._telling(wanted, now, ends_at)

    def next_look(
        self, wanted: Sequence[Entry], now: float, ends_at: float, pause: float, exports_left: int
    ) -> float | None:
        """Return when to look again, in seconds since 1970; None if not in this try's time."""
        can_wait = self._logs.not_before <= ends_at and exports_left > 0
        if now >= ends_at or (not can_wait and self._settings.on_unknown is OnUnknown.FAIL):
            return None
        if not can_wait:
            return ends_at  # on_unknown decides then, and no sooner
        telling = self._telling(wanted, now, ends_at)
        if exports_left <= self._logs.exports_of_a_look:  # the last look is to tell as much as it can
            due = max([moment for moment in telling if moment > now], default=ends_at)
            return max(due, min(now + pause, ends_at), self._logs.not_before)
        due_later = (*telling, *self.canary_due_at(wanted, now, ends_at))
        soonest = min([now + pause, ends_at, *(moment for moment in due_later if now < moment <= ends_at)])
        return max(soonest, self._logs.not_before)

    def _telling(self, wanted: Sequence[Entry], now: float, ends_at: float) -> list[float]:
        """Return the moments to come in this try's time at which the logs can prove something."""
        moments = [self._tells_at(entry, now, has_canary=self._canary.can_be_sent) for entry in wanted]
        return [moment for moment in moments if moment is not None and moment <= ends_at]

    def _tells_at(self, entry: Entry, now: float, *, has_canary: bool = True) -> float | None:
        """
        Return when at the earliest the logs can prove what became of a batch, None if never by what there is.

        :param has_canary: one can still be sent, if there is a number for it
        """
        if not entry.is_open:
            return None
        proven_from = self._logs.proven_from(entry)
        if proven_from is not None:
            return proven_from
        settle_time = self._settings.log_settle_time.total_seconds()
        if self._logs.watermarks(entry, self._ledger.entries(), now):
            return now + settle_time
        if self._canary.has_number and has_canary:
            return max(now, self._logs.counts_from(entry)) + settle_time
        return None

    def canary_due_at(self, wanted: Sequence[Entry], now: float, ends_at: float) -> list[float]:
        """
        Return when the canary is to be sent, if that is near.

        One for all batches that nothing there is can be the watermark for: it waits for the youngest of those.
        """
        if not self._canary.can_be_sent:
            return []
        entries = list(self._ledger.entries())
        in_need = [
            entry
            for entry in wanted
            if entry.is_open
            and self._logs.proven_from(entry) is None
            and not self._logs.watermarks(entry, entries, now)
        ]
        horizon = max(ends_at, now + self._settings.log_settle_time.total_seconds())
        near = [moment for entry in in_need if (moment := self._logs.counts_from(entry)) <= horizon]
        return [max(near)] if near else []


def messages_of(entry: Entry) -> int:
    """Return of how many of a batch's messages it is not known what became of them."""
    return entry.unknown_count - len(entry.assumed_keys) // ROW_KEY_BYTES
