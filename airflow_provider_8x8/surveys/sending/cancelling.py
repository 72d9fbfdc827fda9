"""
Cancels batches at 8x8, and keeps what it has said.

8x8 answers how many messages a call has cancelled. The next call for the same batch may count them again, or not: 8x8
does not say. So a second answer of 0 is no sign that nothing was cancelled, and answers are never added up: each counts
by itself, and the largest is what is known. A batch is wholly cancelled only where one answer has as many as 8x8 can
have accepted of it. That it was asked is durable before it is; so if its answer is lost, even with the worker, the next
one who asks knows that there was one.

Source: 8x8's page `Cancel a batch of SMS
<https://developer.8x8.com/connect/reference/cancel-scheduled-batch-of-sms>`__. Its API has no state for a cancelled
message, so its logs cannot tell either.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

import msgspec

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import EightByEightError, RateLimitedError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.tries import retrying_until_answered
from airflow_provider_8x8.surveys.chance import Chance, SystemChance
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import JournalError, JournalMismatchError
from airflow_provider_8x8.surveys.outcomes.cancellations import Cancellation, CancelOutcome
from airflow_provider_8x8.surveys.sending.stopped import note_unexpected

log = logging.getLogger(__name__)

NOT_IN_CAMPAIGN = "campaign {campaign!r} has no batch {batches}"
ENDED = "the task was to end before 8x8 had answered"
NOTHING_LEFT = "nothing of it was scheduled any more, or it is cancelled already: 8x8 does not tell the two apart"
_NAME_BYTES = 4


class CancelMemory(Protocol):
    """What is remembered of the cancelling of batches."""

    def known(self, batch_id: str) -> Cancellation:
        """
        Return what was known of a batch before anybody is asked now.

        :raises JournalError: that cannot be known
        """

    def begin(self, batch_id: str) -> Cancellation:
        """
        Note that 8x8 is about to be asked; return what was known of the batch until then.

        :raises JournalError: it could not be noted: 8x8 must not be asked
        """

    def end(self, batch_id: str, cancelled: int | None, *, is_answered: bool) -> Cancellation:
        """
        Note what 8x8 has answered, and return what is now known.

        :param cancelled: how many messages, None if it has not said
        :param is_answered: whether every call of the caller's was answered
        :raises JournalError: it could not be noted
        """


class RevisableJournal(Protocol):
    """A campaign's journal in which it can be noted that a batch is cancelled."""

    def revise(self, client_batch_id: str, change: Callable[[Entry], Entry]) -> Entry:
        """See :meth:`~airflow_provider_8x8.surveys.journal.sql.SqlJournal.revise`."""


class CampaignCancels:
    """
    Remembers in a campaign's journal, and has it set free what is wholly cancelled.

    :param journal: the campaign's
    :param entries: all that is in it
    :param batch_ids: the batches that are to be cancelled
    :param campaign_id: for messages
    :param chance: makes the name by which this caller is known in the journal
    :raises JournalMismatchError: one of the batches is not in the campaign
    """

    def __init__(
        self,
        journal: RevisableJournal,
        entries: Sequence[Entry],
        batch_ids: Sequence[str],
        *,
        campaign_id: str,
        chance: Chance,
    ) -> None:
        self._journal = journal
        self._entries: dict[str, list[Entry]] = {batch_id: [] for batch_id in batch_ids}
        for entry in entries:
            if entry.is_batch and entry.batch_id in self._entries:
                self._entries[entry.batch_id].append(entry)
        # Two batches of one id are not told apart: whose messages 8x8 then counts is not known.
        wrong = [batch_id for batch_id, found in self._entries.items() if len(found) != 1]
        if wrong:
            is_open = [entry.client_batch_id for entry in entries if entry.is_open]
            raise JournalMismatchError(
                NOT_IN_CAMPAIGN.format(campaign=campaign_id, batches=", ".join(wrong)),
                "Nothing was cancelled. Give the campaign_id of the task that sent it; without campaign_id a batch is "
                "cancelled, and stays in the journal as sent",
                f"Of unknown outcome, so that 8x8's id is not known: {', '.join(is_open)}" if is_open else "",
            )
        self._name = chance.token(_NAME_BYTES)

    def known(self, batch_id: str) -> Cancellation:
        """See :class:`CancelMemory`."""
        return _cancellation_of(self._entry(batch_id))

    def begin(self, batch_id: str) -> Cancellation:
        """See :class:`CancelMemory`."""
        client_batch_id = self._entry(batch_id).client_batch_id
        begun = self._journal.revise(client_batch_id, partial(_asked_by, self._name))
        return _cancellation_of(_without(self._name, begun))

    def end(self, batch_id: str, cancelled: int | None, *, is_answered: bool) -> Cancellation:
        """See :class:`CancelMemory`."""
        client_batch_id = self._entry(batch_id).client_batch_id
        change = partial(_answered, self._name if is_answered else None, cancelled)
        return _cancellation_of(self._journal.revise(client_batch_id, change))

    def _entry(self, batch_id: str) -> Entry:
        (entry,) = self._entries[batch_id]
        return entry


