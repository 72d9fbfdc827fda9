"""
A model of the SQL journal: what :mod:`airflow_provider_8x8.journals.sql` does, on a database that is a dictionary.

The real one is tested against real databases; this one is to show what the loop does with a journal that has its
promises: one change of the campaign after the other, and a commit whose answer is lost is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from airflow_provider_8x8.surveys.journal import (
    Compose,
    CorruptJournalError,
    Entry,
    Header,
    JournalUnavailableError,
    check_header,
)
from tests.simulation.worlds import Process, World

_LOCK_SECONDS = 60.0
_TRIES = 7


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

    def is_locked(self) -> bool:
        """Whether somebody is in the middle of a change. The database rolls back what a dead client has begun."""
        return self.has_lock and self.holder is not None and not self.holder.is_dead


class CampaignJournal:
    """The journal, as one try has it; see :class:`~airflow_provider_8x8.surveys.journal.Journal`."""

    outlives_try = True

    def __init__(self, process: Process, campaign: Campaign) -> None:
        self._process = process
        self._campaign = campaign
        self._seen = 0

    def open(self, header: Header) -> None:
        """Write or check the header."""

        def find_or_make(_: None) -> Header:
            self._campaign.header = self._campaign.header or header
            return self._campaign.header

        check_header(self._transaction(lambda: None, find_or_make), header, "simulated")

    def news(self) -> Sequence[Entry]:
        """Return what has changed since the last look."""
        news = self._again(self._read)
        self._seen = max((each.changed for each in news), default=self._seen)
        return [each.entry for each in news]

    def begin(self, compose: Compose) -> Entry | None:
        """Write an entry, without the row keys that others have."""
        composed: Entry | None = None

        def make() -> tuple[Entry | None, int]:
            nonlocal composed
            if composed and (stored := self._campaign.batches.get(composed.client_batch_id)):
                return stored.entry, stored.number
            news = self._changed()
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

        def find() -> Entry:
            stored = self._campaign.batches.get(entry.client_batch_id)
            if stored is None:
                raise CorruptJournalError(f"{entry.client_batch_id} is not in the journal")
            if not stored.entry.is_open:
                return stored.entry
            outcome = {name: getattr(entry, name) for name in ("state", "batch_id", "rejected_keys", "unknown_keys")}
            return msgspec.structs.replace(stored.entry, **outcome)

        def write(settled: Entry) -> Entry:
            stored = self._campaign.batches[entry.client_batch_id]
            if settled != stored.entry:
                self._write(_Stored(settled, stored.number, self._next_number()))
            return settled

        return self._transaction(find, write)

    def _write(self, stored: _Stored) -> None:
        self._campaign.world.note("committed: %s %s", stored.entry.client_batch_id, stored.entry.state)
        self._campaign.batches[stored.entry.client_batch_id] = stored

    def _next_number(self) -> int:
        self._campaign.last_number += 1
        return self._campaign.last_number

    def _changed(self) -> list[_Stored]:
        changed = [stored for stored in self._campaign.batches.values() if stored.changed > self._seen]
        return sorted(changed, key=lambda stored: stored.number)

    def _read(self) -> list[_Stored]:
        self._process.touch("journal: read")
        self._fail_at_times()
        news = self._changed()
        self._process.touch("journal: was read")
        return news

    def _transaction(self, work: Callable[[], Any], write: Callable[[Any], Any] = lambda worked: worked) -> Any:
        """Look, then write, with the campaign locked; what is written is there at once or not at all."""

        def once() -> Any:
            self._process.touch("journal: transaction")
            self._fail_at_times()
            with self._lock():
                worked = work()
                self._process.touch("journal: commit")
                self._fail_at_times()
                written = write(worked)
            self._process.touch("journal: committed")
            self._fail_at_times()
            return written

        return self._again(once)

    def _again(self, once: Callable[[], Any]) -> Any:
        ends_at = self._process.world.now + 2 * _LOCK_SECONDS
        for number in range(_TRIES):
            try:
                return once()
            except _DatabaseError as error:
                if self._process.world.now > ends_at or number == _TRIES - 1:
                    raise JournalUnavailableError(str(error)) from None
            self._process.sleep(0.2 * 2**number)
        raise AssertionError

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
