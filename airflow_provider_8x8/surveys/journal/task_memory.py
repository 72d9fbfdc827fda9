"""
What is known of the earlier tries of a task instance, whatever was changed between them.

A journal reaches as far as its place: a database, or Airflow's task state store. A try that is configured for another
place than the tries before it would know nothing of what they have sent. So each try first reads the marks that they
have left (:mod:`~airflow_provider_8x8.surveys.journal.marks`) wherever it can, and then

* takes over what is entered elsewhere, where it can read it, and stops whoever may still send by those entries;
* or refuses, and names both places;
* or refuses since nothing is remembered at all, though it is not the first try.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec

from airflow_provider_8x8.surveys.chance import Chance, SystemChance
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import (
    JournalError,
    JournalLostError,
    JournalMismatchError,
    JournalUnavailableError,
)
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.marks import JournalName, Mark, Memory, Place, TaskJournal
from airflow_provider_8x8.surveys.journal.protocol import Compose
from airflow_provider_8x8.surveys.settings import BEFORE_TRY

log = logging.getLogger(__name__)


class TaskMemory:
    """
    The memories that one try of a task instance has at hand.

    :param task_instance: its name, without its tries; also the id of its campaign where none was chosen
    :param try_number: this try's
    :param at_hand: the memories, the one whose journal is to be used last
    :param connect: gives the memory of a SQL journal of which only the name is known; raises what making one raises
    :param clock: tells the time
    :param chance: makes ids
    :param is_resumed: the try goes on in another process: what it has done itself is to be known as well
    """

    def __init__(
        self,
        task_instance: str,
        try_number: int,
        at_hand: Sequence[Memory],
        *,
        connect: Callable[[JournalName], Memory],
        clock: Clock,
        chance: Chance | None = None,
        is_resumed: bool = False,
    ) -> None:
        self.task_instance = task_instance
        self.try_number = try_number
        self.first_begun = clock.now()
        """When the first try began that is known of, in seconds since 1970."""
        self.is_resumed = is_resumed
        self.known_before = try_number + 1 if is_resumed else try_number
        """Tries with a lower number may have sent before this process began."""
        self.is_complete = self.known_before == 1
        """Whether no earlier try can have sent what no memory knows of."""
        self._kept_in = at_hand[-1]
        # The task state store's mark comes first, where begin() may: a try that then dies is known of for sure.
        self._memories = sorted(at_hand, key=lambda memory: not memory.is_airflows)
        self._has_store = any(memory.is_airflows for memory in at_hand)
        self._connect = connect
        self._clock = clock
        self.chance = chance or SystemChance()
        self._places: list[Place] = []
        self._marks: list[tuple[Memory, Mark]] = []
        self._has_begun = False

    def begin(self) -> None:
        """
        Read the marks of earlier tries, and leave in every memory that this one has begun.

        Where nothing is known of earlier tries, no mark is left: it would look as if they had sent nothing. Nor does a
        try that is resumed leave one: it has, before it opened its journal.

        :raises JournalError: not in every memory; those that could be reached have it
        """
        if self._has_begun:
            return
        failures: list[JournalError] = []
        reached = []
        for memory in self._memories:
            try:
                self._learn(memory, memory.marks())
                reached.append(memory)
            except JournalError as error:
                failures.append(error)
        if self.is_complete and not self.is_resumed:
            # A try that had no task state store may still open its journal until a newer mark lies beside its own. So
            # the store is told last then: what it says of the tries before this one is relied on.
            had_store = all(mark.had_store for _, mark in self._marks)
            for memory in reached if had_store else reversed(reached):
                try:
                    self._leave_begun(memory)
                except JournalError as error:
                    failures.append(error)
        if failures:
            raise failures[0]
        self._has_begun = self.is_complete

    def trust(self, *places: Place) -> None:
        """
        Take it that no earlier try has sent what no memory knows of.

        :param places: where an earlier try has entered what it has sent, as no mark says
        """
        self._places += [place for place in places if not self.may_be_at(place)]
        self.is_complete = True
        self.begin()

    def journal(self, campaign_id: str) -> RememberedJournal:
        """Return the journal of this try's campaign, in the first of the memories."""
        return RememberedJournal(self, self._kept_in, campaign_id)

    def may_be_at(self, place: Place) -> bool:
        """Tell whether this try or an earlier one may have entered what it has sent in a place."""
        return any(known.is_same_as(place) for known in self._places)

    def is_behind(self, place: Place) -> bool:
        """
        Tell whether a place lacks a mark that an earlier try has left there, as another memory knows.

        A try whose journal was open has left its mark in all places that it names, in the task state store last.
        """
        there = {mark.try_number: mark for memory, mark in self._marks if memory.name.is_same_as(place.journal)}
        for memory, mark in self._marks:
            if mark.is_open and mark.try_number < self.known_before and any(map(place.is_same_as, mark.places)):
                same = there.get(mark.try_number)
                if same is None or (memory.is_airflows and not same.is_open):
                    return True
        return False

    def elsewhere(self, here: Place) -> list[Place]:
        """Return the other places where an earlier try may have entered what it has sent."""
        return [place for place in self._places if not place.is_same_as(here)]

    def leave(self, here: Place) -> None:
        """Leave in every memory that from now on this try may send by the journal of a place."""
        if not self.may_be_at(here):
            self._places.append(here)
        for memory in reversed(self._memories):  # the store's last: what it then says is in all others
            memory.leave(self._mark(is_open=True))

    def memory_of(self, name: JournalName) -> Memory | None:
        """
        Return the memory where a journal is kept, None if it is not at hand and its connection does not lead there.

        :raises JournalUnavailableError: it could not be reached just now
        """
        for memory in self._memories:
            if memory.name.is_same_as(name):
                return memory
        if name.kind != "sql":
            return None
        try:
            found = self._connect(name)
            leads_elsewhere = not found.name.is_same_as(name)
        except (TypeError, ValueError) as error:
            log.warning("%s cannot be read: %s", name, error)
            return None
        except JournalError:
            raise
        except Exception as error:  # noqa: BLE001  # secrets backends and hooks raise what they like
            raise JournalUnavailableError(f"its connection could not be had: {type(error).__name__}") from None
        if leads_elsewhere:
            found.close()
            return None
        self._memories.append(found)
        self._learn(found, found.marks())
        return found

    def close(self) -> None:
        """Close what connections there are."""
        for memory in self._memories:
            memory.close()

    def now(self) -> float:
        """Return seconds since 1970."""
        return self._clock.now()

    def _leave_begun(self, memory: Memory) -> None:
        """Leave in a memory that this try has begun, and note what an earlier one may have opened just before."""
        has_earlier = any(its == memory for its, _ in self._marks)
        memory.leave(self._mark())
        if has_earlier and not memory.is_airflows:
            known = len(self._places)
            self._learn(memory, [mark for mark in memory.marks() if mark.try_number < self.try_number])
            if len(self._places) > known:
                memory.leave(self._mark())

    def _learn(self, memory: Memory, marks: Sequence[Mark]) -> None:
        for mark in marks:
            self._marks.append((memory, mark))
            self.first_begun = min(self.first_begun, mark.began)
            self._places += [place for place in mark.places if not self.may_be_at(place)]
        self.is_complete |= self._tells_of_all(memory, marks)

    def _tells_of_all(self, memory: Memory, marks: Sequence[Mark]) -> bool:
        """
        Tell whether no try since the newest that has left a mark in a memory can have sent without leaving one there.

        The task state store is at hand of every try, once Airflow has it. A database is not, if the connection or its
        name was changed; but where there is no store, a try that found another memory empty has sent nothing.
        """
        # A try that is resumed had its journal open.
        newest = max(
            (mark.try_number for mark in marks if mark.is_open or mark.try_number < self.try_number), default=0
        )
        if newest >= self.known_before - 1 or memory.is_airflows:
            return newest > 0
        return newest > 0 and not self._has_store and not any(mark.had_store for mark in marks)

    def _mark(self, *, is_open: bool = False) -> Mark:
        return Mark(
            try_number=self.try_number,
            began=self.first_begun,
            places=list(self._places),
            had_store=self._has_store,
            is_open=is_open,
        )


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
            for entry in self._own(entries or ()):
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
