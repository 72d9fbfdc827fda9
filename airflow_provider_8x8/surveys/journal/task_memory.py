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
from collections.abc import Callable, Sequence

from airflow_provider_8x8.surveys.chance import Chance, SystemChance
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.errors import JournalError, JournalUnavailableError
from airflow_provider_8x8.surveys.journal.marks import JournalName, Mark, Memory, Place
from airflow_provider_8x8.surveys.journal.remembered import RememberedJournal

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