def _cancellation_of(entry: Entry) -> Cancellation:
    return Cancellation(
        str(entry.batch_id),
        accepted=entry.most_accepted,
        cancelled=entry.cancelled_count or 0,
        is_unanswered=bool(entry.unanswered_cancels),
        is_free=entry.state is EntryState.CANCELLED,
    )


def _asked_by(name: str, entry: Entry) -> Entry:
    if entry.state is EntryState.CANCELLED or name in entry.unanswered_cancels:
        return entry
    return msgspec.structs.replace(entry, unanswered_cancels=f"{entry.unanswered_cancels} {name}".strip())


def _answered(name: str | None, cancelled: int | None, entry: Entry) -> Entry:
    if entry.state is EntryState.CANCELLED:
        return entry
    said = [count for count in (entry.cancelled_count, cancelled) if count is not None]
    most = max(said, default=None)
    is_whole = entry.state is EntryState.SENT and most == entry.most_accepted
    return msgspec.structs.replace(
        entry if name is None else _without(name, entry),
        state=EntryState.CANCELLED if is_whole else entry.state,
        cancelled_count=most,
    )


def _without(name: str, entry: Entry) -> Entry:
    others = " ".join(each for each in entry.unanswered_cancels.split() if each != name)
    return msgspec.structs.replace(entry, unanswered_cancels=others)


class TryCancels:
    """
    Remembers nothing beyond this try, but what it is told of those before it.

    :param accepted: of the one batch there is, how many messages 8x8 has accepted; None if that is not known
    :param answered: what earlier tries were answered, by batch id; None where this is the first try
    """

    def __init__(self, accepted: int | None, answered: Mapping[str, int] | None) -> None:
        self._accepted = accepted
        self._answered = answered
        self.answered: dict[str, int] = dict(answered or {})
        """What all tries were answered, by batch id, where no answer is missing."""

    @property
    def wholly_cancelled(self) -> dict[str, int]:
        """Of what was answered, what no later answer can make another outcome of."""
        whole = CancelOutcome.CANCELLED
        return {batch_id: count for batch_id, count in self.answered.items() if self.known(batch_id).outcome is whole}

    def known(self, batch_id: str) -> Cancellation:
        """See :class:`CancelMemory`."""
        before = self._answered is not None and batch_id not in self._answered
        return Cancellation(batch_id, self._accepted, cancelled=self.answered.get(batch_id, 0), is_unanswered=before)

    def begin(self, batch_id: str) -> Cancellation:
        """See :class:`CancelMemory`."""
        known = self.known(batch_id)
        self.answered.pop(batch_id, None)
        return known

    def end(self, batch_id: str, cancelled: int | None, *, is_answered: bool) -> Cancellation:
        """See :class:`CancelMemory`."""
        known = Cancellation(batch_id, self._accepted)
        known.cancelled = max((self._answered or {}).get(batch_id, 0), cancelled or 0)
        known.is_unanswered = not is_answered or (self._answered is not None and batch_id not in self._answered)
        if known.is_whole or not known.is_unanswered:
            self.answered[batch_id] = known.cancelled
        return known


