"""What the journal says of a campaign, as this try last saw it, and who holds which row key."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence, ValuesView
from typing import Any

import msgspec

from airflow_provider_8x8.surveys.journal.entries import KEYS_BY_OUTCOME, Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import JournalMismatchError, SupersededError
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.held_keys import HeldKeys
from airflow_provider_8x8.surveys.journal.protocol import Journal
from airflow_provider_8x8.surveys.messages.names import without_case_and_separators as _folded
from airflow_provider_8x8.surveys.messages.row_keys import pack, unpack
from airflow_provider_8x8.surveys.messages.values import quoted
from airflow_provider_8x8.surveys.settings import Run


class Ledger:
    """
    The journal's entries by client batch id, and the row keys that they hold.

    An entry in effect holds its row keys: they are not sent again. The rejected ones are held for the run that sent
    them only: nobody was texted, and another run may come with data that were mended since. What is cancelled while a
    try is at work stays held for that try: whoever has cancelled it does not want it sent again at once.

    :param journal: the campaign's
    :param run: on whose behalf is asked
    """

    def __init__(self, journal: Journal, run: Run) -> None:
        self._journal = journal
        self._run = run
        self._entries: dict[str, Entry] = {}
        self._held = HeldKeys()
        self._times_changed = 0
        self._begun: set[str] = set()
        self._changed_by_others: dict[str, None] = {}  # a set in the order of its beginning
        self._cancelled_before: frozenset[str] = frozenset()
        self._unique_by: str | None = None

    def __getitem__(self, client_batch_id: str) -> Entry:
        return self._entries[client_batch_id]

    def entries(self) -> ValuesView[Entry]:
        """Return all entries that are known."""
        return self._entries.values()

    def own_batches(self) -> list[Entry]:
        """Return the entries of the task instance's batches."""
        return [entry for entry in self._entries.values() if entry.is_batch and self.is_own(entry)]

    def is_own(self, entry: Entry) -> bool:
        """Tell whether a try of this task instance made an entry."""
        return entry.task_instance == self._run.task_instance

    def is_of_this_try(self, entry: Entry) -> bool:
        """Tell whether this very try made an entry."""
        return self.is_own(entry) and entry.try_number == self._run.try_number

    @property
    def outlives_try(self) -> bool:
        """Whether another try can know what this one knows."""
        return self._journal.outlives_try

    @property
    def first_begun(self) -> float:
        """When the first try of this task instance began, in seconds since 1970."""
        return self._journal.first_begun

    @property
    def cancelled_before(self) -> frozenset[str]:
        """The client batch ids of what was cancelled before this try began."""
        return self._cancelled_before

    def open(self, header: Header, cancelled_before: Collection[str] | None = None) -> None:
        """
        Open the journal and read all of it.

        :param cancelled_before: the client batch ids of what was cancelled before this try began, if it is not now that
            it begins
        """
        self._journal.open(header)
        entries = self._journal.news()
        self._cancelled_before = frozenset(
            entry.client_batch_id
            for entry in entries
            if entry.state is EntryState.CANCELLED
            and (cancelled_before is None or entry.client_batch_id in cancelled_before)
        )
        self._learn(entries)

    def refresh(self) -> None:
        """Take note of what others have entered and settled."""
        self._learn_news(self._journal.news())

    def take_changed_by_others(self) -> list[Entry]:
        """Return the task instance's own batches that others have settled since the journal was opened, each once."""
        changed, self._changed_by_others = self._changed_by_others, {}
        return [self._entries[client_batch_id] for client_batch_id in changed]

    def begin_reading(self) -> None:
        """Hold the row keys of what the reading before has begun, as of any other entry: the source is read anew."""
        begun, self._begun = self._begun, set()
        for client_batch_id in begun:
            entry = self._entries[client_batch_id]
            self._hold(entry, entry.row_keys)

    def use_row_keys_of(self, unique_by: str) -> None:
        """
        Check that the campaign's row keys are made of the same column as the source's.

        :raises JournalMismatchError: the campaign's were made of another
        """
        self._unique_by = unique_by
        for entry in self._entries.values():
            self._check(entry)

    def holder_of(self, row_key: bytes) -> str | None:
        """
        Return the client batch id of the entry that holds a row key, if any does.

        What was begun in this reading is not asked for: no row key comes up in it twice.
        """
        return self._held.holder_of(row_key)

    def holders_of(self, row_keys: Sequence[bytes]) -> dict[bytes, str]:
        """Return what :meth:`holder_of` would of each row key, without those that no entry holds; for many at once."""
        return self._held.holders_of(row_keys)

    @property
    def times_changed(self) -> int:
        """How often it has changed who holds which row key: as long as it stays so, nobody need look again."""
        return self._times_changed

    def is_of_this_reading(self, entry: Entry) -> bool:
        """Tell whether an entry was begun in this reading of the source."""
        return entry.client_batch_id in self._begun

    def is_cancelled_meanwhile(self, entry: Entry) -> bool:
        """Tell whether an entry was cancelled after the journal was opened."""
        return entry.state is EntryState.CANCELLED and entry.client_batch_id not in self._cancelled_before

    def free_keys(self, entry: Entry) -> bytes:
        """Return the row keys that an entry has and does not hold."""
        if self.is_cancelled_meanwhile(entry):
            return b""
        if not entry.is_in_effect:
            return entry.row_keys
        if entry.state is not EntryState.SENT:
            return b""
        return entry.resent_keys if self.is_own(entry) else entry.resent_keys + entry.rejected_keys

    def begin(self, compose: Callable[[], Entry | None], answered: Entry | None = None) -> Entry | None:
        """
        Make the entry durable that ``compose`` makes, once what others have entered is known.

        :param answered: another entry with what has become of it, which is settled by that; if this raises anything, it
            may still have to be
        """

        def learn_and_compose(news: Sequence[Entry]) -> Entry | None:
            self._learn_news(news)
            return compose()

        if answered is None:
            entry = self._journal.begin(learn_and_compose)
        else:
            settled, entry = self._journal.settle_and_begin(answered, learn_and_compose)
            self._note_change(settled, answered)
            self._learn([settled])
        if entry is not None:
            self._entries[entry.client_batch_id] = entry
            if entry.is_batch:
                self._begun.add(entry.client_batch_id)
        return entry

    def settle(self, entry: Entry, **changes: Any) -> Entry:
        """Write down what became of a batch, and return its entry as it now stands."""
        ours = msgspec.structs.replace(entry, **changes)
        settled = self._journal.settle(ours)
        self._note_change(settled, ours)
        self._learn([settled])
        return settled

    def _learn_news(self, news: Sequence[Entry]) -> None:
        for entry in news:
            before = self._entries.get(entry.client_batch_id)
            if before is not None:
                self._note_change(entry, before)
        self._learn(news)

    def _note_change(self, entry: Entry, ours: Entry) -> None:
        """Note that the journal has something else of a batch of the task instance than this try has put there."""
        is_other = entry.state is not ours.state or any(
            getattr(entry, name) != getattr(ours, name) for name in KEYS_BY_OUTCOME
        )
        if is_other and entry.is_batch and self.is_own(entry):
            self._changed_by_others[entry.client_batch_id] = None

    def _learn(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._check(entry)
            if not entry.is_batch:
                self._entries[entry.client_batch_id] = entry
                continue
            before = self._entries.get(entry.client_batch_id)
            if before is not None and before.row_keys is not entry.row_keys:  # which never change: one copy is enough
                entry = msgspec.structs.replace(entry, row_keys=before.row_keys)
            self._entries[entry.client_batch_id] = entry
            if entry.client_batch_id not in self._begun:
                self._hold(entry, entry.row_keys if before is None else self.free_keys(before))

    def _hold(self, entry: Entry, free_before: bytes) -> None:
        """Hold the row keys that an entry holds now and did not before, and release those that it does not any more."""
        free = self.free_keys(entry)
        if free != free_before:
            self._times_changed += 1
            self._held.hold(_without(free_before, free), entry.client_batch_id)
            self._held.release(unpack(_without(free, free_before)), entry.client_batch_id)

    def _check(self, entry: Entry) -> None:
        if entry.state is EntryState.MOVED and self.is_own(entry) and entry.try_number >= self._run.try_number:
            raise SupersededError(
                f"try {entry.try_number} of this task instance keeps what is sent in another journal: this one may "
                "not send any more"
            )
        if not entry.is_batch:
            return
        if self._unique_by is not None and _folded(entry.unique_by) != _folded(self._unique_by):
            raise JournalMismatchError(
                f"batch {entry.client_batch_id} of this campaign tells rows apart by the column "
                f"{quoted(entry.unique_by)}, this source by {quoted(self._unique_by)}",
                "Set unique_by to the first, or trigger a new DAG run with another campaign_id",
            )


def _without(keys: bytes, others: bytes) -> bytes:
    """Return packed row keys without some of them."""
    if not keys or not others:
        return keys
    gone = set(unpack(others))
    return pack(key for key in unpack(keys) if key not in gone)
