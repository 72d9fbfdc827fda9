"""
A model of the SQL journal.

It does what :mod:`airflow_provider_8x8.surveys.journal.sql` does, on a database that is a dictionary.

The real one is tested against real databases; this one is to show what the loop does with a journal that has its
promises: one change of the campaign after the other, and a commit whose answer is lost is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import (
    CorruptJournalError,
    JournalLostError,
    JournalUnavailableError,
    SupersededError,
)
from airflow_provider_8x8.surveys.journal.header import Header, check_header, completed_header
from airflow_provider_8x8.surveys.journal.marks import JournalName, Mark
from airflow_provider_8x8.surveys.journal.protocol import Compose
from tests.simulation.worlds import Process, World

_LOCK_SECONDS = 60.0
_TRIES = 7

T = TypeVar("T")


class _DatabaseError(Exception):
    """A transaction failed, or its commit's answer was lost."""


class _Stored(NamedTuple):
    entry: Entry
    number: int
    changed: int


@dataclass(slots=True)
class Campaign:
    """
    What the database has of one campaign.

    :ivar faults: how likely a transaction fails
    :ivar has_lock: off, changes are made side by side
    """

    world: World
    faults: float = 0.0
    has_lock: bool = True
    header: Header | None = None
    last_number: int = 0
    batches: dict[str, _Stored] = field(default_factory=dict)
    holder: Process | None = None
    generation: int = 0
    """Rises when somebody deletes it: the row that a journal has found is not there any more."""
    answered: dict[str, float] = field(default_factory=dict)
    """When it was committed that 8x8 has accepted a batch, whatever the entry then says."""
    on_decision: Callable[[Entry], None] = lambda entry: None
    """Called when somebody decides about a batch of unknown outcome."""
    on_cancelled: Callable[[Entry], None] = lambda entry: None
    """Called when it is committed that a batch is cancelled."""
    first_looks: dict[Process, float] = field(default_factory=dict)
    """When each process has first read it."""

    def is_locked(self) -> bool:
        """Whether somebody is in the middle of a change. The database rolls back what a dead client has begun."""
        return self.has_lock and self.holder is not None and not self.holder.is_dead


@dataclass(slots=True)
class Database:
    """
    A database with the journals of several campaigns, and the marks of their task instances.

    :ivar name: by which connections, and the database itself, are known
    """

    world: World
    name: str
    faults: float = 0.0
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    marks: dict[tuple[str, int], Mark] = field(default_factory=dict)

    def campaign(self, campaign_id: str) -> Campaign:
        """Return what there is of a campaign."""
        return self.campaigns.setdefault(campaign_id, Campaign(self.world, self.faults))

    def throw_away(self) -> None:
        """Forget all; whoever is in the middle of something fails."""
        for campaign in self.campaigns.values():
            campaign.header = None
            campaign.batches.clear()
            campaign.generation += 1
        self.marks.clear()


class DatabaseMemory:
    """What one try has of it; see :class:`~airflow_provider_8x8.surveys.journal.marks.Memory`."""

    is_airflows = False

    def __init__(self, process: Process, database: Database, task_instance: str) -> None:
        self.name = JournalName("sql", database.name, database.name)
        self._process = process
        self._database = database
        self._task_instance = task_instance

    def marks(self) -> list[Mark]:
        """Return those of the task instance."""
        marks = self._database.marks

        def read() -> list[Mark]:
            return [mark for (task_instance, _), mark in marks.items() if task_instance == self._task_instance]

        return self._own_campaign()._transaction(read)

    def leave(self, mark: Mark) -> None:
        """Write this try's."""

        def write(_: None) -> None:
            tries = [number for name, number in self._database.marks if name == self._task_instance]
            if max(tries, default=0) > mark.try_number:
                raise SupersededError("a newer try has begun")
            self._process.world.note("mark in %s: %s", self._database.name, mark)
            self._database.marks[self._task_instance, mark.try_number] = mark

        self._own_campaign()._transaction(lambda: None, write)

    def journal(self, campaign_id: str) -> CampaignJournal:
        """Return a campaign's journal."""
        return self.journal_of(CampaignJournal, campaign_id)

    def journal_of(self, kind: type[CampaignJournal], campaign_id: str) -> CampaignJournal:
        """Return a campaign's journal of some kind."""
        return kind(self._process, self._database.campaign(campaign_id))

    def close(self) -> None:
        """Do nothing."""

    def _own_campaign(self) -> CampaignJournal:
        # Marks wait for no campaign's lock.
        return CampaignJournal(self._process, Campaign(self._process.world, self._database.faults))