class Canceller:
    """
    Cancels batches, for one try.

    All are asked for once before any is asked for again: time is short, and one that is not answered must not keep the
    others waiting.

    :param client: the sub-account that sent them
    :param memory: what was known before, and is to be known after
    :param clock: waits before what has failed is tried again
    :param stop: set when the try is to end
    :param chance: spreads waits
    """

    def __init__(
        self,
        client: EightByEightClient,
        memory: CancelMemory,
        *,
        clock: Clock,
        stop: threading.Event,
        chance: Chance | None = None,
    ) -> None:
        self._client = client
        self._memory = memory
        self._stop = stop
        self._again = retrying_until_answered(clock.sleep, (chance or SystemChance()).jitter)
        self._known: dict[str, Cancellation] = {}
        self._lost: set[str] = set()
        self._said: dict[str, int] = {}
        self._failures: dict[str, EightByEightError] = {}
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self.problem: str | None = None
        """Why not all could be asked, or noted."""

    def cancel(self, batch_ids: Sequence[str]) -> list[Cancellation]:
        """Cancel batches, and return what is known of each; what fails of one does not keep the others."""
        self._known = {batch_id: self._memory.known(batch_id) for batch_id in batch_ids}
        to_ask = [batch_id for batch_id in batch_ids if not self._is_settled(batch_id)]
        try:
            with suppress(EightByEightError):  # what has failed of which batch is known
                self._again(self._ask_each, list(to_ask))
            for batch_id in to_ask:
                if batch_id in self._begun - self._ended:
                    self._end(batch_id)
        except JournalError as error:
            self.problem = str(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller learns what was cancelled
            self.problem = note_unexpected(error)
        if self.problem is not None:
            for batch_id in self._begun - self._ended:
                self._take_note(batch_id)
        for batch_id in to_ask:
            self._explain(self._known[batch_id])
        return [self._known[batch_id] for batch_id in batch_ids]

    def _is_settled(self, batch_id: str) -> bool:
        known = self._known[batch_id]
        return known.is_whole and (known.is_free or not known.accepted)

    def _ask_each(self, left: list[str]) -> None:
        """
        Ask for all that are left, and leave those that are to be asked for again.

        :raises EightByEightError: why one of them is
        """
        again: list[str] = []
        why: EightByEightError | None = None
        for batch_id in left:
            if self._stop.is_set():
                break
            failure = self._ask(batch_id)
            if failure is not None:
                again.append(batch_id)
                # The one that asks to wait longest.
                why = max(filter(None, (why, failure)), key=_seconds_asked)
        left[:] = again
        if why is not None:
            raise why

    def _ask(self, batch_id: str) -> EightByEightError | None:
        """Cancel one batch; return why it is to be tried again, if it is."""
        if batch_id not in self._begun:
            before = self._memory.begin(batch_id)
            self._known[batch_id] = before
            if self._is_settled(batch_id):
                return None  # somebody else was faster
            self._begun.add(batch_id)
        try:
            answer = self._client.cancel_batch(batch_id, max_tries=1)
        except EightByEightError as error:
            self._failures[batch_id] = error
            log.warning("Batch %s was not cancelled, as far as is known: %s", batch_id, error.reason)
            if not isinstance(error, RefusedError) or isinstance(error, RateLimitedError):
                if isinstance(error, UnknownOutcomeError):
                    self._lost.add(batch_id)
                return error
        except Exception:
            self._lost.add(batch_id)
            raise
        else:
            self._failures.pop(batch_id, None)
            self._said[batch_id] = answer.cancelled_count
            log.info("8x8 says that it has cancelled %d messages of batch %s", answer.cancelled_count, batch_id)
        self._end(batch_id)
        return None

    def _end(self, batch_id: str) -> None:
        """Have what is known of a batch remembered that is not asked for any more."""
        self._take_note(batch_id)
        said, is_answered = self._said.get(batch_id), batch_id not in self._lost
        self._known[batch_id] = self._memory.end(batch_id, said, is_answered=is_answered)
        self._ended.add(batch_id)

    def _take_note(self, batch_id: str) -> None:
        known = self._known[batch_id]
        known.cancelled = max(known.cancelled, self._said.get(batch_id, 0))
        known.is_unanswered = known.is_unanswered or batch_id in self._lost

    def _explain(self, known: Cancellation) -> None:
        """Say why a batch is not wholly cancelled, and whether asking again may help."""
        if known.is_whole:
            return
        failure = self._failures.get(known.batch_id)
        if failure is not None:
            known.reason, known.may_go_better = str(failure), failure.may_go_better
        elif known.batch_id not in self._said:
            known.reason, known.may_go_better = self.problem or ENDED, True
        else:
            known.reason = NOTHING_LEFT


def _seconds_asked(error: EightByEightError) -> float:
    return (error.retry_after or 0.0) if isinstance(error, RateLimitedError) else 0.0
