"""The journal of one try, with what the tries before it have entered elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import (
    JournalLostError,
    JournalMismatchError,
    JournalUnavailableError,
)
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.marks import Memory, Place, TaskJournal
from airflow_provider_8x8.surveys.journal.protocol import Compose
from airflow_provider_8x8.surveys.settings import BEFORE_TRY

if TYPE_CHECKING:
    from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory

log = logging.getLogger(__name__)


class RememberedJournal:
    """
    The journal of one try, which knows what earlier tries have entered elsewhere.

    See :class:`~airflow_provider_8x8.surveys.journal.protocol.Journal`.
    """

    outlives_try = True

    def __init__(self, memory: TaskMemory, kept_in: Memory, campaign_id: str) -> None:
        self._memory = memory
        self._kept_in = kept_in
        self._campaign_id = campaign_id
        self._journal = kept_in.journal(campaign_id)
        self.known_campaign_id = campaign_id
        """Of the entries that :meth:`known_entries` has found: another one, where it was changed between two tries."""

    @property
    def first_begun(self) -> float:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.Journal`."""
        return self._memory.first_begun

    def open(self, header: Header) -> None:
        """
        Open the journal, with all that earlier tries have entered elsewhere.

        :raises JournalLostError: nothing is known of what earlier tries have sent
        :raises JournalMismatchError: it is entered where this try cannot take it over; the text names both places
        """
        memory = self._memory
        memory.begin()
        here = Place(self._kept_in.name, self._campaign_id)
        if not memory.is_complete:
            self._look_for_entries_without_marks(here)
        self._check_whether_it_is_behind(here)
        self._journal.open(header, must_exist=memory.may_be_at(here))
        taken_over: list[Place] = []
        while left := [place for place in memory.elsewhere(here) if place not in taken_over]:
            self._take_over(left[0], here)  # whose marks may know of another place
            taken_over.append(left[0])
        memory.leave(here)

    def known_entries(self) -> list[Entry]:
        """
        Return what the task instance has entered, without opening the journal: for a try that cannot send.

        :raises JournalError: it cannot be read, or not all of it
        """
        memory = self._memory
        memory.begin()
        here = Place(self._kept_in.name, self._campaign_id)
        known: dict[str, Entry] = {}
        for place in (here, *memory.elsewhere(here)):
            kept_in = memory.memory_of(place.journal)
            entries = None if kept_in is None else kept_in.journal(place.campaign_id).entries()
            is_lost = (entries is None and memory.may_be_at(place)) or memory.is_behind(place)
            if is_lost or not memory.is_complete:
                raise JournalLostError("earlier tries of this task instance may have sent what is not known here")
            own = self._own(entries or ())
            if not known and any(entry.is_batch for entry in own):
                self.known_campaign_id = place.campaign_id
            for entry in own:
                before = known.get(entry.client_batch_id)
                if before is None or before.gives_way_to(entry):
                    known[entry.client_batch_id] = entry
        return list(known.values())

    def news(self) -> Sequence[Entry]:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.Journal`."""
        return self._journal.news()

    def begin(self, compose: Compose) -> Entry | None:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.Journal`."""
        return self._journal.begin(compose)

    def settle(self, entry: Entry) -> Entry:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.Journal`."""
        return self._journal.settle(entry)

    def settle_and_begin(self, entry: Entry, compose: Compose) -> tuple[Entry, Entry | None]:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.Journal`."""
        return self._journal.settle_and_begin(entry, compose)

    def _check_whether_it_is_behind(self, place: Place) -> None:
        if self._memory.is_behind(place):
            raise JournalLostError(
                f"an earlier try of this task instance has entered what it sent in {place}, and left a mark there, "
                "which is not there any more: it was emptied or restored, or is a copy",
                "Nothing is sent; trigger a new DAG run with the rows that are missing",
            )

    def _look_for_entries_without_marks(self, here: Place) -> None:
        """
        Accept a journal of a version that left no marks, if it has entries of this task instance.

        :raises JournalLostError: it has none
        """
        own = self._own(self._kept_in.journal(self._campaign_id).entries() or ())
        if not own or any(entry.state is EntryState.MOVED for entry in own):
            number = self._memory.try_number
            what_to_do = (
                "Look into 8x8's portal or the earlier tries' logs. If nothing was sent, clear the task with "
                f'settled_batches={{"{BEFORE_TRY}{number + 1}": "not_accepted"}}; else trigger a new DAG run with the '
                "rows that are missing"
            )
            nothing_is_sent = ("So it is not known what was sent, and nothing is sent now", what_to_do)
            if self._memory.is_resumed:
                raise JournalLostError(
                    f"try {number} of the task instance goes on after a wait without a worker, and {here} knows "
                    "nothing of what it has sent: it was changed or emptied meanwhile, or could not be reached",
                    *nothing_is_sent,
                )
            raise JournalLostError(
                f"this is try {number} of the task instance, and {here} knows nothing of the tries before it: it was "
                "added or changed between two tries, was emptied, or could not be reached, or no earlier try has ever "
                "begun",
                *nothing_is_sent,
            )
        self._memory.trust(here)

    def _take_over(self, place: Place, here: Place) -> None:
        try:
            memory = self._memory.memory_of(place.journal)
        except JournalUnavailableError as error:
            raise JournalUnavailableError(
                f"an earlier try of this task instance has entered what it sent in {place}, which cannot be read just "
                f"now; this one would use {here}. Nothing is sent: {error}"
            ) from None
        if memory is None:
            raise JournalMismatchError(
                f"an earlier try of this task instance has entered what it sent in {place}, which this try cannot "
                f"read; it would use {here}",
                "Nothing is sent; change it back, or trigger a new DAG run with the rows that are missing",
            )
        self._check_whether_it_is_behind(place)
        source = memory.journal(place.campaign_id)
        entries = source.entries()
        if entries is None:
            raise JournalLostError(
                f"an earlier try of this task instance has entered what it sent in {place}, where it is not any more",
                "Nothing is sent; trigger a new DAG run with the rows that are missing",
            )
        if place.journal.kind == "sql":
            entries = self._end_there(source) or entries
        own_id = self._memory.task_instance
        if place.campaign_id != own_id or here.campaign_id != own_id:
            # Row keys are hashes with the campaign's id, and a campaign of several runs may go on where it is.
            shared = entries if place.campaign_id == here.campaign_id else self._own(entries)
            if any(entry.is_batch and entry.is_in_effect for entry in shared):
                raise JournalMismatchError(
                    f"earlier tries of this task instance have sent by {place}; this one would send by {here}, where "
                    "that is not known",
                    "Nothing is sent; change it back, or trigger a new DAG run",
                )
            return
        self._copy(self._own(entries), place)

    def _end_there(self, source: TaskJournal) -> Sequence[Entry] | None:
        """Tell an earlier try, which may still be alive, that it may send no more; return what it has entered."""
        memory = self._memory
        moved = Entry.of_no_batch(
            EntryState.MOVED,
            f"moved-{memory.chance.token(7)}",
            task_instance=memory.task_instance,
            try_number=memory.try_number,
            at=memory.now(),
        )
        source.begin(lambda _: moved)
        return source.entries()

    def _copy(self, entries: Sequence[Entry], place: Place) -> None:
        target = self._kept_in.journal(self._campaign_id)  # one of its own, which has no news to tell
        known = {entry.client_batch_id: entry for entry in target.entries() or ()}
        copied = 0
        for entry in entries:
            before = known.get(entry.client_batch_id)
            if entry.state is EntryState.MOVED:
                continue
            if before is None:
                target.begin(lambda _, entry=entry: entry)  # type: ignore[misc]  # bound for the loop
                copied += 1
            elif before.gives_way_to(entry):
                if entry.is_open and entry.watermark_seen is None:  # what was seen since is not taken back
                    entry = msgspec.structs.replace(
                        entry, watermark_begun=before.watermark_begun, watermark_seen=before.watermark_seen
                    )
                if entry != before:
                    target.settle(entry)
        if copied:
            log.info("Took over %d batches of earlier tries from %s", copied, place.journal)

    def _own(self, entries: Iterable[Entry]) -> list[Entry]:
        return [entry for entry in entries if entry.task_instance == self._memory.task_instance]