class CampaignJournal:
    """The journal, as one try has it; see :class:`~airflow_provider_8x8.surveys.journal.marks.TaskJournal`."""

    def __init__(self, process: Process, campaign: Campaign) -> None:
        self._process = process
        self._campaign = campaign
        self._generation = campaign.generation
        self._seen = 0

    def open(self, header: Header, *, must_exist: bool = False) -> None:
        """Write or check the header."""

        def find_or_make(_: None) -> None:
            found = self._campaign.header or (None if must_exist else header)
            if found is None:
                raise JournalLostError("the campaign is not in the database any more. Nothing is sent")
            check_header(found, header, "simulated")
            self._campaign.header = completed_header(found, header)

        self._generation = self._campaign.generation
        self._transaction(lambda: None, find_or_make)

    def entries(self) -> list[Entry] | None:
        """Return all entries, None if there is no header."""
        read = self._again(lambda: self._read(since=0))
        return None if self._campaign.header is None else [each.entry for each in read]

    def news(self) -> Sequence[Entry]:
        """Return what has changed since the last look."""
        news = self._again(lambda: self._read(since=self._seen))
        self._seen = max((each.changed for each in news), default=self._seen)
        return [each.entry for each in news]

    def begin(self, compose: Compose) -> Entry | None:
        """Write an entry, without the row keys that others have."""
        composed: Entry | None = None

        def make() -> tuple[Entry | None, int]:
            nonlocal composed
            if composed and (stored := self._campaign.batches.get(composed.client_batch_id)):
                return stored.entry, stored.number
            news = self._changed(self._seen)
            composed = compose([each.entry for each in news])
            if composed is None:
                return None, max((each.changed for each in news), default=self._seen)
            return composed, -1

        def write(made: tuple[Entry | None, int]) -> tuple[Entry | None, int]:
            entry, seen = made
            if entry is None or seen >= 0:
                return made
            number = self._next_number()
            self._write(_Stored(entry, number, number))
            return entry, number

        entry, self._seen = self._transaction(make, write)
        return entry

    def settle(self, entry: Entry) -> Entry:
        """Write what became of an entry, unless it is settled."""

        return self._transaction(lambda: self._settled(entry), lambda settled: self._write_settled(entry, settled))

    def settle_and_begin(self, entry: Entry, compose: Compose) -> tuple[Entry, Entry | None]:
        """Do both in one transaction."""
        composed: Entry | None = None

        def make() -> tuple[Entry, Entry | None, int]:
            nonlocal composed
            if composed and (stored := self._campaign.batches.get(composed.client_batch_id)):
                return self._campaign.batches[entry.client_batch_id].entry, stored.entry, stored.number
            composed = compose([each.entry for each in self._changed(self._seen)])
            return self._settled(entry), composed, -1

        def write(made: tuple[Entry, Entry | None, int]) -> tuple[Entry, Entry | None, int]:
            settled, begun, seen = made
            if seen >= 0:
                return made
            self._write_settled(entry, settled)
            number = self._next_number()
            if begun is not None:
                self._write(_Stored(begun, number, number))
            return settled, begun, number

        settled, begun, self._seen = self._transaction(make, write)
        return settled, begun

    def _settled(self, entry: Entry) -> Entry:
        stored = self._campaign.batches.get(entry.client_batch_id)
        if stored is None:
            raise CorruptJournalError(f"{entry.client_batch_id} is not in the journal")
        return entry if stored.entry.gives_way_to(entry) else stored.entry

    def _write_settled(self, entry: Entry, settled: Entry) -> Entry:
        stored = self._campaign.batches[entry.client_batch_id]
        if entry.state is EntryState.SENT and entry.batch_id is not None:
            self._campaign.answered.setdefault(entry.client_batch_id, self._campaign.world.now)
        if settled.state in (EntryState.RESENT, EntryState.ASSUMED_SENT) and stored.entry.state != settled.state:
            self._campaign.on_decision(settled)
        if settled != stored.entry:
            self._write(_Stored(settled, stored.number, self._next_number()))
        return settled

    def revise(self, client_batch_id: str, change: Callable[[Entry], Entry]) -> Entry:
        """Write what has changed about the cancelling of a batch."""

        def write(revised: Entry) -> Entry:
            stored = self._campaign.batches[client_batch_id]
            if revised != stored.entry:
                self._write(_Stored(revised, stored.number, self._next_number()))
                if revised.state is EntryState.CANCELLED:
                    self._campaign.on_cancelled(revised)
            return revised

        return self._transaction(lambda: change(self._campaign.batches[client_batch_id].entry), write)

    def _write(self, stored: _Stored) -> None:
        self._campaign.world.note("committed: %s %s", stored.entry.client_batch_id, stored.entry.state)
        self._campaign.batches[stored.entry.client_batch_id] = stored

    def _next_number(self) -> int:
        self._campaign.last_number += 1
        return self._campaign.last_number

    def _changed(self, since: int) -> list[_Stored]:
        changed = [stored for stored in self._campaign.batches.values() if stored.changed > since]
        return sorted(changed, key=lambda stored: stored.number)

    def _read(self, *, since: int) -> list[_Stored]:
        self._process.touch("journal: read")
        self._fail_at_times()
        self._check_generation()
        self._campaign.first_looks.setdefault(self._process, self._process.world.now)
        news = self._changed(since)
        self._process.touch("journal: was read")
        return news

    def _transaction(self, work: Callable[[], T], write: Callable[[T], T] = lambda worked: worked) -> T:
        """Look, then write, with the campaign locked; what is written is there at once or not at all."""

        def once() -> T:
            self._process.touch("journal: transaction")
            self._fail_at_times()
            with self._lock():
                self._check_generation()
                worked = work()
                self._process.touch("journal: commit")
                self._fail_at_times()
                written = write(worked)
            self._process.touch("journal: committed")
            self._fail_at_times()
            return written

        return self._again(once)

    def _again(self, once: Callable[[], T]) -> T:
        ends_at = self._process.world.now + 2 * _LOCK_SECONDS
        for number in range(_TRIES):
            try:
                return once()
            except _DatabaseError as error:
                if self._process.world.now > ends_at or number == _TRIES - 1:
                    raise JournalUnavailableError(str(error)) from None
            self._process.sleep(0.2 * 2**number)
        raise AssertionError

    def _check_generation(self) -> None:
        if self._generation != self._campaign.generation:
            raise JournalLostError("the campaign is not in the database any more. Nothing is sent")

    @contextmanager
    def _lock(self) -> Iterator[None]:
        campaign, process = self._campaign, self._process
        ends_at = process.world.now + _LOCK_SECONDS
        while campaign.is_locked():
            if process.world.now > ends_at:
                raise _DatabaseError("the lock was not to be had")
            process.touch("journal: wait for the lock")
            process.world.wait(2.0)
        campaign.holder = process
        try:
            yield
        finally:
            if campaign.holder is process:
                campaign.holder = None

    def _fail_at_times(self) -> None:
        if self._process.world.happens(self._campaign.faults):
            raise _DatabaseError("the database went away")
